//! What the cases are written with: a store with one queue, and a writer that keeps its numbers in order as a
//! processor does. It must not hide a call of the seam behind more than a name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{
    AppendNo, EventName, EventSeq, InboxNo, LeaseId, MessageId, Position, RunId, ShardId,
};
use pgworkflows_core::store::{
    Append, Appended, Claim, ClosedRun, ClosedStatus, Heartbeat, HeartbeatAnswer, InboxCursor, InboxMessage,
    InboxPage, InboxRead, LeaseAnswer, LeaseHeartbeat, Load, Loaded, MessageRef, NewEvent, NewRun, OpenRow,
    OpenState, OpenedRun, Queue, Release, SentMessage, Session, Store, StoreError, Submission, Submitted,
    Suspect, SuspectStage, Unparked, UpdatedRun,
};

use super::Harness;

/// A ttl that no case outlives.
pub(super) const LONG: Duration = Duration::from_secs(24 * 3600);

/// The queue of the cases, and how many shards it has.
pub(super) const QUEUE: &str = "conformance";
pub(super) const SHARDS: u16 = 4;

/// The worker's name in all claims.
pub(super) const WORKER: &str = "conformance";

/// A limit of bytes that no case reaches.
pub(super) const MANY_BYTES: usize = 1 << 30;

/// The workflow of runs where it does not matter.
pub(super) const WORKFLOW: &str = "order";

/// A fresh store with one queue.
pub(super) struct Ground<'a> {
    pub(super) harness: &'a dyn Harness,
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: Queue,
    minted: AtomicU64,
}

impl<'a> Ground<'a> {
    pub(super) async fn new(harness: &'a dyn Harness) -> Self {
        let store = harness.connect().await;
        let queue = store.queue(QUEUE, SHARDS).await.expect("a queue can be made");
        Self { harness, store, queue, minted: AtomicU64::new(1) }
    }

    /// The queue's shard of that index.
    pub(super) fn shard(&self, index: u16) -> ShardId {
        ShardId::new(self.queue.first_shard.get() + index).expect("the queue's shards exist")
    }

    pub(super) fn shards(&self) -> Vec<ShardId> {
        (0..SHARDS).map(|index| self.shard(index)).collect()
    }

    /// An id for a run in the queue's shard of that index, above all that were minted before for this shard.
    pub(super) fn run(&self, shard: u16) -> RunId {
        let minted = self.minted.fetch_add(1, Ordering::Relaxed);
        RunId::new(self.queue.now, self.shard(shard), minted)
    }

    /// A message to a run, with an id and a body of its own.
    pub(super) fn signal(&self, run: RunId) -> Submission {
        let minted = self.minted.fetch_add(1, Ordering::Relaxed);
        let body = Bytes::from(format!("signal {minted}"));
        Submission {
            message: MessageId::from_u128(run.as_u128() ^ u128::from(minted)),
            run,
            body,
            opens: None,
        }
    }

    /// The same as one run sends it to another.
    pub(super) fn note(&self, run: RunId) -> SentMessage {
        let Submission { message, run, body, .. } = self.signal(run);
        SentMessage { message, run, body, opens: None }
    }

    /// A start that one run sends to another.
    pub(super) fn child(&self, run: RunId) -> SentMessage {
        SentMessage { opens: Some(WORKFLOW.into()), ..self.note(run) }
    }

    /// A start.
    pub(super) fn start(&self, run: RunId) -> Submission {
        let opens = NewRun { workflow: WORKFLOW.to_owned(), key: None, input_digest: None };
        Submission { opens: Some(opens), ..self.signal(run) }
    }

    /// A start under a key.
    pub(super) fn keyed(&self, run: RunId, workflow: &str, key: &str, digest: Option<u8>) -> Submission {
        let input_digest = digest.map(|byte| [byte; 32]);
        let opens = NewRun { workflow: workflow.to_owned(), key: Some(key.to_owned()), input_digest };
        Submission { opens: Some(opens), ..self.signal(run) }
    }

    pub(super) async fn submit(&self, submissions: &[Submission]) -> Vec<Submitted> {
        self.store.submit(submissions).await.expect("the store is there")
    }

    /// Submits one, which must be accepted.
    pub(super) async fn accept(&self, submission: &Submission) {
        assert_eq!(self.submit(std::slice::from_ref(submission)).await, [Submitted::Accepted]);
    }

    /// A writer with a new lease on as many shards as are free, up to `limit`.
    pub(super) async fn claim(&self, limit: u16, ttl: Duration) -> Writer {
        let mut session = self.store.session().await.expect("a session can be opened");
        let claim = claim(None, limit, ttl);
        let claimed = session.claim(&claim).await.expect("a new lease can be had");
        let positions = claimed.shards.iter().map(|shard| (shard.shard, shard.next_position)).collect();
        let shards = claimed.shards.iter().map(|shard| shard.shard).collect();
        let deaths = claimed.shards.iter().map(|shard| shard.deaths).collect();
        let formers = claimed.shards.iter().map(|shard| shard.former.clone()).collect();
        let (lease, suspects, number, seqs) =
            (claimed.lease, claimed.suspects, AppendNo::FIRST, BTreeMap::new());
        Writer { session, lease, shards, deaths, formers, suspects, number, positions, seqs }
    }

    /// A writer that has all shards for as long as the case runs.
    pub(super) async fn writer(&self) -> Writer {
        let writer = self.claim(SHARDS, LONG).await;
        assert_eq!(writer.shards, self.shards(), "all shards of a new queue are free");
        writer
    }

    /// A writer that has all shards until the harness lets its lease expire.
    pub(super) async fn mortal_writer(&self) -> Writer {
        self.claim(SHARDS, self.harness.lease_ttl()).await
    }

    pub(super) async fn history_len(&self, run: RunId) -> usize {
        self.store.query().history(run, None, 1000).await.expect("the store is there").len()
    }

    /// The run's open row.
    pub(super) async fn open_row(&self, run: RunId) -> Option<OpenRow> {
        self.store.query().describe(run).await.expect("the store is there").and_then(|run| run.open)
    }
}

impl fmt::Debug for Ground<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground").field("queue", &self.queue).finish_non_exhaustive()
    }
}

pub(super) fn claim(lease: Option<LeaseId>, limit: u16, ttl: Duration) -> Claim {
    Claim { queue: QUEUE.to_owned(), lease, worker: WORKER.to_owned(), ttl, limit }
}

/// One lease's owner: the next numbers of all that it writes.
pub(super) struct Writer {
    pub(super) session: Box<dyn Session>,
    pub(super) lease: LeaseId,
    /// What it claimed first.
    pub(super) shards: Vec<ShardId>,
    pub(super) deaths: Vec<u32>,
    pub(super) formers: Vec<Option<String>>,
    pub(super) suspects: Vec<Suspect>,
    pub(super) number: AppendNo,
    pub(super) positions: BTreeMap<ShardId, Position>,
    seqs: BTreeMap<RunId, EventSeq>,
}

impl Writer {
    /// A batch that goes on where this writer is.
    pub(super) fn draft(&self) -> Draft {
        let append = Append {
            lease: self.lease,
            number: self.number,
            digest: [0; 32],
            events: Vec::new(),
            opened: Vec::new(),
            updated: Vec::new(),
            closed: Vec::new(),
            consumed: Vec::new(),
            undelivered: Vec::new(),
            sent: Vec::new(),
            suspects: Vec::new(),
            cleared: Vec::new(),
        };
        Draft { append, positions: self.positions.clone(), seqs: self.seqs.clone() }
    }

    /// Appends, and moves on where that succeeds.
    pub(super) async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        let appended = self.session.append(append).await?;
        self.number = append.number.next();
        for event in &append.events {
            self.positions.insert(event.run.shard(), event.position.next());
            self.seqs.insert(event.run, event.seq.next());
        }
        Ok(appended)
    }

    /// Appends what must succeed.
    pub(super) async fn write(&mut self, draft: Draft) -> Append {
        let append = draft.seal();
        self.append(&append).await.expect("the batch is as it should be");
        append
    }

    /// Opens a run in this state.
    pub(super) async fn open(&mut self, run: RunId, row: OpenRow) {
        self.write(self.draft().open(run, row).event(run)).await;
    }

    /// Opens a run and ends it.
    pub(super) async fn open_and_close(&mut self, run: RunId) {
        self.write(self.draft().event(run).event(run).close(run)).await;
    }

    pub(super) async fn read(&mut self, cursor: &InboxCursor, limit: u32) -> InboxPage {
        self.read_bytes(cursor, limit, MANY_BYTES).await
    }

    pub(super) async fn read_bytes(&mut self, cursor: &InboxCursor, limit: u32, bytes: usize) -> InboxPage {
        let read = InboxRead { shards: self.shards.clone(), cursor: cursor.clone(), limit, bytes };
        self.session.read_inbox(&read).await.expect("the store is there")
    }

    /// All that waits for this writer.
    pub(super) async fn inbox(&mut self) -> Vec<InboxMessage> {
        let page = self.read(&InboxCursor::default(), 1000).await;
        assert!(!page.more, "the cases stay below 1000 messages");
        page.messages
    }

    pub(super) async fn heartbeat(&mut self, renew: Option<Duration>) -> HeartbeatAnswer {
        let heartbeat = self.lease_heartbeat();
        self.heartbeat_with(LeaseHeartbeat { renew, ..heartbeat }).await
    }

    pub(super) fn lease_heartbeat(&self) -> LeaseHeartbeat {
        LeaseHeartbeat {
            lease: self.lease,
            renew: None,
            committed: AppendNo::new(self.number.get() - 1),
            deaths_max: u32::MAX,
            cursor: InboxCursor::default(),
            due_after: None,
            due_until: Timestamp::from_micros(0),
        }
    }

    pub(super) async fn heartbeat_with(&mut self, lease: LeaseHeartbeat) -> HeartbeatAnswer {
        let heartbeat = Heartbeat { queue: QUEUE.to_owned(), leases: vec![lease] };
        self.session.heartbeat(&heartbeat).await.expect("the store is there")
    }

    /// What a heartbeat says of this writer's lease.
    pub(super) async fn look(&mut self, lease: LeaseHeartbeat) -> LeaseAnswer {
        self.heartbeat_with(lease).await.leases.remove(0)
    }

    /// The busy and stalled runs of this writer's shards.
    pub(super) async fn unparked(&mut self, after: Option<RunId>, limit: u32) -> Vec<RunId> {
        let unparked = Unparked { shards: self.shards.clone(), after, limit };
        self.session.unparked(&unparked).await.expect("the store is there")
    }

    /// Histories of these runs, so many bytes of them at most.
    pub(super) async fn load(&mut self, runs: &[RunId], after: Option<EventSeq>, bytes: usize) -> Loaded {
        let mut runs = runs.to_vec();
        runs.sort_unstable();
        self.session.load(&Load { runs, after, bytes }).await.expect("the store is there")
    }

    /// Gives the lease up. It may be called again, and for a lease that is gone.
    pub(super) async fn release(&mut self) {
        self.release_for(None).await;
    }

    /// Gives the lease up because of a run.
    pub(super) async fn release_for(&mut self, at_fault: Option<RunId>) {
        let release = Release { lease: self.lease, at_fault };
        self.session.release(&release).await.expect("the store is there");
    }
}

/// A batch that is being put together.
pub(super) struct Draft {
    append: Append,
    positions: BTreeMap<ShardId, Position>,
    seqs: BTreeMap<RunId, EventSeq>,
}

impl Draft {
    /// Adds the run's next event.
    pub(super) fn event(mut self, run: RunId) -> Self {
        let seq = self.seqs.entry(run).or_insert(EventSeq::FIRST);
        // A shard that is not the writer's has some position too; the store refuses before it compares it.
        let position = self.positions.entry(run.shard()).or_insert(Position::FIRST);
        self.append.events.push(NewEvent {
            run,
            seq: *seq,
            position: *position,
            name: EventName::from_stored("conformance.happened"),
            at: Timestamp::from_micros(1_767_225_600_123_456 + i64::from(seq.get())),
            body: Bytes::from(format!("event {seq} of {run}")),
        });
        *seq = seq.next();
        *position = position.next();
        self
    }

    pub(super) fn open(mut self, run: RunId, row: OpenRow) -> Self {
        self.append.opened.push(OpenedRun { run, workflow: WORKFLOW.into(), row });
        self
    }

    pub(super) fn update(mut self, run: RunId, row: OpenRow) -> Self {
        self.append.updated.push(UpdatedRun { run, row });
        self
    }

    pub(super) fn close(self, run: RunId) -> Self {
        self.close_with(closed_run(run))
    }

    pub(super) fn close_with(mut self, closed: ClosedRun) -> Self {
        self.append.closed.push(closed);
        self
    }

    pub(super) fn consume(mut self, message: &InboxMessage) -> Self {
        self.append.consumed.push(reference(message));
        self
    }

    pub(super) fn undeliver(mut self, message: &InboxMessage) -> Self {
        self.append.undelivered.push(reference(message));
        self
    }

    pub(super) fn send(mut self, message: &SentMessage) -> Self {
        self.append.sent.push(message.clone());
        self
    }

    pub(super) fn suspect(mut self, run: RunId, stage: SuspectStage, strikes: u32) -> Self {
        self.append.suspects.push(Suspect { run, stage, strikes });
        self
    }

    pub(super) fn clear(mut self, run: RunId) -> Self {
        self.append.cleared.push(run);
        self
    }

    /// The batch with its digest.
    pub(super) fn seal(self) -> Append {
        seal(self.append)
    }
}

/// Sets the digest, after a case has changed the batch by hand.
pub(super) fn seal(mut append: Append) -> Append {
    append.digest = append.content_digest();
    append
}

pub(super) fn closed_run(run: RunId) -> ClosedRun {
    ClosedRun {
        run,
        workflow: WORKFLOW.into(),
        key: None,
        status: ClosedStatus::Completed,
        closed_at: Timestamp::from_micros(1_767_225_600_000_000),
        outcome: Bytes::from_static(b"done"),
    }
}

pub(super) fn reference(message: &InboxMessage) -> MessageRef {
    MessageRef { shard: message.run.shard(), number: message.number, message: message.message }
}

/// A message that is not there.
pub(super) fn missing_message(shard: ShardId) -> MessageRef {
    MessageRef { shard, number: InboxNo::new(1 << 40), message: MessageId::from_u128(1 << 40) }
}

pub(super) fn busy() -> OpenRow {
    OpenRow::default()
}

pub(super) fn stalled() -> OpenRow {
    OpenRow { state: OpenState::Stalled, ..OpenRow::default() }
}

pub(super) fn parked(wake_at: Option<i64>) -> OpenRow {
    OpenRow { state: OpenState::Parked, wake_at: wake_at.map(Timestamp::from_micros), waiting_on: None }
}

pub(super) fn bodies(messages: &[InboxMessage]) -> Vec<Bytes> {
    messages.iter().map(|message| message.body.clone()).collect()
}

#[track_caller]
pub(super) fn assert_fenced<T: fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Fenced { .. })), "expected Fenced, got {answer:?}");
}

#[track_caller]
pub(super) fn assert_conflict<T: fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Conflict { .. })), "expected Conflict, got {answer:?}");
}
