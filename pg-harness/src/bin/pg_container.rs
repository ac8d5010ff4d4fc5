//! Runs PostgreSQL in a container for as long as its standard input is open, and prints its URL.
//!
//! A separate program, so that its caller needs no HTTP client, and the container is removed with its caller: the
//! system closes the pipe when the caller ends. It must not know what the server is used for.

use std::io::{Read, Write};

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};

const IMAGE: &str = "postgres";
const TAG: &str = "17-alpine";
const PORT: u16 = 5432;

/// The image first runs a server to set itself up, which logs to standard output. The server that stays logs to
/// standard error.
const READY: &str = "database system is ready to accept connections";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let container = GenericImage::new(IMAGE, TAG)
        .with_exposed_port(PORT.tcp())
        .with_wait_for(WaitFor::message_on_stdout(READY))
        .with_wait_for(WaitFor::message_on_stderr(READY))
        .with_env_var("POSTGRES_HOST_AUTH_METHOD", "trust")
        .with_cmd(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200"])
        .start()
        .await?;
    let host = container.get_host().await?;
    let port = container.get_host_port_ipv4(PORT.tcp()).await?;
    let mut output = std::io::stdout();
    writeln!(output, "postgres://postgres@{host}:{port}/postgres")?;
    output.flush()?;

    // Nothing else runs on this thread, so it may be blocked.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    container.rm().await?;
    Ok(())
}
