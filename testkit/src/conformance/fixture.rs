//! What each case begins with: an empty store with one queue, ids, messages and writers. It must not hide a call of the
//! seam behind more than a name.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pgworkflows_core::id::{EventSeq, MessageId, RunId, ShardId};
use pgworkflows_core::store::{
    Build, ChildRun, Frame, InboxMessage, Load, Loaded, NewRun, OpenRow, Queue, RunDescription, SentMessage,
    Store, Submission, Submitted,
};

use super::harness::Harness;
use super::writer::{LONG, MANY_BYTES, QUEUE, SHARDS, WORKFLOW, Writer, busy};

/// What each case begins with: an empty store with one queue.
pub struct Fixture {
    pub(super) harness: Box<dyn Harness>,
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: Queue,
    ids: AtomicU64,
}

impl Fixture {
    pub(super) async fn new(harness: impl Harness + 'static) -> Self {
        let store = harness.connect().await;
        let queue = store.queue(QUEUE, SHARDS).await.expect("the queue is created");
        Self { harness: Box::new(harness), store, queue, ids: AtomicU64::new(1) }
    }

    /// The queue's shard of that index.
    pub(super) fn shard(&self, index: u16) -> ShardId {
        ShardId::new(self.queue.first_shard.get() + index).expect("the queue's shards exist")
    }

    pub(super) fn shards(&self) -> Vec<ShardId> {
        (0..SHARDS).map(|index| self.shard(index)).collect()
    }

    /// The id of a run in the queue's shard of that index, greater than all earlier ones of that shard.
    pub(super) fn run(&self, shard: u16) -> RunId {
        RunId::new(self.queue.now, self.shard(shard), self.next_id())
    }

    /// A message to a run, with an id and a body of its own.
    pub(super) fn signal(&self, run: RunId) -> Submission {
        let id = self.next_id();
        let message = MessageId::from_u128(run.as_u128() ^ u128::from(id));
        Submission { message, run, body: Bytes::from(format!("signal {id}")), opens: None }
    }

    /// A message that one run sends to another.
    pub(super) fn note(&self, run: RunId) -> SentMessage {
        let Submission { message, run, body, .. } = self.signal(run);
        SentMessage { message, run, key: None, otherwise: None, body, opens: None }
    }

    /// A start that one run sends to another.
    pub(super) fn child(&self, run: RunId) -> SentMessage {
        self.child_of(RunId::from_u128(1), run)
    }

    /// A start that this parent sends.
    pub(super) fn child_of(&self, parent: RunId, run: RunId) -> SentMessage {
        let opens = Some(ChildRun { workflow: WORKFLOW.into(), parent });
        SentMessage { opens, ..self.note(run) }
    }

    /// A start.
    pub(super) fn start(&self, run: RunId) -> Submission {
        Submission { opens: Some(NewRun::of(WORKFLOW)), ..self.signal(run) }
    }

    /// A start with a key.
    pub(super) fn keyed(&self, run: RunId, workflow: &str, key: &str, digest: Option<u8>) -> Submission {
        let input_digest = digest.map(|byte| [byte; 32]);
        let opens = NewRun { key: Some(key.to_owned()), input_digest, ..NewRun::of(workflow) };
        Submission { opens: Some(opens), ..self.signal(run) }
    }

    pub(super) async fn submit(&self, submissions: &[Submission]) -> Vec<Submitted> {
        self.store.submit(submissions).await.expect("the store answers")
    }

    /// Submits one message, which must be accepted.
    pub(super) async fn accept(&self, submission: &Submission) {
        assert_eq!(self.submit(std::slice::from_ref(submission)).await, [Submitted::Accepted]);
    }

    /// A writer with a new lease on as many free shards as there are, up to `limit`.
    pub(super) async fn claim(&self, limit: u16, ttl: Duration) -> Writer {
        Writer::claim(self.store.session().await.expect("a session is opened"), limit, ttl).await
    }

    /// A writer with a new lease of a build.
    pub(super) async fn claim_as(&self, build: Build, limit: u16, ttl: Duration) -> Writer {
        let session = self.store.session().await.expect("a session is opened");
        Writer::claim_in(QUEUE, session, build, limit, ttl).await
    }

    /// A writer that owns all shards for as long as the case runs.
    pub(super) async fn writer(&self) -> Writer {
        let writer = self.claim(SHARDS, LONG).await;
        assert_eq!(writer.shards, self.shards(), "all shards of a new queue are free");
        writer
    }

    /// A writer that owns all shards until the harness lets its lease expire.
    pub(super) async fn expiring_writer(&self) -> Writer {
        self.claim(SHARDS, self.harness.lease_ttl()).await
    }

    /// A writer that owned all shards, and whose lease has expired.
    pub(super) async fn expired_writer(&self) -> Writer {
        let writer = self.expiring_writer().await;
        self.harness.let_lease_expire().await;
        writer
    }

    /// A writer of all shards, and a run that does not exist yet.
    pub(super) async fn writer_and_run(&self) -> (Writer, RunId) {
        (self.writer().await, self.run(0))
    }

    /// A writer of all shards, and a run that it opened.
    pub(super) async fn open_run(&self) -> (Writer, RunId) {
        let (mut writer, run) = self.writer_and_run().await;
        writer.open(run, busy()).await;
        (writer, run)
    }

    /// A writer of all shards, and a run that it opened and ended.
    pub(super) async fn ended_run(&self) -> (Writer, RunId) {
        let (mut writer, run) = self.writer_and_run().await;
        writer.open_and_close(run).await;
        (writer, run)
    }

    /// A writer of all shards, a run whose start was submitted, and that start as the writer reads it.
    pub(super) async fn submitted_run(&self) -> (Writer, RunId, InboxMessage) {
        let (mut writer, run) = self.writer_and_run().await;
        self.accept(&self.start(run)).await;
        let start = writer.inbox().await.remove(0);
        (writer, run, start)
    }

    /// What people read of these histories.
    pub(super) async fn load(&self, runs: &[RunId], after: Option<EventSeq>, bytes: usize) -> Loaded {
        let load = Load { runs: runs.to_vec(), after, bytes };
        self.store.query().load(&load).await.expect("the store answers")
    }

    /// The run's frames; none if the store does not know the run.
    pub(super) async fn history(&self, run: RunId) -> Vec<Frame> {
        let loaded = self.load(&[run], None, MANY_BYTES).await;
        loaded.histories.into_iter().flat_map(|history| history.frames).collect()
    }

    /// How many events the run has.
    pub(super) async fn history_len(&self, run: RunId) -> u32 {
        self.history(run).await.iter().map(|frame| frame.count).sum()
    }

    /// What the store says of a run, which must exist.
    pub(super) async fn describe(&self, run: RunId) -> RunDescription {
        self.describe_any(run).await.expect("the run exists")
    }

    pub(super) async fn describe_any(&self, run: RunId) -> Option<RunDescription> {
        self.store.query().describe(run).await.expect("the store answers")
    }

    /// The run with this key.
    pub(super) async fn find(&self, workflow: &str, key: &str) -> Option<RunId> {
        self.store.query().find(workflow, key).await.expect("the store answers")
    }

    /// The run's open row.
    pub(super) async fn open_row(&self, run: RunId) -> Option<OpenRow> {
        self.describe_any(run).await.and_then(|run| run.open)
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("queue", &self.queue).finish_non_exhaustive()
    }
}
