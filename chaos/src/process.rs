//! The processes of a run, all in one group, so that none of them outlives this program. It must not know what they do.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child as Shell, Command as ShellCommand, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, kill_process};
use tokio::process::{Child, Command};

pub(crate) use rustix::process::Signal;

/// The leader of the group. It reads from a pipe that only this program holds; the system closes the pipe when this
/// program ends in any way, and the leader kills the group: also processes that are stopped, and itself.
const LEADER: &str = "trap '' HUP INT TERM; while read -r line; do :; done; kill -KILL 0";

/// A group of processes.
#[derive(Debug)]
pub(crate) struct Group {
    leader: Shell,
}

impl Group {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut leader = ShellCommand::new("sh");
        leader.args(["-c", LEADER]).process_group(0).stdin(Stdio::piped());
        leader.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { leader: leader.spawn().context("`sh`, the leader of the processes, cannot be started")? })
    }

    /// Starts a process in this group.
    pub(crate) fn spawn(&self, command: &mut Command) -> anyhow::Result<Child> {
        let group = i32::try_from(self.leader.id())?;
        let child = command.process_group(group).stdin(Stdio::null()).spawn();
        child.context("this program cannot be started again as another process")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.leader.stdin.take());
        // An error here cannot be handled.
        let _ = self.leader.wait();
    }
}

/// Sends a signal to a process that was not waited for yet.
pub(crate) fn send(child: &Child, signal: Signal) -> anyhow::Result<()> {
    let process = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let process = process.context("the process has ended already")?;
    kill_process(process, signal).with_context(|| format!("{signal:?} cannot be sent to process {process}"))
}

/// Asks a process to end, and waits until it has ended well.
pub(crate) async fn stop(process: &mut Child, patience: Duration) -> anyhow::Result<()> {
    send(process, Signal::TERM)?;
    let Ok(status) = tokio::time::timeout(patience, process.wait()).await else {
        bail!("it was asked to end, and has not ended after {patience:?}");
    };
    let status = status?;
    // A process that has just begun knows no other way.
    if !status.success() && status.signal() != Some(Signal::TERM.as_raw()) {
        bail!("it was asked to end, and ended with {status}; its log says why");
    }
    Ok(())
}
