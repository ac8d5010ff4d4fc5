//! The workers that execute the load: in this process, or each in a separate one. It must not know what they execute.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pgworkflows::Worker;
use pgworkflows::otel::OtelPropagator;
use pgworkflows::store::Store;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Failure;
use crate::definitions::{
    Activities, Answers, Continues, Double, Family, FanOut, Naps, Nothing, Pause, Pauses, Signals, Steps,
    TASKS, Tasks, Timers,
};
use crate::store::Address;
use crate::telemetry::Telemetry;
use crate::timed::Appends;

/// Running workers.
#[derive(Debug, Default)]
pub struct Workers {
    inside: Vec<Inside>,
    outside: Vec<Outside>,
    /// Those of the workers of this process.
    appends: Appends,
}

/// A worker of this process.
#[derive(Debug)]
struct Inside {
    /// Dropped to stop it.
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), pgworkflows::Error>>,
}

/// A worker in a process of its own, which [`serve`]s.
#[derive(Debug)]
struct Outside {
    process: Child,
    /// Closed to stop it.
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
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

    /// What workers and clients export by OpenTelemetry, to an exporter that drops it.
    #[arg(long, value_name = "WHAT", default_value = "off")]
    pub telemetry: Telemetry,
}

impl Default for Serves {
    fn default() -> Self {
        Self { slots: 1_000, tasks: false, telemetry: Telemetry::Off }
    }
}

/// A worker that knows all workflows of this package.
///
/// # Errors
/// If its definitions contradict each other.
pub fn worker(store: &Arc<dyn Store>, name: &str, serves: Serves) -> Result<Worker, Failure> {
    let slots = usize::try_from(serves.slots)?;
    let mut worker = Worker::builder(Arc::clone(store)).name(name);
    if serves.telemetry.has_traces() {
        worker = worker.trace_propagator(OtelPropagator);
    }
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
        let store = workers.appends.of(Arc::clone(store));
        for number in 0..count {
            let worker = worker(&store, &format!("bench-{number}"), serves)?;
            serves.telemetry.observe(vec![worker.monitor()]);
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
        if let Some(telemetry) = serves.telemetry.to_possible_value() {
            command.args(["--telemetry", telemetry.get_name()]);
        }
        // It ends when its standard input is closed, and so with this process, however that ends.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let (input, output) =
            process.stdin.take().zip(process.stdout.take()).ok_or("a process has no pipes")?;
        self.outside.push(Outside { process, input, output: BufReader::new(output).lines() });
        Ok(())
    }

    /// How long the appends took that were answered since the last call, in no order.
    ///
    /// # Errors
    /// If a process has ended.
    pub async fn appends(&mut self) -> Result<Vec<Duration>, Failure> {
        let mut appends = self.appends.take();
        for Outside { input, output, .. } in &mut self.outside {
            input.write_all(b"\n").await?;
            let line = output.next_line().await?.ok_or("a worker process has ended")?;
            for micros in line.split_ascii_whitespace() {
                appends.push(Duration::from_micros(micros.parse()?));
            }
        }
        Ok(appends)
    }

    /// The ids of the workers' own processes.
    pub fn processes(&self) -> impl Iterator<Item = u32> {
        self.outside.iter().filter_map(|worker| worker.process.id())
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
            drop(worker.input);
            let status = worker.process.wait().await?;
            if !status.success() {
                return Err(format!("a worker process ended with {status}").into());
            }
        }
        Ok(())
    }
}

/// What a worker process does: it serves until its standard input is closed. Each line that it reads there asks how long the
/// appends took that were answered since the last line, in microseconds.
///
/// # Errors
/// If the store cannot be reached.
pub async fn serve(address: &Address, serves: Serves) -> Result<(), Failure> {
    let _exported = serves.telemetry.install()?;
    let appends = Appends::default();
    let store = appends.of(address.open().await?);
    let worker = worker(&store, &format!("bench-{}", std::process::id()), serves)?;
    serves.telemetry.observe(vec![worker.monitor()]);
    Ok(worker.run_until(answer(appends)).await?)
}

/// Answers each line of the standard input, until it is closed or the answers cannot be written.
async fn answer(appends: Appends) {
    let (mut asked, mut output) = (BufReader::new(tokio::io::stdin()).lines(), tokio::io::stdout());
    while let Ok(Some(_)) = asked.next_line().await {
        let micros = appends.take().into_iter().map(|took| took.as_micros().to_string());
        let line = micros.collect::<Vec<_>>().join(" ") + "\n";
        if output.write_all(line.as_bytes()).await.is_err() || output.flush().await.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pgworkflows::store::Store;
    use pgworkflows::{Client, MemoryStore};

    use super::{Serves, Workers};
    use crate::definitions::Activities;

    #[tokio::test]
    async fn each_append_is_timed_once() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut workers = Workers::inside(&store, 1, Serves::default()).unwrap();
        let run = Client::new(store).start::<Activities>(1).await.unwrap();
        run.result().await.unwrap();

        // The result may be known before the time of the last append is.
        let mut timed = 0;
        while timed < 2 {
            timed += workers.appends().await.unwrap().len();
            tokio::task::yield_now().await;
        }
        assert_eq!(timed, 2);
        assert_eq!(workers.appends().await.unwrap().len(), 0);
        workers.stop().await.unwrap();
    }
}
