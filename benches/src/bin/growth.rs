//! The growth program: how throughput changes as the database fills, and what idleness and recovery cost.
//!
//! `cargo run --release -p pgworkflows-benches --bin growth -- closed --rows 1000000`

use std::process::ExitCode;

use clap::Parser;
use pgworkflows_benches::Failure;
use pgworkflows_benches::growth::{GrowthOptions, answer};
use pgworkflows_benches::report::Summary;
use serde_json::{Map, json};

/// As in the load program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match print(&GrowthOptions::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("growth: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "this program reports on standard output")]
async fn print(options: &GrowthOptions) -> Result<(), Failure> {
    let summary = Summary::new(&[answer(options).await?]);
    if options.json {
        let question = ("question".to_owned(), json!(options.question.name()));
        println!("{}", summary.json(Map::from_iter([question])));
    } else {
        println!("{}", summary.table());
    }
    Ok(())
}
