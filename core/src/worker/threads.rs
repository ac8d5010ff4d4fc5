//! The threads of a worker: one per processor, one for the heart, each with a reactor of its own. It decides
//! when a processor begins anew; what a processor does, it does not know.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::Worker;
use super::backoff::{BACKOFF_MAX, backoff};
use super::driver::{Driver, Ended, Surroundings};
use super::executor::Executor;
use super::heart::{Beat, Heart, shards_each};
use super::input::Input;
use crate::error::Error;
use crate::host::{Host, StoreClock};
use crate::processor::{Processor, ProcessorConfig};
use crate::registry::Registry;
use crate::run::PollMark;
use crate::store::{Claim, Claimed, Queue, Release, Session, StoreError};

/// A worker's running threads. Dropping them stops them without a grace.
pub(super) struct Threads {
    mailboxes: Vec<mpsc::UnboundedSender<Input>>,
    processors: Vec<oneshot::Receiver<()>>,
    heart: Option<oneshot::Receiver<()>>,
    stop_heart: watch::Sender<bool>,
}

/// The parts of a worker, before anything runs them.
pub(super) struct Parts {
    pub(super) mailboxes: Vec<mpsc::UnboundedSender<Input>>,
    pub(super) processors: Vec<(Serve, mpsc::UnboundedReceiver<Input>)>,
    pub(super) heart: Heart,
}

impl Parts {
    pub(super) fn new(worker: &Worker, host: Arc<dyn Host>, queue: Queue) -> Self {
        let config = &worker.config;
        let clock = Arc::new(StoreClock::default());
        clock.answered(queue.now, &*host);
        let executor = Executor::new(Arc::clone(&host), Arc::clone(&clock), config.activities_max);
        let trials = Arc::new(Semaphore::new(1));
        let (mut mailboxes, mut processors, mut beats) = (Vec::new(), Vec::new(), Vec::new());
        for gauge in &worker.gauges {
            let (outbox, mailbox) = mpsc::unbounded_channel();
            let mark = Arc::new(PollMark::default());
            let with = Surroundings {
                store: Arc::clone(&worker.store),
                host: Arc::clone(&host),
                clock: Arc::clone(&clock),
                executor: executor.clone(),
                registry: Registry::new(Arc::clone(&worker.definitions), Arc::clone(&mark)),
                lease_ttl: config.lease_ttl,
                runs_max: config.processor.runs_max,
                outbox: outbox.clone(),
                gauge: gauge.clone(),
                trials: Arc::clone(&trials),
            };
            let limit = shards_each(&queue, config.processors);
            let serve = Serve { with, config: config.processor.clone(), queue: queue.name.clone(), limit };
            processors.push((serve, mailbox));
            mailboxes.push(outbox.clone());
            beats.push(Beat { mailbox: outbox, mark });
        }
        let heart = Heart {
            store: Arc::clone(&worker.store),
            host,
            clock,
            worker: config.processor.worker.clone(),
            queue,
            interval: config.tick_interval,
            lease_ttl: config.lease_ttl,
            poll_warn: config.poll_warn,
            processors: beats,
        };
        Self { mailboxes, processors, heart }
    }

    /// Runs all parts on this thread, until `shutdown` is ready and everything is handed over.
    pub(super) async fn run(self, shutdown: impl Future<Output = ()>, grace: Duration) {
        let (stop_heart, stopped) = watch::channel(false);
        let mailboxes = self.mailboxes;
        let processors = self.processors.into_iter().map(|(serve, mailbox)| serve.run(mailbox));
        let stop = async {
            shutdown.await;
            for mailbox in &mailboxes {
                drop(mailbox.send(Input::Shutdown { grace }));
            }
        };
        let served = async {
            join(join_all(processors), stop).await;
            stop_heart.send_replace(true);
        };
        join(served, self.heart.run(stopped)).await;
    }
}

impl Threads {
    pub(super) fn start(parts: Parts) -> Result<Self, Error> {
        let (stop_heart, stopped) = watch::channel(false);
        let mut threads =
            Self { mailboxes: parts.mailboxes, processors: Vec::new(), heart: None, stop_heart };
        for (index, (serve, mailbox)) in parts.processors.into_iter().enumerate() {
            threads.processors.push(spawn(format!("pgworkflows-{index}"), move || serve.run(mailbox))?);
        }
        let heart = parts.heart;
        threads.heart = Some(spawn("pgworkflows-heart".to_owned(), move || heart.run(stopped))?);
        Ok(threads)
    }

    /// Hands everything over, and returns when the threads have ended.
    pub(super) async fn stop(mut self, grace: Duration) {
        self.shut_down(grace);
        // The heart goes on until the last processor is done: a grace may be longer than a lease.
        join_all(std::mem::take(&mut self.processors)).await;
        self.stop_heart.send_replace(true);
        if let Some(heart) = self.heart.take() {
            // A thread that panicked has ended as well.
            drop(heart.await);
        }
    }

    fn shut_down(&self, grace: Duration) {
        for mailbox in &self.mailboxes {
            drop(mailbox.send(Input::Shutdown { grace }));
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shut_down(Duration::ZERO);
        self.stop_heart.send_replace(true);
    }
}

/// Runs a future on a thread of its own; the receiver hears of its end.
fn spawn<F, Fut>(name: String, make: F) -> Result<oneshot::Receiver<()>, Error>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let failed =
        |error: std::io::Error| Error::invalid(format!("thread `{name}` cannot be started: {error}"));
    let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (ended, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            reactor.block_on(make());
            // Nobody may be waiting for it any more.
            ended.send(()).ok();
        })
        .map_err(failed)?;
    Ok(receiver)
}

/// What one processor's thread does: claim a lease, drive a processor under it, and begin anew if it is lost.
pub(super) struct Serve {
    with: Surroundings,
    config: ProcessorConfig,
    queue: String,
    limit: u16,
}

impl Serve {
    async fn run(self, mut mailbox: mpsc::UnboundedReceiver<Input>) {
        loop {
            let begun = tokio::select! {
                biased;
                () = told_to_stop(&mut mailbox) => return,
                begun = self.begin() => begun,
            };
            let (claimed, claimed_at, sessions) = begun;
            let lease = claimed.lease;
            let shards = claimed.shards.len();
            tracing::info!(%lease, shards, worker = %self.config.worker, "lease claimed");
            let processor = Processor::new(self.config.clone(), self.with.registry.clone(), &claimed);
            let driver = Driver::new(self.with.clone(), processor, sessions, claimed_at);
            match driver.run(&mut mailbox).await {
                Ended::ShutDown => {
                    self.release(Release { lease, at_fault: None }).await;
                    return;
                }
                Ended::Lost { reason, shut_down, at_fault } => {
                    let run = at_fault.map(tracing::field::display);
                    tracing::warn!(%lease, run, "the lease is lost, recovering under another: {reason}");
                    self.release(Release { lease, at_fault }).await;
                    if shut_down {
                        return;
                    }
                }
            }
        }
    }

    /// Claims a lease, however long it takes.
    async fn begin(&self) -> (Claimed, Duration, (Box<dyn Session>, Box<dyn Session>)) {
        let mut delays = backoff(&*self.with.host);
        loop {
            match self.try_begin().await {
                Ok(begun) => return begun,
                Err(error) => {
                    let delay = delays.next().unwrap_or(BACKOFF_MAX);
                    tracing::warn!("no lease could be claimed, again in {delay:?}: {error}");
                    self.with.host.sleep(delay).await;
                }
            }
        }
    }

    async fn try_begin(
        &self,
    ) -> Result<(Claimed, Duration, (Box<dyn Session>, Box<dyn Session>)), StoreError> {
        let mut writer = self.with.store.session().await?;
        let reader = self.with.store.session().await?;
        let claimed_at = self.with.host.monotonic();
        let claim = Claim {
            queue: self.queue.clone(),
            lease: None,
            worker: self.config.worker.clone(),
            ttl: self.with.lease_ttl,
            limit: self.limit,
        };
        let claimed = writer.claim(&claim).await?;
        self.with.clock.answered(claimed.now, &*self.with.host);
        Ok((claimed, claimed_at, (writer, reader)))
    }

    /// Frees the lease's shards at once. If the store does not answer, they are free when the lease expires.
    async fn release(&self, release: Release) {
        let lease = release.lease;
        let mut delays = backoff(&*self.with.host);
        for _ in 0..RELEASE_TRIES {
            let released = async { self.with.store.session().await?.release(&release).await };
            match released.await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%lease, "the lease could not be released: {error}");
                    self.with.host.sleep(delays.next().unwrap_or(BACKOFF_MAX)).await;
                }
            }
        }
    }
}

/// How often a release is tried before the lease is left to expire.
const RELEASE_TRIES: usize = 5;

/// Waits for a shutdown, letting everything else go: it is about leases that are gone.
async fn told_to_stop(mailbox: &mut mpsc::UnboundedReceiver<Input>) {
    while let Some(input) = mailbox.recv().await {
        if let Input::Shutdown { .. } = input {
            return;
        }
    }
}
