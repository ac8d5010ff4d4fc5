//! A store that records its calls and returns scripted answers, and a host whose time only the test advances.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, oneshot};

use crate::data::attributes::Attributes;
use crate::data::id::{RunId, ShardId};
use crate::data::random::mix;
use crate::data::time::Timestamp;
use crate::host::Host;
use crate::log::event::Event;
use crate::log::wire;
use crate::store::append::{ClosedRun, ClosedStatus, OpenRow, Reply};
use crate::store::error::StoreError;
use crate::store::frame::Frame;
use crate::store::history::{Load, Loaded, RunHistory};
use crate::store::inbox::{Submission, Submitted};
use crate::store::query::{
    FoundView, KeyPage, KeyedRun, QueueDescription, RunDescription, RunFilter, RunPage, StoreQuery,
};
use crate::store::switchboard::Switchboard;
use crate::store::tasks::ActivityQueueInfo;
use crate::store::watch::{Notice, Watch, Watched, What};
use crate::store::{Hint, HintKind, Hints, Queue, Session, Store};

/// 2026-01-01 00:00 UTC, the fake store's time when the host's time is zero.
pub(super) const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// The shards of the fake store's queue.
pub(super) const FIRST_SHARD: u16 = 128;
pub(super) const SHARDS: u16 = 64;

/// A store with scripted answers. Clones are handles of one store.
#[derive(Clone)]
pub(crate) struct FakeStore(Arc<Inner>);

struct Inner {
    hints: Hints,
    /// Held by a test to block `watch`.
    gate: Arc<tokio::sync::Mutex<()>>,
    pub(super) switchboard: Switchboard,
    state: Mutex<State>,
}

/// The store's answers and its recorded calls.
#[derive(Default)]
pub(super) struct State {
    pub(super) submit_answers: VecDeque<Result<Submitted, StoreError>>,
    pub(super) closed_errors: VecDeque<StoreError>,
    pub(super) closed: BTreeMap<RunId, ClosedRun>,
    /// The reply to every update.
    pub(super) reply: Option<Bytes>,
    pub(super) described: BTreeMap<RunId, RunDescription>,
    pub(super) keys: BTreeMap<(String, String), RunId>,
    pub(super) frames: Vec<Frame>,
    pub(super) submitted: Vec<Submission>,
    pub(super) submit_calls: u32,
    /// The size of the largest of these calls.
    pub(super) submit_bytes_max: usize,
    pub(super) closed_asked: Vec<Vec<RunId>>,
    /// By view.
    pub(super) views: BTreeMap<String, FoundView>,
    pub(super) queue_asked: u32,
    pub(super) queues_asked: u32,
    /// The queues that were opened.
    pub(super) opened: Vec<String>,
    /// The queues whose workers know every workflow.
    pub(super) queues: Vec<String>,
    pub(super) listed: Vec<(RunFilter, RunPage)>,
    /// The horizons that were asked for, and the answer.
    pub(super) horizons: Vec<RunPage>,
    pub(super) horizon: Option<RunId>,
    /// What happens after the next descriptions.
    pub(super) happens: VecDeque<Happening>,
}

/// Changes the state after a description was read.
pub(super) type Happening = Box<dyn FnOnce(&mut State) + Send>;

impl Default for FakeStore {
    fn default() -> Self {
        Self(Arc::new(Inner {
            hints: Hints::new(4),
            gate: Arc::default(),
            switchboard: Switchboard::default(),
            state: Mutex::new(State { queues: vec!["default".to_owned()], ..State::default() }),
        }))
    }
}

impl FakeStore {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no test panics while it holds the state")
    }

    /// Ends a run, without a hint.
    pub(super) fn close(&self, run: RunId, terminal: &Event) {
        let status = terminal.closed_status().expect("a run ends with a terminal event");
        self.close_with(run, "greeting", status, wire::encode_event(terminal));
    }

    pub(super) fn close_with(&self, run: RunId, workflow: &str, status: ClosedStatus, outcome: Bytes) {
        let workflow = workflow.to_owned().into();
        let closed = ClosedRun { run, workflow, key: None, parent: None, status, closed_at: NOW, outcome };
        self.state().closed.insert(run, closed);
    }

    pub(super) fn hint(&self, hint: Hint) {
        self.0.hints.send(hint);
    }

    /// Adds an open run to the store.
    pub(super) fn describe_as(&self, run: RunId, workflow: &str, row: OpenRow) {
        let description = RunDescription {
            run,
            workflow: workflow.to_owned(),
            key: None,
            parent: None,
            open: Some(row),
            closed: None,
            link: None,
            current: None,
            undelivered: Vec::new(),
            attributes: Attributes::default(),
        };
        self.state().described.insert(run, description);
    }

    /// Blocks reads of outcomes until the guard is dropped.
    pub(super) fn hold_reads(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.0.gate).try_lock_owned().expect("the gate is open")
    }

    pub(super) fn closed_reads(&self) -> usize {
        self.state().closed_asked.len()
    }
}

impl fmt::Debug for FakeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeStore")
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        Err(StoreError::unavailable("a client needs no session"))
    }

    async fn queue(&self, name: &str, _shards: u16) -> Result<Queue, StoreError> {
        let mut state = self.state();
        state.queue_asked += 1;
        state.opened.push(name.to_owned());
        let first_shard =
            ShardId::new(FIRST_SHARD).map_err(|error| StoreError::corrupt(error.to_string()))?;
        Ok(Queue { name: name.to_owned(), first_shard, shard_count: SHARDS, now: NOW })
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        let mut state = self.state();
        state.submitted.extend_from_slice(submissions);
        state.submit_calls += 1;
        let bytes = submissions.iter().map(|submission| submission.body.len()).sum();
        state.submit_bytes_max = state.submit_bytes_max.max(bytes);
        let answer = state.submit_answers.pop_front().unwrap_or(Ok(Submitted::Accepted))?;
        Ok(vec![answer; submissions.len()])
    }

    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError> {
        let _gate = self.0.gate.lock().await;
        let mut state = self.state();
        let ends = watch.topics.iter().filter(|topic| topic.what == What::Closed);
        let runs: Vec<RunId> = ends.map(|topic| topic.run).collect();
        if !runs.is_empty() {
            state.closed_asked.push(runs.clone());
        }
        match state.closed_errors.pop_front() {
            Some(error) => Err(error),
            None => {
                let closed = runs.iter().filter_map(|run| state.closed.get(run).cloned());
                let last = state.views.values().map(|found| found.seq).max();
                let published = watch.topics.iter().filter_map(|topic| match (topic.what, last) {
                    (What::Published { after }, Some(seq)) if Some(seq) > after => {
                        Some(Notice::Published { run: topic.run, after, seq })
                    }
                    (What::Replied { message }, _) => {
                        let body = state.reply.clone()?;
                        Some(Notice::Replied(Reply { run: topic.run, message, body }))
                    }
                    (What::Published { .. } | What::Closed, _) => None,
                });
                Ok(Watched::within(watch.bytes, closed.map(Notice::Closed).chain(published)))
            }
        }
    }

    fn hints(&self, kind: HintKind) -> broadcast::Receiver<Hint> {
        self.0.hints.listen(kind)
    }

    fn query(&self) -> &dyn StoreQuery {
        self
    }

    fn switchboard(&self) -> Option<Switchboard> {
        Some(self.0.switchboard.clone())
    }
}

#[async_trait]
impl StoreQuery for FakeStore {
    async fn describe(&self, run: RunId) -> Result<Option<RunDescription>, StoreError> {
        let mut state = self.state();
        let found = state.described.get(&run).cloned();
        if let Some(happens) = state.happens.pop_front() {
            happens(&mut state);
        }
        Ok(found)
    }

    async fn describe_queue(&self, _name: &str) -> Result<Option<QueueDescription>, StoreError> {
        Ok(None)
    }

    async fn queues(&self) -> Result<Vec<Queue>, StoreError> {
        Ok(Vec::new())
    }

    async fn queues_of(&self, _workflow: &str) -> Result<Vec<String>, StoreError> {
        let mut state = self.state();
        state.queues_asked += 1;
        Ok(state.queues.clone())
    }

    async fn find(&self, workflow: &str, key: &str) -> Result<Option<RunId>, StoreError> {
        Ok(self.state().keys.get(&(workflow.to_owned(), key.to_owned())).copied())
    }

    async fn keyed_runs(&self, page: &KeyPage) -> Result<Vec<KeyedRun>, StoreError> {
        let state = self.state();
        let has_prefix = |(workflow, key): &&(String, String)| {
            *workflow == *page.workflow && key.starts_with(&page.prefix) && page.after.as_ref() < Some(key)
        };
        let keys = state.keys.iter().filter(|(name, _)| has_prefix(name)).take(page.limit as usize);
        Ok(keys.map(|((_, key), run)| KeyedRun { key: key.clone(), run: *run, is_open: true }).collect())
    }

    async fn horizon(&self, _filter: &RunFilter, page: &RunPage) -> Result<Option<RunId>, StoreError> {
        let mut state = self.state();
        state.horizons.push(page.clone());
        Ok(state.horizon)
    }

    async fn list(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<RunDescription>, StoreError> {
        let mut state = self.state();
        state.listed.push((filter.clone(), page.clone()));
        let older = |run: &RunId| page.before.is_none_or(|before| *run < before);
        let runs = state.described.iter().rev().filter(|(run, _)| older(run));
        Ok(runs.take(page.limit as usize).map(|(_, found)| found.clone()).collect())
    }

    /// Returns three frames at most.
    async fn load(&self, load: &Load) -> Result<Loaded, StoreError> {
        let state = self.state();
        let mut later = state.frames.iter().filter(|frame| Some(frame.seq) > load.after);
        let history = RunHistory { run: load.runs[0], frames: later.by_ref().take(3).cloned().collect() };
        Ok(Loaded { histories: vec![history], cut: later.next().map(|_| load.runs[0]) })
    }

    async fn view(&self, _run: RunId, view: &str) -> Result<Option<FoundView>, StoreError> {
        Ok(self.state().views.get(view).cloned())
    }

    async fn activity_queues(&self) -> Result<Vec<ActivityQueueInfo>, StoreError> {
        Ok(Vec::new())
    }
}

/// A host whose time the test advances, and whose random numbers are deterministic.
pub(super) struct ManualHost {
    runtime: tokio::runtime::Handle,
    now: Mutex<Duration>,
    sleepers: Mutex<Vec<(Duration, oneshot::Sender<()>)>>,
    draws: AtomicU64,
    /// How many spawned tasks have not ended.
    pub(super) tasks: Arc<AtomicUsize>,
    /// Whether spawned tasks are dropped at once, as by a runtime that has ended.
    pub(super) drops_tasks: std::sync::atomic::AtomicBool,
}

impl ManualHost {
    pub(super) fn new() -> Self {
        Self {
            runtime: tokio::runtime::Handle::current(),
            now: Mutex::default(),
            sleepers: Mutex::default(),
            draws: AtomicU64::new(0),
            tasks: Arc::default(),
            drops_tasks: false.into(),
        }
    }

    /// Advances the time in one step, and lets every task run that is then due.
    pub(super) async fn advance(&self, by: Duration) {
        settle().await;
        let now = {
            let mut now = self.now.lock().expect("unpoisoned");
            *now += by;
            *now
        };
        {
            let mut sleepers = self.sleepers.lock().expect("unpoisoned");
            let (due, asleep) = sleepers.drain(..).partition(|(wake_at, _)| *wake_at <= now);
            *sleepers = asleep;
            let due: Vec<(Duration, oneshot::Sender<()>)> = due;
            due.into_iter().for_each(|(_, sender)| _ = sender.send(()));
        }
        settle().await;
    }

    pub(super) fn tasks(&self) -> usize {
        self.tasks.load(Ordering::SeqCst)
    }
}

/// Lets all tasks run until none makes progress.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

impl Host for ManualHost {
    fn monotonic(&self) -> Duration {
        *self.now.lock().expect("unpoisoned")
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        self.sleepers.lock().expect("unpoisoned").push((self.monotonic() + time, sender));
        receiver.map(drop).boxed()
    }

    fn random(&self) -> u64 {
        mix(self.draws.fetch_add(1, Ordering::SeqCst))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        if self.drops_tasks.load(Ordering::SeqCst) {
            return;
        }
        let tasks = Arc::clone(&self.tasks);
        tasks.fetch_add(1, Ordering::SeqCst);
        drop(self.runtime.spawn(async move {
            task.await;
            tasks.fetch_sub(1, Ordering::SeqCst);
        }));
    }
}

impl fmt::Debug for ManualHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManualHost({:?})", self.monotonic())
    }
}
