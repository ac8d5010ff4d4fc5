//! The tests' fixture: a store on a separate database, and short ways to write batches and to check answers.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{AppendNo, ClaimId, EventSeq, LeaseId, MessageId, Position, RunId, ShardId};
use pgworkflows_core::store::{
    Append, Appended, Build, Claim, Claimed, ClosedRun, ClosedStatus, Frame, Heartbeat, HeartbeatAnswer,
    InboxCursor, InboxPage, InboxRead, LeaseHeartbeat, Load, MessageRef, NewRun, Notice, OpenRow, OpenState,
    OpenedRun, PublishedView, Queue, Release, RunHistory, SentMessage, Session, Store, StoreError,
    Submission, Submitted, Topic, UpdatedRun, Watch, What,
};
use pgworkflows_pg_harness::{Database, Postgres as Server};
use pgworkflows_postgres::{Builder, PostgresStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Transaction};

/// Long enough that no slow test reaches it.
pub(crate) const TTL: Duration = Duration::from_secs(60);

/// A time to live that a test waits for.
pub(crate) const SHORT_TTL: Duration = Duration::from_millis(150);

/// How long a statement waits for a lock.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_millis(300);

/// A store with a queue of four shards, on a separate database.
pub(crate) struct World {
    pub(crate) store: PostgresStore,
    pub(crate) queue: Queue,
    pub(crate) database: Database,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn with(options: impl FnOnce(Builder) -> Builder) -> Self {
        Self::on(Server::shared().create_database().unwrap(), options).await
    }

    pub(crate) async fn on(database: Database, options: impl FnOnce(Builder) -> Builder) -> Self {
        // The tests write whatever the protocol allows, which is more than an engine writes.
        let builder = PostgresStore::builder(database.url()).lock_timeout(LOCK_TIMEOUT).verify_appends(false);
        let store = options(builder).connect().await.unwrap();
        let queue = store.queue("default", 4).await.unwrap();
        Self { store, queue, database }
    }

    /// A connection that bypasses the store.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(self.database.url()).await.unwrap()
    }

    /// Runs statements outside of the store.
    pub(crate) async fn execute(&self, sql: impl Into<String>) {
        execute(&mut self.connection().await, sql).await;
    }

    /// Alters the database; only new sessions notice.
    pub(crate) async fn alter_database(&self, change: &str) {
        self.execute(format!("alter database {} {change}", self.database.name())).await;
    }

    /// A client's transaction, outside of the store.
    pub(crate) async fn begin(&self) -> Transaction<'static, Postgres> {
        PgPool::connect(self.database.url()).await.unwrap().begin().await.unwrap()
    }

    /// A transaction that keeps all leases locked, as an append in flight keeps its own.
    pub(crate) async fn lock_leases(&self) -> Transaction<'static, Postgres> {
        let mut transaction = self.begin().await;
        execute(&mut transaction, "select from pgworkflows.leases for update").await;
        transaction
    }

    /// A new run of that shard of the queue, born now.
    pub(crate) fn run(&self, shard: u16) -> RunId {
        self.run_born(shard, self.queue.now)
    }

    pub(crate) fn run_born(&self, shard: u16, born: Timestamp) -> RunId {
        RunId::new(born, ShardId::new(shard).unwrap(), unique())
    }

    pub(crate) async fn session(&self) -> Box<dyn Session> {
        self.store.session().await.unwrap()
    }

    /// A lease on every free shard, and a session to write under it.
    pub(crate) async fn writer(&self) -> Writer {
        self.writer_for(TTL, 4).await
    }

    pub(crate) async fn writer_for(&self, ttl: Duration, limit: u16) -> Writer {
        let mut session = self.session().await;
        let claimed = session.claim(&claim(None, ttl, limit)).await.unwrap();
        Writer::new(session, &claimed)
    }

    /// Those of `runs` that are over.
    pub(crate) async fn closed(&self, runs: &[RunId]) -> Vec<ClosedRun> {
        let mut topics: Vec<_> = runs.iter().map(|run| Topic { run: *run, what: What::Closed }).collect();
        topics.sort();
        let watched = self.store.watch(&Watch { topics, bytes: usize::MAX }).await.unwrap();
        watched.notices.into_iter().filter_map(Notice::closed).collect()
    }

    pub(crate) async fn submit(&self, submission: Submission) -> Submitted {
        self.store.submit(&[submission]).await.unwrap()[0]
    }

    /// How many rows a table has.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        let sql = format!("select count(*) from pgworkflows.{table}");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.connection().await).await.unwrap()
    }
}

/// Runs statements on a connection.
pub(crate) async fn execute(connection: &mut PgConnection, sql: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(connection).await.unwrap();
}

/// Waits until another session waits for a lock that this one holds. Other tests hold locks on the same server.
pub(crate) async fn until_another_session_waits_for(connection: &mut PgConnection) {
    let waits = "select exists (
        select from pg_locks l where not l.granted and pg_backend_pid() = any (pg_blocking_pids(l.pid)))";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut *connection).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The URL of a database for another role than the superuser.
pub(crate) fn url_as(role: &str, database: &Database) -> String {
    database.url().replacen("postgres@", &format!("{role}@"), 1)
}

/// A number that no other test uses.
pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn claim(lease: Option<LeaseId>, ttl: Duration, limit: u16) -> Claim {
    let (queue, worker) = ("default".to_owned(), "test".to_owned());
    Claim { queue, lease, worker, build: Build::default(), ttl, limit }
}

pub(crate) fn release(lease: LeaseId) -> Release {
    Release { lease, at_fault: None }
}

/// The heartbeat's request for a writer's lease.
pub(crate) fn lease_heartbeat(writer: &Writer, renew: Option<Duration>) -> LeaseHeartbeat {
    LeaseHeartbeat {
        lease: writer.lease,
        renew,
        committed: AppendNo::new(writer.number.get() - 1),
        cursor: writer.cursor.clone(),
        deaths_max: u32::MAX,
        due_after: None,
        due_until: Timestamp::MAX_DEADLINE,
        live_runs: 0,
    }
}

/// Sends the heartbeat of a writer.
pub(crate) async fn heartbeat(writer: &mut Writer, renew: Option<Duration>) -> HeartbeatAnswer {
    let lease = lease_heartbeat(writer, renew);
    heartbeat_for(writer, vec![lease]).await
}

/// Sends a heartbeat for these leases.
pub(crate) async fn heartbeat_for(writer: &mut Writer, leases: Vec<LeaseHeartbeat>) -> HeartbeatAnswer {
    writer.session.heartbeat(&Heartbeat { queue: "default".to_owned(), leases }).await.unwrap()
}

/// A lease holder that numbers its appends correctly.
pub(crate) struct Writer {
    pub(crate) session: Box<dyn Session>,
    pub(crate) lease: LeaseId,
    pub(crate) number: AppendNo,
    pub(crate) positions: BTreeMap<ShardId, Position>,
    pub(crate) claims: BTreeMap<ShardId, ClaimId>,
    pub(crate) cursor: InboxCursor,
}

impl Writer {
    pub(crate) fn new(session: Box<dyn Session>, claimed: &Claimed) -> Self {
        let positions = claimed.shards.iter().map(|shard| (shard.shard, shard.next_position)).collect();
        let number = AppendNo::FIRST;
        let claims = claimed.shards.iter().map(|shard| (shard.shard, shard.claim)).collect();
        Self { session, lease: claimed.lease, number, positions, claims, cursor: InboxCursor::default() }
    }

    /// An empty batch with the next number.
    pub(crate) fn batch(&self) -> Batch {
        let positions = self.positions.clone();
        Batch { append: Append::new(self.lease, self.number), positions, claims: self.claims.clone() }
    }

    /// Appends, and moves to the next number if the batch was applied.
    pub(crate) async fn append(&mut self, batch: Batch) -> Result<Appended, StoreError> {
        let positions = batch.positions.clone();
        let appended = self.session.append(&batch.done()).await?;
        self.number = self.number.next();
        self.positions = positions;
        Ok(appended)
    }

    /// Appends one event of a run.
    pub(crate) async fn append_event(&mut self, run: RunId, seq: u32) -> Result<Appended, StoreError> {
        let batch = self.batch().event(run, seq);
        self.append(batch).await
    }

    /// Reads the next messages of all shards.
    pub(crate) async fn read(&mut self, limit: u32) -> Result<InboxPage, StoreError> {
        self.read_bytes(limit, usize::MAX).await
    }

    /// Reads the next messages, up to `bytes` bytes.
    pub(crate) async fn read_bytes(&mut self, limit: u32, bytes: usize) -> Result<InboxPage, StoreError> {
        let shards = self.positions.keys().copied().collect();
        let read = InboxRead { shards, cursor: self.cursor.clone(), limit, bytes, starts: true };
        let page = self.session.read_inbox(&read).await?;
        self.cursor = page.cursor.clone();
        Ok(page)
    }

    /// Whole histories of these runs.
    pub(crate) async fn load(&mut self, runs: &[RunId]) -> Vec<RunHistory> {
        let mut runs = runs.to_vec();
        runs.sort_unstable();
        let loaded = self.session.load(&Load { runs, after: None, bytes: usize::MAX }).await.unwrap();
        assert_eq!(loaded.cut, None);
        loaded.histories
    }

    /// Releases the lease.
    pub(crate) async fn release(&mut self) {
        self.session.release(&release(self.lease)).await.unwrap();
    }

    /// Reads the next messages, and returns their bodies.
    pub(crate) async fn read_texts(&mut self, limit: u32) -> Vec<String> {
        texts(&self.read(limit).await.unwrap())
    }
}

/// The bodies of a page's messages.
pub(crate) fn texts(page: &InboxPage) -> Vec<String> {
    page.messages.iter().map(|message| String::from_utf8(message.body.to_vec()).unwrap()).collect()
}

/// An append that is being built.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) append: Append,
    positions: BTreeMap<ShardId, Position>,
    claims: BTreeMap<ShardId, ClaimId>,
}

impl Batch {
    /// Adds an event at its shard's next position, in a frame of its own.
    pub(crate) fn event(self, run: RunId, seq: u32) -> Self {
        self.frame(run, seq, 1, format!("event {seq}").into())
    }

    /// Adds a frame at its shard's next positions.
    pub(crate) fn frame(mut self, run: RunId, seq: u32, count: u32, body: Bytes) -> Self {
        let next = self.positions.entry(run.shard()).or_insert(Position::FIRST);
        let position = Position::new(next.get() + u64::from(count) - 1);
        *next = position.next();
        let (seq, at) = (EventSeq::new(seq), Timestamp::from_micros(1_700_000_000_123_456));
        self.append.frames.push(Frame { run, seq, count, position, at, body });
        self
    }

    pub(crate) fn opened(mut self, run: RunId, state: OpenState, wake_at: Option<Timestamp>) -> Self {
        let row = OpenRow { state, wake_at, waiting_on: None, waits: None };
        self.append.opened.push(OpenedRun { run, workflow: "trial".into(), key: None, parent: None, row });
        self
    }

    pub(crate) fn updated(mut self, run: RunId, state: OpenState) -> Self {
        let row = OpenRow { state, wake_at: None, waiting_on: None, waits: None };
        self.append.updated.push(UpdatedRun { run, row });
        self
    }

    pub(crate) fn closed(mut self, run: RunId) -> Self {
        self.append.closed.push(closed_run(run));
        self
    }

    pub(crate) fn consumed(mut self, page: &InboxPage) -> Self {
        self.append.consumed.extend(references(page));
        self
    }

    pub(crate) fn undelivered(mut self, page: &InboxPage) -> Self {
        self.append.undelivered.extend(references(page));
        self
    }

    pub(crate) fn published(mut self, run: RunId, view: &str, seq: u32) -> Self {
        self.append.views.push(PublishedView { run, view: view.into(), seq: EventSeq::new(seq) });
        self
    }

    pub(crate) fn sent(mut self, message: SentMessage) -> Self {
        self.append.sent.push(message);
        self
    }

    /// The complete append.
    pub(crate) fn done(mut self) -> Append {
        self.append.seal(|shard| self.claims.get(&shard).copied());
        self.append
    }
}

fn references(page: &InboxPage) -> impl Iterator<Item = MessageRef> {
    page.messages.iter().map(|message| MessageRef {
        shard: message.run.shard(),
        number: message.number,
        message: message.message,
    })
}

pub(crate) fn closed_run(run: RunId) -> ClosedRun {
    ClosedRun {
        run,
        workflow: "trial".into(),
        key: None,
        parent: None,
        status: ClosedStatus::Completed,
        closed_at: Timestamp::from_micros(1_700_000_000_654_321),
        outcome: Bytes::from_static(b"done"),
    }
}

/// A start, under a key or not.
pub(crate) fn start(run: RunId, key: Option<&str>, input: &str) -> Submission {
    let mut digest = [0; 32];
    digest[..input.len()].copy_from_slice(input.as_bytes());
    Submission {
        message: MessageId::from_u128(run.as_u128()),
        run,
        body: Bytes::copy_from_slice(input.as_bytes()),
        opens: Some(NewRun {
            key: key.map(str::to_owned),
            input_digest: Some(digest),
            ..NewRun::of("trial")
        }),
    }
}

/// A message to a run.
pub(crate) fn signal(run: RunId, text: &str) -> Submission {
    Submission {
        message: MessageId::from_u128(u128::from(unique())),
        run,
        body: Bytes::copy_from_slice(text.as_bytes()),
        opens: None,
    }
}

/// A message that one run sends to another.
pub(crate) fn note(run: RunId, text: &str) -> SentMessage {
    let Submission { message, run, body, .. } = signal(run, text);
    SentMessage { message, run, key: None, otherwise: None, body, opens: None }
}

#[track_caller]
pub(crate) fn assert_fenced<T: Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Fenced { .. })), "expected Fenced, got {answer:?}");
}

#[track_caller]
pub(crate) fn assert_conflict<T: Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Conflict { .. })), "expected Conflict, got {answer:?}");
}

/// Asserts that a call failed with an error which proves that nothing was written.
#[track_caller]
pub(crate) fn assert_not_written<T: Debug>(answer: Result<T, StoreError>) {
    let is_definite = matches!(answer, Err(StoreError::Unavailable { definite: true, .. }));
    assert!(is_definite, "expected a definite Unavailable, got {answer:?}");
}

/// Asserts that a call failed with an error after which it may have been applied or not.
#[track_caller]
pub(crate) fn assert_outcome_unknown<T: Debug>(answer: Result<T, StoreError>) {
    let is_unknown = matches!(answer, Err(StoreError::Unavailable { definite: false, .. }));
    assert!(is_unknown, "expected an Unavailable that is not definite, got {answer:?}");
}

/// Asserts that a call was refused, with an error that has all of these words.
#[track_caller]
pub(crate) fn assert_misconfigured<T: Debug>(answer: Result<T, StoreError>, words: &[&str]) {
    let error = answer.unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured { .. }), "{error:?}");
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "not all of {words:?} are in: {text}");
}

/// Repeats a call until the server is reached again after a restart, and returns the answer.
pub(crate) async fn until_available<T>(
    mut call: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    loop {
        match call().await {
            Err(StoreError::Unavailable { .. }) => {}
            answer => return answer,
        }
    }
}
