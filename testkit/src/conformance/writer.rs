//! What the cases write with: the owner of a lease, which keeps its numbers in order as a processor does, and the batch
//! that it puts together. It must not hide a call of the seam behind more than a name.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{
    AppendNo, ClaimId, EventSeq, InboxNo, LeaseId, MessageId, Position, RunId, ShardId,
};
use pgworkflows_core::store::{
    Append, Appended, Build, ChainLink, Claim, Claimed, ClosedRun, ClosedStatus, Frame, Heartbeat,
    HeartbeatAnswer, InboxCursor, InboxMessage, InboxPage, InboxRead, LeaseAnswer, LeaseHeartbeat, Load,
    Loaded, MessageRef, OpenRow, OpenState, OpenedRun, PublishedView, Release, Released, Reply, RunLink,
    SentMessage, Session, Standing, StoreError, Suspect, SuspectStage, Unparked, UnparkedRuns, UpdatedRun,
};

/// A time to live that no case outlasts.
pub(super) const LONG: Duration = Duration::from_secs(24 * 3600);

/// The queue of the cases, and how many shards it has.
pub(super) const QUEUE: &str = "conformance";
pub(super) const SHARDS: u16 = 4;

/// The worker's name in all claims.
pub(super) const WORKER: &str = "conformance";

/// A limit in bytes that no case reaches.
pub(super) const MANY_BYTES: usize = 1 << 30;

/// The workflow of a run, where it does not matter.
pub(super) const WORKFLOW: &str = "order";

pub(super) fn claim(lease: Option<LeaseId>, limit: u16, ttl: Duration) -> Claim {
    let (queue, worker) = (QUEUE.to_owned(), WORKER.to_owned());
    Claim { queue, lease, worker, build: Build::default(), ttl, limit }
}

/// The owner of one lease, with the next numbers of everything that it writes.
pub(super) struct Writer {
    pub(super) session: Box<dyn Session>,
    build: Build,
    pub(super) lease: LeaseId,
    /// What it claimed first.
    pub(super) shards: Vec<ShardId>,
    pub(super) deaths: Vec<u32>,
    pub(super) formers: Vec<Option<String>>,
    pub(super) suspects: Vec<Suspect>,
    pub(super) number: AppendNo,
    pub(super) positions: BTreeMap<ShardId, Position>,
    pub(super) claims: BTreeMap<ShardId, ClaimId>,
    seqs: BTreeMap<RunId, EventSeq>,
}

impl Writer {
    /// Claims a new lease.
    pub(super) async fn claim(session: Box<dyn Session>, limit: u16, ttl: Duration) -> Self {
        Self::claim_in(QUEUE, session, Build::default(), limit, ttl).await
    }

    /// Claims a new lease of a build, in a queue.
    pub(super) async fn claim_in(
        queue: &str,
        mut session: Box<dyn Session>,
        build: Build,
        limit: u16,
        ttl: Duration,
    ) -> Self {
        let claim = Claim { queue: queue.to_owned(), build: build.clone(), ..claim(None, limit, ttl) };
        let claimed = session.claim(&claim).await.expect("a new lease is granted");
        let positions = claimed.shards.iter().map(|shard| (shard.shard, shard.next_position)).collect();
        Self {
            session,
            build,
            lease: claimed.lease,
            shards: claimed.shards.iter().map(|shard| shard.shard).collect(),
            deaths: claimed.shards.iter().map(|shard| shard.deaths).collect(),
            formers: claimed.shards.iter().map(|shard| shard.former.clone()).collect(),
            suspects: claimed.suspects,
            number: AppendNo::FIRST,
            positions,
            claims: claimed.shards.iter().map(|shard| (shard.shard, shard.claim)).collect(),
            seqs: BTreeMap::new(),
        }
    }

    /// Continues a run of another writer.
    pub(super) fn continues(&mut self, other: &Self, run: RunId) {
        self.seqs.extend(other.seqs.get(&run).map(|seq| (run, *seq)));
    }

    /// A batch that continues where this writer is.
    pub(super) fn draft(&self) -> Draft {
        let append = Append::new(self.lease, self.number);
        let (positions, claims, seqs) = (self.positions.clone(), self.claims.clone(), self.seqs.clone());
        Draft { append, positions, claims, seqs }
    }

    /// Appends, and counts on if that succeeds.
    pub(super) async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        let appended = self.session.append(append).await?;
        self.number = append.number.next();
        for frame in &append.frames {
            self.positions.insert(frame.run.shard(), frame.position.next());
            self.seqs.insert(frame.run, frame.next_seq());
        }
        Ok(appended)
    }

    /// Appends what must succeed.
    pub(super) async fn write(&mut self, draft: Draft) -> Append {
        let append = draft.seal();
        self.append(&append).await.expect("the batch is valid");
        append
    }

    /// Appends what must be fenced.
    pub(super) async fn expect_fenced(&mut self, draft: Draft) {
        assert_fenced(self.append(&draft.seal()).await);
    }

    /// Appends what must be a conflict.
    pub(super) async fn expect_conflict(&mut self, draft: Draft) {
        let answer = self.append(&draft.seal()).await;
        assert!(matches!(answer, Err(StoreError::Conflict { .. })), "expected Conflict, got {answer:?}");
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
        let read =
            InboxRead { shards: self.shards.clone(), cursor: cursor.clone(), limit, bytes, starts: true };
        self.session.read_inbox(&read).await.expect("the store answers")
    }

    /// Reads all but starts.
    pub(super) async fn read_without_starts(&mut self, cursor: &InboxCursor, limit: u32) -> InboxPage {
        let (shards, cursor, bytes) = (self.shards.clone(), cursor.clone(), MANY_BYTES);
        let read = InboxRead { shards, cursor, limit, bytes, starts: false };
        self.session.read_inbox(&read).await.expect("the store answers")
    }

    /// All messages that wait for this writer.
    pub(super) async fn inbox(&mut self) -> Vec<InboxMessage> {
        let page = self.read(&InboxCursor::default(), 1000).await;
        assert!(!page.more, "no case has 1,000 messages");
        page.messages
    }

    pub(super) async fn heartbeat(&mut self, renew: Option<Duration>) -> HeartbeatAnswer {
        let heartbeat = self.lease_heartbeat();
        self.heartbeat_with(LeaseHeartbeat { renew, ..heartbeat }).await
    }

    /// What the lease may own.
    pub(super) async fn standing(&mut self) -> Standing {
        self.heartbeat(None).await.leases[0].standing
    }

    /// Whether the store says that the lease is held.
    pub(super) async fn holds_lease(&mut self) -> bool {
        self.heartbeat(None).await.leases[0].held
    }

    /// Renews the lease for long. Whether the store says that it is held.
    pub(super) async fn renews_lease(&mut self) -> bool {
        self.heartbeat(Some(LONG)).await.leases[0].held
    }

    /// Claims up to that many shards, those that it owns included.
    pub(super) async fn claim_again(&mut self, limit: u16) -> Result<Claimed, StoreError> {
        let claim = Claim { build: self.build.clone(), ..claim(Some(self.lease), limit, LONG) };
        let claimed = self.session.claim(&claim).await?;
        self.claims = claimed.shards.iter().map(|shard| (shard.shard, shard.claim)).collect();
        Ok(claimed)
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
            live_runs: 0,
        }
    }

    pub(super) async fn heartbeat_with(&mut self, lease: LeaseHeartbeat) -> HeartbeatAnswer {
        let heartbeat = Heartbeat { queue: QUEUE.to_owned(), leases: vec![lease] };
        self.session.heartbeat(&heartbeat).await.expect("the store answers")
    }

    /// What a heartbeat says of this writer's lease.
    pub(super) async fn look(&mut self, lease: LeaseHeartbeat) -> LeaseAnswer {
        self.heartbeat_with(lease).await.leases.remove(0)
    }

    /// The busy and stalled runs of this writer's shards.
    pub(super) async fn unparked(&mut self) -> Vec<RunId> {
        let UnparkedRuns { runs, cut } = self.unparked_page(None, 1000).await;
        assert_eq!(cut, None, "no case has 1,000 runs");
        runs
    }

    /// A page of them, which begins after a run.
    pub(super) async fn unparked_page(&mut self, after: Option<RunId>, limit: u32) -> UnparkedRuns {
        let unparked = Unparked { shards: self.shards.clone(), after, limit };
        self.session.unparked(&unparked).await.expect("the store answers")
    }

    /// The histories of these runs, at most that many bytes of them.
    pub(super) async fn load(&mut self, runs: &[RunId], after: Option<EventSeq>, bytes: usize) -> Loaded {
        let mut runs = runs.to_vec();
        runs.sort_unstable();
        self.session.load(&Load { runs, after, bytes }).await.expect("the store answers")
    }

    /// Releases the lease. It may be called again, and for a lease that is over.
    pub(super) async fn release(&mut self) {
        self.release_for(None).await;
    }

    /// Releases the lease because of a run.
    pub(super) async fn release_for(&mut self, at_fault: Option<RunId>) {
        let release = Release { lease: self.lease, at_fault };
        self.session.release(&release).await.expect("the store answers");
    }
}

/// A batch that is being built.
pub(super) struct Draft {
    append: Append,
    positions: BTreeMap<ShardId, Position>,
    claims: BTreeMap<ShardId, ClaimId>,
    seqs: BTreeMap<RunId, EventSeq>,
}

impl Draft {
    /// Adds the run's next event, in a frame of its own.
    pub(super) fn event(self, run: RunId) -> Self {
        self.frame(run, 1)
    }

    /// Adds a frame of the run's next events. No store decodes its body.
    pub(super) fn frame(mut self, run: RunId, count: u32) -> Self {
        let seq = self.seqs.entry(run).or_insert(EventSeq::FIRST);
        // A shard of another owner gets some position as well: the store refuses the batch before it compares that.
        let position = self.positions.entry(run.shard()).or_insert(Position::FIRST);
        let frame = Frame {
            run,
            seq: *seq,
            count,
            position: Position::new(position.get() + u64::from(count) - 1),
            at: Timestamp::from_micros(1_767_225_600_123_456 + i64::from(seq.get())),
            body: Bytes::from(format!("{count} events from {seq} of {run}")),
        };
        *seq = frame.next_seq();
        *position = frame.position.next();
        self.append.frames.push(frame);
        self
    }

    pub(super) fn open(mut self, run: RunId, row: OpenRow) -> Self {
        self.append.opened.push(OpenedRun { run, workflow: WORKFLOW.into(), key: None, parent: None, row });
        self
    }

    pub(super) fn open_child(mut self, run: RunId, parent: RunId, row: OpenRow) -> Self {
        let opened = OpenedRun { run, workflow: WORKFLOW.into(), key: None, parent: Some(parent), row };
        self.append.opened.push(opened);
        self
    }

    /// Says that a run which it opens continues another, which it closes.
    pub(super) fn link(mut self, run: RunId, link: ChainLink) -> Self {
        self.append.links.push(RunLink { run, link });
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

    /// Says that this event of the run published a view.
    pub(super) fn publish(mut self, run: RunId, view: &str, seq: u32) -> Self {
        self.append.views.push(PublishedView { run, view: view.into(), seq: EventSeq::new(seq) });
        self
    }

    /// Replies to a message of the run.
    pub(super) fn reply(mut self, run: RunId, message: MessageId, body: &'static str) -> Self {
        self.append.replies.push(Reply { run, message, body: Bytes::from_static(body.as_bytes()) });
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

    /// Releases a shard after everything that the batch writes to it so far.
    pub(super) fn release(mut self, shard: ShardId) -> Self {
        let next_position = self.positions.get(&shard).copied().unwrap_or(Position::FIRST);
        self.append.released.push(Released { shard, next_position });
        self
    }

    /// Changes the batch by hand.
    pub(super) fn change(mut self, change: impl FnOnce(&mut Append)) -> Self {
        change(&mut self.append);
        self
    }

    /// Gives the batch another number.
    pub(super) fn numbered(self, number: AppendNo) -> Self {
        self.change(|append| append.number = number)
    }

    /// The complete batch.
    pub(super) fn seal(mut self) -> Append {
        self.append.seal(|shard| self.claims.get(&shard).copied());
        self.append
    }
}

pub(super) fn closed_run(run: RunId) -> ClosedRun {
    ClosedRun {
        run,
        workflow: WORKFLOW.into(),
        key: None,
        parent: None,
        status: ClosedStatus::Completed,
        closed_at: Timestamp::from_micros(1_767_225_600_000_000),
        outcome: Bytes::from_static(b"done"),
    }
}

pub(super) fn reference(message: &InboxMessage) -> MessageRef {
    MessageRef { shard: message.run.shard(), number: message.number, message: message.message }
}

/// A message that does not exist.
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
    OpenRow {
        state: OpenState::Parked,
        wake_at: wake_at.map(Timestamp::from_micros),
        waiting_on: None,
        waits: None,
    }
}

pub(super) fn paused(wake_at: Option<i64>) -> OpenRow {
    OpenRow { state: OpenState::Paused, ..parked(wake_at) }
}

pub(super) fn bodies(messages: &[InboxMessage]) -> Vec<Bytes> {
    messages.iter().map(|message| message.body.clone()).collect()
}

#[track_caller]
pub(super) fn assert_fenced<T: fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Fenced { .. })), "expected Fenced, got {answer:?}");
}

/// All items of a list that is read page by page, each page after the last item of the previous one.
pub(super) async fn all_pages<T: Copy>(
    limit: usize,
    mut read: impl AsyncFnMut(Option<T>) -> Vec<T>,
) -> Vec<T> {
    let mut all = Vec::new();
    loop {
        let page = read(all.last().copied()).await;
        assert!(page.len() <= limit);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}
