//! Running workers: one that is stopped as by a deploy, and one that is killed as by a crash.

use std::time::Duration;

use pgworkflows::worker::WorkerMonitor;
use pgworkflows::{Error, Worker};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A worker on its own threads, whose activities use the test's runtime. It keeps running if this is dropped.
#[derive(Debug)]
pub struct RunningWorker {
    /// Its monitor.
    pub monitor: WorkerMonitor,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl RunningWorker {
    /// Starts a worker.
    pub fn start(worker: Worker) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let monitor = worker.monitor();
        let task = tokio::spawn(worker.run_until(async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Self { monitor, stop, task }
    }

    /// Shuts it down, and returns when it has handed everything over.
    ///
    /// # Panics
    /// Panics if the worker ended with an error.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap().unwrap();
    }
}

/// A worker that runs on one thread together with its activities, as if it were a process.
#[derive(Debug)]
pub struct KillableWorker {
    kill: oneshot::Sender<()>,
    dead: oneshot::Receiver<()>,
}

impl KillableWorker {
    pub(crate) async fn start<F: Future<Output = Worker>>(make: impl FnOnce() -> F + Send + 'static) -> Self {
        let (kill, killed) = oneshot::channel::<()>();
        let (died, dead) = oneshot::channel();
        let (started, start) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let worker = make().await;
                let _ = started.send(());
                tokio::select! {
                    biased;
                    _ = killed => {}
                    ended = worker.run_on_this_thread(std::future::pending()) => ended.unwrap(),
                }
            });
            // The activities are dropped with the runtime.
            runtime.shutdown_timeout(Duration::ZERO);
            let _ = died.send(());
        });
        start.await.unwrap();
        Self { kill, dead }
    }

    /// Kills it, and returns when nothing of it is left.
    ///
    /// # Panics
    /// Panics if it ended earlier.
    pub async fn kill(self) {
        let _ = self.kill.send(());
        self.dead.await.unwrap();
    }
}
