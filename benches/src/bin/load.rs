//! The load program: starts runs as fast as they are completed, and tells how fast that was.
//!
//! `cargo run --release -p pgworkflows-benches --bin load -- --store postgres --steps 1 --runs 10000`

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use pgworkflows::store::Store;
use pgworkflows::{Client, Error, Worker};
use pgworkflows_benches::{Activities, Double};
use pgworkflows_memory::MemoryStore;
use pgworkflows_pg_harness::Postgres;
use pgworkflows_postgres::PostgresStore;

const HELP: &str = "\
Options:
    --store postgres|memory   where runs are kept (default: postgres, a throw-away server with fsync on)
    --url URL                 an existing server, instead of a throw-away one
    --steps N                 activities per run, one after the other (default: 1)
    --runs N                  runs in all (default: 10000)
    --in-flight N             runs at a time (default: 2000)";

struct Options {
    store: String,
    url: Option<String>,
    steps: u32,
    runs: usize,
    in_flight: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match options(std::env::args().skip(1)) {
        Err(message) => {
            say(&message);
            ExitCode::from(2)
        }
        Ok(options) => match load(&options).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("error: {error}"));
                ExitCode::FAILURE
            }
        },
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options =
        Options { store: "postgres".to_owned(), url: None, steps: 1, runs: 10_000, in_flight: 2_000 };
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or(format!("{argument} needs a value\n{HELP}"))?;
        let number = || value.parse().map_err(|_| format!("{argument}: `{value}` is not a number\n{HELP}"));
        match argument.as_str() {
            "--store" => options.store = value,
            "--url" => options.url = Some(value),
            "--steps" => options.steps = number()?,
            "--runs" => options.runs = number()? as usize,
            "--in-flight" => options.in_flight = number()?.max(1) as usize,
            other => return Err(format!("`{other}` is not an option\n{HELP}")),
        }
    }
    Ok(options)
}

async fn load(options: &Options) -> Result<(), Error> {
    let mut server = None;
    let store: Arc<dyn Store> = match (options.store.as_str(), &options.url) {
        ("memory", _) => Arc::new(MemoryStore::new()),
        (_, Some(url)) => Arc::new(PostgresStore::connect(url).await?),
        (_, None) => {
            let started = Postgres::builder().durable().start().unwrap_or_else(|error| panic!("{error}"));
            let store = PostgresStore::connect(&started.url()).await?;
            server = Some(started);
            Arc::new(store)
        }
    };
    let worker = Worker::builder(Arc::clone(&store)).workflow::<Activities>().activity(Double).build()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(worker.run_until(async {
        drop(stopped.await);
    }));

    let client = Client::new(store);
    complete(&client, options, options.runs / 10).await?;
    let began = Instant::now();
    let mut latencies = complete(&client, options, options.runs).await?;
    let took = began.elapsed().as_secs_f64();

    latencies.sort_unstable();
    let rate = options.runs as f64 / took;
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    say(&format!(
        "{{\"store\": \"{}\", \"runs\": {}, \"steps\": {}, \"seconds\": {took:.3}, \"runs_per_second\": {rate:.0}, \
         \"activities_per_second\": {:.0}, \"p50_ms\": {:.2}, \"p99_ms\": {:.2}}}",
        options.store,
        options.runs,
        options.steps,
        rate * f64::from(options.steps),
        at(0.5),
        at(0.99),
    ));
    drop(stop);
    drop(worker.await);
    drop(server);
    Ok(())
}

/// Starts so many runs, some of them at a time, and waits for their results.
async fn complete(client: &Client, options: &Options, runs: usize) -> Result<Vec<Duration>, Error> {
    let tasks = (0..runs.max(1)).map(|_| async {
        let began = Instant::now();
        client.start::<Activities>(options.steps).await?.result().await?;
        Ok(began.elapsed())
    });
    let results: Vec<Result<Duration, Error>> =
        futures::stream::iter(tasks).buffer_unordered(options.in_flight).collect().await;
    results.into_iter().collect()
}

#[expect(clippy::print_stdout, reason = "this program reports on standard output")]
fn say(line: &str) {
    println!("{line}");
}
