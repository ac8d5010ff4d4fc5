//! The status of a worker's parts: each thread writes its own, and the worker's health is computed from all of them. It
//! must not decide what a user should do about it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::data::id::{LeaseId, RunId};
use crate::data::limits;
use crate::data::name::Name;
use crate::host::Host;
use crate::worker::health::{Health, HealthReason};
use crate::worker::request_watch::RequestWatch;
use crate::worker::setbacks::served_well;

/// Reports a worker's health to a readiness probe, from any thread: before, during, and after its run.
/// [`Worker::health`](super::Worker::health) returns it. Cheap to clone.
///
/// ```
/// use pgworkflows::Worker;
/// use pgworkflows::worker::Health;
/// use pgworkflows::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let worker = Worker::builder(MemoryStore::new()).build()?;
/// let health = worker.health();
/// // What an HTTP server answers at `/ready`:
/// let ready = move || match health.check() {
///     Health::Healthy => (200, "ready".to_owned()),
///     unwell => (503, unwell.to_string()),
/// };
/// assert_eq!(ready(), (503, "starting".to_owned()));
///
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let served = tokio::spawn(worker.run_until(async { drop(stopped.await) }));
/// while ready().0 != 200 {
///     tokio::time::sleep(std::time::Duration::from_millis(10)).await;
/// }
/// drop(stop);
/// served.await??;
/// assert_eq!(ready(), (503, "stopped".to_owned()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct WorkerHealth(pub(super) Arc<WorkerStatus>);

impl WorkerHealth {
    /// Returns the worker's health now. It reads what the worker's threads last recorded, without I/O.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # use pgworkflows::worker::Health;
    /// let worker = Worker::builder(MemoryStore::new()).build()?;
    /// assert_eq!(worker.health().check(), Health::Starting);
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn check(&self) -> Health {
        self.0.health()
    }
}

impl fmt::Debug for WorkerHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkerHealth").field(&self.check()).finish()
    }
}

/// The status of a worker.
#[derive(Debug)]
pub(super) struct WorkerStatus {
    worker: String,
    lease_ttl: Duration,
    /// The source of time, once the worker runs.
    host: OnceLock<Arc<dyn Host>>,
    /// The worker's first request, which looks up its queue.
    pub(super) queue: RequestWatch,
    pub(super) heartbeat: Arc<RequestWatch>,
    /// The requests of the task loop.
    pub(super) tasks: RequestWatch,
    /// Whether the executor has had a lease.
    executes: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Serving processors, by place.
    serving: Vec<Arc<ProcessorStatus>>,
    /// Processors whose thread was left behind.
    left_behind: Vec<Arc<ProcessorStatus>>,
    stopped: bool,
    gave_up: Option<String>,
}

/// The status of one processor.
#[derive(Debug)]
pub(crate) struct ProcessorStatus {
    pub(super) worker: String,
    pub(super) place: usize,
    pub(super) claim: RequestWatch,
    pub(super) append: RequestWatch,
    pub(super) read: RequestWatch,
    heartbeat: Arc<RequestWatch>,
    state: Mutex<ProcessorState>,
}

#[derive(Debug, Default)]
struct ProcessorState {
    has_served: bool,
    lease: Option<LeaseId>,
    /// When its current lease was claimed.
    serves_since: Option<Duration>,
    losses: u32,
    last_loss: String,
    poll: Option<SlowPoll>,
}

/// A poll that takes too long.
#[derive(Clone, Debug)]
pub(super) struct SlowPoll {
    pub(super) run: RunId,
    pub(super) workflow: Name,
    /// When it was first seen.
    pub(super) since: Duration,
}

impl WorkerStatus {
    pub(super) fn new(worker: &str, lease_ttl: Duration, processors: usize) -> Arc<Self> {
        let status = Self {
            worker: worker.to_owned(),
            lease_ttl,
            host: OnceLock::new(),
            queue: RequestWatch::new("the queue cannot be looked up", worker, None),
            heartbeat: Arc::new(RequestWatch::new("a heartbeat goes unanswered", worker, None)),
            tasks: RequestWatch::new("a request for tasks goes unanswered", worker, None),
            executes: AtomicBool::new(false),
            state: Mutex::default(),
        };
        let serving = (0..processors).map(|place| status.processor(place)).collect();
        status.lock().serving = serving;
        Arc::new(status)
    }

    fn processor(&self, place: usize) -> Arc<ProcessorStatus> {
        let watch = |what| RequestWatch::new(what, &self.worker, Some(place));
        Arc::new(ProcessorStatus {
            worker: self.worker.clone(),
            place,
            claim: watch("no lease could be claimed"),
            append: watch("an append goes unanswered"),
            read: watch("a read goes unanswered"),
            heartbeat: Arc::clone(&self.heartbeat),
            state: Mutex::default(),
        })
    }

    /// Marks the worker as running until the returned guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, host: &Arc<dyn Host>) -> Running {
        // A worker runs once.
        let _ = self.host.set(Arc::clone(host));
        Running(Arc::clone(self))
    }

    /// The executor has its first lease.
    pub(super) fn executor_begins(&self) {
        self.executes.store(true, Ordering::Relaxed);
    }

    pub(super) fn stop(&self) {
        self.lock().stopped = true;
    }

    pub(super) fn give_up(&self, why: String) {
        self.lock().gave_up.get_or_insert(why);
    }

    /// The status of the processor at that place.
    pub(super) fn at(&self, place: usize) -> Arc<ProcessorStatus> {
        Arc::clone(&self.lock().serving[place])
    }

    /// The thread at that place is left behind: returns the status of its replacement.
    pub(super) fn replace(&self, place: usize) -> Arc<ProcessorStatus> {
        let fresh = self.processor(place);
        let mut state = self.lock();
        let old = std::mem::replace(&mut state.serving[place], Arc::clone(&fresh));
        state.left_behind.push(old);
        fresh
    }

    /// A thread that was left behind has ended.
    pub(super) fn left_behind_ended(&self, status: &Arc<ProcessorStatus>) {
        self.lock().left_behind.retain(|left| !Arc::ptr_eq(left, status));
    }

    /// Computes the worker's health.
    pub(super) fn health(&self) -> Health {
        let Some(host) = self.host.get() else { return Health::Starting };
        let now = host.monotonic();
        let (serving, left_behind, stopped) = {
            let state = self.lock();
            if let Some(why) = state.gave_up.clone() {
                return Health::Unhealthy { reasons: vec![HealthReason::GaveUp { why }] };
            }
            (state.serving.clone(), state.left_behind.clone(), state.stopped)
        };
        if stopped {
            return Health::Stopped;
        }
        let watches = serving.iter().flat_map(|processor| [&processor.claim, &processor.read]);
        let silence = watches
            .chain([&self.queue, &*self.heartbeat, &self.tasks])
            .filter_map(|watch| watch.silence(now))
            .max();
        let unreachable = silence.filter(|lasting| *lasting >= limits::UNANSWERED_ERROR);
        let mut reasons: Vec<_> =
            unreachable.map(|lasting| HealthReason::StoreUnreachable { lasting }).into_iter().collect();
        for processor in &serving {
            reasons.extend(processor.unanswered(now));
            reasons.extend(processor.lost(now, served_well(self.lease_ttl)));
        }
        reasons.extend(serving.iter().chain(&left_behind).filter_map(|processor| processor.stuck(now)));
        if !reasons.is_empty() {
            return Health::Unhealthy { reasons };
        }
        let has_begun = match &*serving {
            // A worker without processors only executes tasks.
            [] => self.executes.load(Ordering::Relaxed),
            all => all.iter().all(|processor| processor.lock().has_served),
        };
        if has_begun { Health::Healthy } else { Health::Starting }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks the worker as stopped when it is dropped.
#[derive(Debug)]
pub(super) struct Running(Arc<WorkerStatus>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl ProcessorStatus {
    /// The processor serves under this lease from now on.
    pub(super) fn lease_begins(&self, lease: LeaseId, now: Duration) {
        let mut state = self.lock();
        (state.has_served, state.serves_since, state.lease) = (true, Some(now), Some(lease));
    }

    /// The current or last lease.
    pub(super) fn lease(&self) -> Option<LeaseId> {
        self.lock().lease
    }

    /// The lease is over, and so are the requests made under it.
    pub(super) fn lease_ends(&self) {
        self.append.forget();
        self.read.forget();
        self.lock().serves_since = None;
    }

    /// The processor lost that many leases in a row, the last one for this reason.
    pub(super) fn set_back(&self, losses: u32, last: String) {
        let mut state = self.lock();
        (state.losses, state.last_loss) = (losses, last);
    }

    /// Records a poll that takes too long; `None` if there is none.
    pub(super) fn polls(&self, slow: Option<SlowPoll>) {
        self.lock().poll = slow;
    }

    /// Whether heartbeats have gone unanswered for at least that long.
    pub(super) fn heartbeat_is_silent(&self, now: Duration, at_least: Duration) -> bool {
        self.heartbeat.silence(now).is_some_and(|lasting| lasting >= at_least)
    }

    fn unanswered(&self, now: Duration) -> Option<HealthReason> {
        let (lasting, tries, runs) = self.append.unanswered(now)?;
        let place = self.place;
        (lasting >= limits::UNANSWERED_ERROR).then_some(HealthReason::AppendUnanswered {
            processor: place,
            lasting,
            tries,
            runs,
        })
    }

    fn lost(&self, now: Duration, served_well: Duration) -> Option<HealthReason> {
        let state = self.lock();
        let is_well = state.serves_since.is_some_and(|since| now.saturating_sub(since) >= served_well);
        (state.losses >= limits::LEASE_LOSSES_ERROR && !is_well).then(|| HealthReason::LeaseLost {
            processor: self.place,
            in_a_row: state.losses,
            why: state.last_loss.clone(),
        })
    }

    fn stuck(&self, now: Duration) -> Option<HealthReason> {
        let SlowPoll { run, workflow, since } = self.lock().poll.clone()?;
        let lasting = now.saturating_sub(since);
        Some(HealthReason::NeverYields { run, workflow: workflow.to_string(), lasting })
    }

    fn lock(&self) -> MutexGuard<'_, ProcessorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
