//! The workers as processes of their own, started again whenever they end. It must not know what they do.

use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::{AnyError, say};

/// Starts a process for each worker. Dropping the set kills them, which loses nothing.
pub(crate) fn start(names: &[&'static str]) -> Result<JoinSet<()>, AnyError> {
    let mut workers = JoinSet::new();
    for &name in names {
        let first = start_one(name)?;
        workers.spawn(keep(name, first));
    }
    Ok(workers)
}

fn start_one(name: &str) -> std::io::Result<Child> {
    let program = std::env::current_exe()?;
    let worker = Command::new(program).args(["worker", name]).kill_on_drop(true).spawn()?;
    say(format!("{name:<8} is process {}", worker.id().unwrap_or_default()));
    Ok(worker)
}

async fn keep(name: &'static str, mut worker: Child) {
    loop {
        match worker.wait().await {
            Ok(status) => say(format!("{name:<8} ended ({status}) and is started again")),
            Err(error) => say(format!("{name:<8} cannot be awaited: {error}")),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        match start_one(name) {
            Ok(started) => worker = started,
            Err(error) => return say(format!("{name:<8} cannot be started: {error}")),
        }
    }
}
