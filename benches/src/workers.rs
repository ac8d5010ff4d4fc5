//! The workers that execute the load: in this process, or each in a separate one. It must not know what they execute.

use std::process::Stdio;
use std::sync::Arc;

use pgworkflows::Worker;
use pgworkflows::store::Store;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Failure;
use crate::definitions::{Activities, Double, FanOut, Naps, Signals, Steps, Timers};
use crate::store::Address;

/// Running workers.
#[derive(Debug, Default)]
pub struct Workers {
    inside: Vec<Inside>,
    outside: Vec<Child>,
}

/// A worker of this process.
#[derive(Debug)]
struct Inside {
    /// Dropped to stop it.
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), pgworkflows::Error>>,
}

/// A worker that knows all workflows of this package.
///
/// # Errors
/// If its definitions contradict each other.
pub fn worker(store: &Arc<dyn Store>, name: &str) -> Result<Worker, Failure> {
    let worker = Worker::builder(Arc::clone(store))
        .name(name)
        .workflow::<Activities>()
        .workflow::<Steps>()
        .workflow::<FanOut>()
        .workflow::<Timers>()
        .workflow::<Naps>()
        .workflow::<Signals>()
        .activity(Double)
        .history_events(u32::MAX, u32::MAX);
    Ok(worker.build()?)
}

impl Workers {
    /// Starts workers in this process.
    ///
    /// # Errors
    /// As [`worker`].
    pub fn inside(store: &Arc<dyn Store>, count: u64) -> Result<Self, Failure> {
        let mut workers = Self::default();
        for number in 0..count {
            let worker = worker(store, &format!("bench-{number}"))?;
            let (stop, stopped) = oneshot::channel();
            let ended = tokio::spawn(worker.run_until(async {
                drop(stopped.await);
            }));
            workers.inside.push(Inside { stop, ended });
        }
        Ok(workers)
    }

    /// Starts workers, each in a separate process of this program, whose `worker` subcommand calls [`serve`].
    ///
    /// # Errors
    /// If a process cannot be started.
    pub fn outside(address: &Address, count: u64) -> Result<Self, Failure> {
        let mut workers = Self::default();
        for _ in 0..count {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["worker", "--url", &address.url, "--schema", &address.schema]);
            // It ends when its standard input is closed, and so with this process, however that ends.
            command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
            workers.outside.push(command.spawn()?);
        }
        Ok(workers)
    }

    /// The ids of the workers' own processes.
    pub fn processes(&self) -> impl Iterator<Item = u32> {
        self.outside.iter().filter_map(Child::id)
    }

    /// Shuts all of them down gracefully, and waits for that.
    ///
    /// # Errors
    /// If one of them failed.
    pub async fn stop(self) -> Result<(), Failure> {
        for worker in self.inside {
            drop(worker.stop);
            worker.ended.await??;
        }
        for mut worker in self.outside {
            drop(worker.stdin.take());
            let status = worker.wait().await?;
            if !status.success() {
                return Err(format!("a worker process ended with {status}").into());
            }
        }
        Ok(())
    }
}

/// What a worker process does: it serves until its standard input is closed.
///
/// # Errors
/// If the store cannot be reached.
pub async fn serve(address: &Address) -> Result<(), Failure> {
    let worker = worker(&address.open().await?, "bench-process")?;
    let closed = async {
        // Nothing is ever written to it, so any return is the end.
        let _ = tokio::io::stdin().read(&mut [0]).await;
    };
    Ok(worker.run_until(closed).await?)
}
