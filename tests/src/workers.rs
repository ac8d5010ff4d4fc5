//! Workers at work: one that is stopped as a deploy stops it, one that is killed as a crash kills it.

use std::time::Duration;

use pgworkflows::worker::WorkerMonitor;
use pgworkflows::{Error, Worker};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A worker on threads of its own, with the test's runtime for its activities.
#[derive(Debug)]
pub struct Working {
    /// How it is doing.
    pub monitor: WorkerMonitor,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), Error>>,
}

impl Working {
    pub(crate) fn start(worker: Worker) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let monitor = worker.monitor();
        let served = tokio::spawn(worker.run_until(async {
            // A test that lets go of its worker lets it work on.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Self { monitor, stop, served }
    }

    /// Shuts it down, and returns when it has handed everything over.
    ///
    /// # Panics
    /// If the worker ended with an error.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.served.await.unwrap().unwrap();
    }
}

/// A worker that is all of its thread, activities included, as if it were a process.
#[derive(Debug)]
pub struct Mortal {
    /// How it is doing.
    pub monitor: WorkerMonitor,
    kill: oneshot::Sender<()>,
    dead: oneshot::Receiver<()>,
}

impl Mortal {
    pub(crate) async fn start<F: Future<Output = Worker>>(make: impl FnOnce() -> F + Send + 'static) -> Self {
        let (kill, killed) = oneshot::channel::<()>();
        let (died, dead) = oneshot::channel();
        let (born, birth) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let worker = make().await;
                drop(born.send(worker.monitor()));
                tokio::select! {
                    biased;
                    _ = killed => {}
                    ended = worker.run_on_this_thread(std::future::pending()) => ended.unwrap(),
                }
            });
            // With the runtime go the activities.
            runtime.shutdown_timeout(Duration::ZERO);
            let _ = died.send(());
        });
        Self { monitor: birth.await.unwrap(), kill, dead }
    }

    /// Kills it, and returns when nothing of it is left.
    ///
    /// # Panics
    /// If it died before.
    pub async fn kill(self) {
        let _ = self.kill.send(());
        self.dead.await.unwrap();
    }
}
