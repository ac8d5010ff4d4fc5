//! An HTTP API for orders, and three workers, each a process of its own, on one database:
//!
//! ```sh
//! cargo run --release --example axum_api            # the API, which starts the three workers; shows what to try with curl
//! cargo run --release --example axum_api -- demo    # the same for one order, and ends
//! ```
//!
//! The database is the file `axum_api.db`, or that of `DATABASE_URL`. `kill -9` any process at any time: nothing is lost.

#![expect(clippy::print_stdout, reason = "this program tells its progress on standard output")]

mod api;
mod demo;
mod http;
mod order;
mod processes;
mod workers;

use std::error::Error;
use std::process::ExitCode;

use pgworkflows::AnyStore;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
cargo run --release --example axum_api [-- COMMAND]

    (none)             the API at 127.0.0.1:8080, and three workers as processes that it starts
    demo               the same at any free port, for one order
    api [ADDRESS]      the API alone (default: 127.0.0.1:8080)
    worker NAME        one worker: orders, payments or email";

/// Where the API listens by default.
const ADDRESS: &str = "127.0.0.1:8080";

type AnyError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[&str]) -> Result<(), AnyError> {
    match *arguments {
        [] => {
            let api = bind(ADDRESS).await?;
            let _workers = processes::start(&workers::NAMES)?;
            say(demo::curl_lines(ADDRESS));
            api::serve(api, open_store().await?, shutdown()?).await
        }
        ["demo"] => {
            let api = bind("127.0.0.1:0").await?;
            let _workers = processes::start(&workers::NAMES)?;
            let address = api.local_addr()?.to_string();
            let serving = tokio::spawn(api::serve(api, open_store().await?, shutdown()?));
            demo::order(&address).await?;
            serving.abort();
            Ok(())
        }
        ["api"] => serve_alone(ADDRESS).await,
        ["api", address] => serve_alone(address).await,
        ["worker", name] => workers::work(open_store().await?, name, shutdown()?).await,
        _ => Err(HELP.into()),
    }
}

async fn serve_alone(address: &str) -> Result<(), AnyError> {
    let api = bind(address).await?;
    say(format!("the API is at http://{}", api.local_addr()?));
    api::serve(api, open_store().await?, shutdown()?).await
}

async fn bind(address: &str) -> Result<TcpListener, AnyError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("the API cannot be at {address}: {error}").into())
}

/// The same database in every process.
async fn open_store() -> Result<AnyStore, pgworkflows::Error> {
    let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite:axum_api.db".to_owned());
    pgworkflows::connect(&url).await
}

/// Ends when somebody presses Ctrl-C, or when a supervisor asks the process to end.
fn shutdown() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminated = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    })
}

fn say(line: impl std::fmt::Display) {
    println!("{line}");
}
