//! A worker whose metrics Prometheus reads at `http://127.0.0.1:9464/metrics`:
//! `cargo run -p pgworkflows-examples --example metrics`. Any HTTP server can answer in this way, such as a route of axum:
//! `Router::new().route("/metrics", get(move || async move { text([&monitor]) }))`.

use std::time::Duration;

use pgworkflows::prelude::*;
use pgworkflows::prometheus::{CONTENT_TYPE, text};
use pgworkflows::worker::WorkerMonitor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[workflow(name = "greeting")]
async fn greeting(ctx: Context, name: String) -> WorkflowResult<String> {
    ctx.sleep(Duration::from_millis(10)).await?;
    Ok(format!("Hello, {name}!"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| "memory:".to_owned());
    let store = pgworkflows::connect(&url).await?;
    let worker = Worker::builder(store.clone()).workflow::<greeting>().build()?;
    let listener = TcpListener::bind("127.0.0.1:9464").await?;
    tokio::spawn(serve(listener, worker.monitor()));
    Client::new(store).start::<greeting>("Ada".to_owned()).await?;
    worker.run_until(async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}

/// Answers every request with the metrics.
async fn serve(listener: TcpListener, monitor: WorkerMonitor) -> std::io::Result<()> {
    loop {
        let (connection, _) = listener.accept().await?;
        // A client that goes away is no reason to stop.
        drop(answer(connection, text([&monitor])).await);
    }
}

async fn answer(mut connection: TcpStream, page: String) -> std::io::Result<()> {
    let patience = Duration::from_secs(1);
    drop(tokio::time::timeout(patience, connection.read(&mut [0; 4096])).await?);
    let length = page.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    connection.write_all((head + &page).as_bytes()).await
}

#[tokio::test]
async fn page_has_the_metrics_of_the_worker() -> Result<(), Box<dyn std::error::Error>> {
    let worker = Worker::builder(pgworkflows::MemoryStore::new()).workflow::<greeting>().build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(serve(listener, worker.monitor()));
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("pgworkflows_runs_started_total"),
        "{answer}"
    );
    serving.abort();
    Ok(())
}
