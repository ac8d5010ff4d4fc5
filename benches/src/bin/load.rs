//! The load program: starts runs as fast as they are completed, and tells how fast that was and what it cost.
//!
//! ```text
//! cargo run --release -p pgworkflows-benches --bin load -- --store postgres --workload activities --steps 1 \
//!     --runs 20000 --workers 1 --clients 8 --json
//! ```

use std::process::ExitCode;

use pgworkflows_benches::load::load;
use pgworkflows_benches::options::{ClientProcess, LoadOptions, Role, read};
use pgworkflows_benches::report::Summary;
use pgworkflows_benches::{Failure, workers};
use serde_json::{Map, Value, json};

/// An allocator such as a service under load would choose: the system's costs the client and the worker more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match read(std::env::args()).unwrap_or_else(|said| said.exit()) {
        Role::Worker(address) => workers::serve(&address).await,
        Role::Load(options) => measure(&options).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("load: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "this program reports on standard output")]
async fn measure(options: &LoadOptions) -> Result<(), Failure> {
    let measured = load(options).await?;
    let summary = Summary::new(&measured.repetitions);
    if options.json {
        println!("{}", summary.json(facts(options, &measured.store)));
    } else {
        println!("{}", summary.table());
    }
    Ok(())
}

/// What the figures are figures of.
fn facts(options: &LoadOptions, store: &str) -> Map<String, Value> {
    let (workload, client) = (options.workload(), options.client);
    let (calls, per_run) = workload.calls();
    let facts = [
        ("store", json!(store)),
        ("workload", json!(workload.name())),
        (calls, json!(per_run)),
        ("client", json!(if client == ClientProcess::Other { "other" } else { "same" })),
        ("workers", json!(options.workers)),
        ("clients", json!(options.clients)),
        ("in_flight", json!(options.in_flight)),
        ("runs", json!(options.runs)),
        ("repeat", json!(options.repeat)),
    ];
    facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect()
}
