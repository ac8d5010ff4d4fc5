//! The workers that execute the load: in this process, or each in a separate one. It must not know what they execute.

use std::process::Stdio;
use std::sync::Arc;

use clap::Args;
use pgworkflows::Worker;
use pgworkflows::store::Store;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Failure;
use crate::definitions::{
    Activities, Answers, Continues, Double, Family, FanOut, Naps, Nothing, Pause, Pauses, Signals, Steps,
    TASKS, Tasks, Timers,
};
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

/// What a worker serves.
#[derive(Clone, Copy, Debug, Args)]
pub struct Serves {
    /// Activities that a worker executes at a time.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub slots: u64,

    /// Whether it executes activities of the activity queue of tasks, and nothing else.
    #[arg(long, hide = true)]
    pub tasks: bool,
}

impl Default for Serves {
    fn default() -> Self {
        Self { slots: 1_000, tasks: false }
    }
}

/// A worker that knows all workflows of this package.
///
/// # Errors
/// If its definitions contradict each other.
pub fn worker(store: &Arc<dyn Store>, name: &str, serves: Serves) -> Result<Worker, Failure> {
    let slots = usize::try_from(serves.slots)?;
    let worker = Worker::builder(Arc::clone(store)).name(name);
    if serves.tasks {
        return Ok(worker.activity(Double).activity_queue(TASKS, slots).build()?);
    }
    let worker = worker
        .activities_max(slots)
        .workflow::<Activities>()
        .workflow::<Steps>()
        .workflow::<FanOut>()
        .workflow::<Tasks>()
        .workflow::<Pauses>()
        .workflow::<Timers>()
        .workflow::<Naps>()
        .workflow::<Signals>()
        .workflow::<Nothing>()
        .workflow::<Family>()
        .workflow::<Answers>()
        .workflow::<Continues>()
        .activity(Double)
        .activity(Pause)
        .history_events(u32::MAX, u32::MAX);
    Ok(worker.build()?)
}

impl Workers {
    /// Starts workers in this process.
    ///
    /// # Errors
    /// As [`worker`].
    pub fn inside(store: &Arc<dyn Store>, count: u64, serves: Serves) -> Result<Self, Failure> {
        let mut workers = Self::default();
        for number in 0..count {
            let worker = worker(store, &format!("bench-{number}"), serves)?;
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
    pub fn outside(address: &Address, count: u64, serves: Serves) -> Result<Self, Failure> {
        let mut workers = Self::default();
        for _ in 0..count {
            workers.add_outside(address, serves)?;
        }
        Ok(workers)
    }

    /// Starts one more in a separate process.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn add_outside(&mut self, address: &Address, serves: Serves) -> Result<(), Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["worker", "--url", &address.url, "--schema", &address.schema]);
        command.args(["--slots", &serves.slots.to_string()]);
        command.args(serves.tasks.then_some("--tasks"));
        command.args(address.without_notifications.then_some("--without-notifications"));
        // It ends when its standard input is closed, and so with this process, however that ends.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        self.outside.push(command.spawn()?);
        Ok(())
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
pub async fn serve(address: &Address, serves: Serves) -> Result<(), Failure> {
    let worker = worker(&address.open().await?, &format!("bench-{}", std::process::id()), serves)?;
    let closed = async {
        // Nothing is ever written to it, so any return is the end.
        let _ = tokio::io::stdin().read(&mut [0]).await;
    };
    Ok(worker.run_until(closed).await?)
}
