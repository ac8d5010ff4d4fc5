//! The two stores, each with the ids of leases, numbers of messages, cursors and transactions that only it knows. It
//! must not compare anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pgworkflows::id::{ClaimId, InboxNo, LeaseId, MessageId, ShardId};
use pgworkflows::store::{
    Append, Build, Claim, Heartbeat, InboxCursor, InboxRead, LeaseHeartbeat, MessageRef, Queue, Release,
    RunDescription, Session, Store, StoreError, Submission, Submitted,
};
use pgworkflows::{PostgresStore, Timestamp};
use pgworkflows_memory::{ManualClock, MemoryStore, MemoryTransaction};
use pgworkflows_pg_harness::{Database, Postgres};
use sqlx::{Connection, PgConnection};

use crate::operation::{Answer, Operation, Reply};

/// How many shards the queue of a sequence has.
pub(crate) const SHARDS: u16 = 3;

/// How long leases are valid: longer than any sequence takes.
const TTL: Duration = Duration::from_secs(3600);

/// Both stores.
pub(crate) struct Stores {
    memory: Driver,
    postgres: Driver,
    queues: u32,
}

impl Stores {
    pub(crate) async fn new() -> Self {
        let database = Postgres::shared().create_database().unwrap();
        let store = PostgresStore::connect(database.url()).await.unwrap();
        let admin = PgConnection::connect(database.url()).await.unwrap();
        let backend = Backend::Postgres { store: store.clone(), admin, database };
        let postgres = Driver::new(Arc::new(store), backend).await;
        let clock = Arc::new(ManualClock::default());
        let store = MemoryStore::with_clock(Arc::clone(&clock) as _);
        let memory = Driver::new(Arc::new(store.clone()), Backend::Memory { store, clock }).await;
        Self { memory, postgres, queues: 0 }
    }

    /// Begins a sequence, with a queue of its own.
    pub(crate) async fn begin(&mut self) -> Queue {
        self.queues += 1;
        let name = format!("sequence {}", self.queues);
        let memory = self.memory.begin(&name).await;
        let postgres = self.postgres.begin(&name).await;
        assert_eq!(memory.first_shard, postgres.first_shard, "queues get their shards in the same order");
        // Run ids contain times, by which Postgres partitions them. So they must be those of its clock.
        postgres
    }

    pub(crate) async fn perform(&mut self, operation: &Operation) -> [Answer; 2] {
        [self.memory.perform(operation).await, self.postgres.perform(operation).await]
    }

    /// Ends a sequence, and releases its leases and transactions.
    pub(crate) async fn end(&mut self) {
        self.memory.end().await;
        self.postgres.end().await;
    }
}

/// The store itself, and what changes it from outside.
enum Backend {
    Memory { store: MemoryStore, clock: Arc<ManualClock> },
    Postgres { store: PostgresStore, admin: PgConnection, database: Database },
}

/// A transaction of a client.
enum Transaction {
    Memory(MemoryTransaction),
    Postgres(PgConnection),
}

struct Driver {
    store: Arc<dyn Store>,
    session: Box<dyn Session>,
    backend: Backend,
    queue: String,
    leases: Vec<LeaseId>,
    claims: BTreeMap<(LeaseId, ShardId), ClaimId>,
    cursors: BTreeMap<usize, InboxCursor>,
    numbers: BTreeMap<MessageId, InboxNo>,
    transactions: BTreeMap<usize, Transaction>,
}

impl Driver {
    async fn new(store: Arc<dyn Store>, backend: Backend) -> Self {
        Self {
            session: store.session().await.unwrap(),
            store,
            backend,
            queue: String::new(),
            leases: Vec::new(),
            claims: BTreeMap::new(),
            cursors: BTreeMap::new(),
            numbers: BTreeMap::new(),
            transactions: BTreeMap::new(),
        }
    }

    async fn begin(&mut self, queue: &str) -> Queue {
        self.queue = queue.to_owned();
        self.store.queue(queue, SHARDS).await.unwrap()
    }

    async fn end(&mut self) {
        self.transactions.clear();
        for lease in std::mem::take(&mut self.leases) {
            let release = Release { lease, at_fault: None };
            self.session.release(&release).await.unwrap();
        }
        self.cursors.clear();
        self.numbers.clear();
    }

    /// The lease of that number, or a lease that does not exist.
    fn lease(&self, number: usize) -> LeaseId {
        self.leases.get(number).copied().unwrap_or(LeaseId::new(u64::MAX >> 8))
    }

    async fn perform(&mut self, operation: &Operation) -> Answer {
        let query = self.store.query();
        Ok(match operation {
            Operation::Submit(submissions) => Reply::Submitted(self.store.submit(submissions).await?),
            Operation::SubmitWithin { transaction, submissions } => {
                Reply::Submitted(self.submit_within(*transaction, submissions).await?)
            }
            Operation::EndTransaction { transaction, commit } => {
                self.end_transaction(*transaction, *commit).await?
            }
            Operation::Claim { lease, build, limit } => self.claim(*lease, build, *limit).await?,
            Operation::Expire => self.expire().await,
            Operation::Heartbeat { lease, renew, committed, deaths_max, due_after, due_until } => {
                let heartbeat = LeaseHeartbeat {
                    lease: self.lease(*lease),
                    renew: renew.then_some(TTL),
                    committed: *committed,
                    deaths_max: *deaths_max,
                    cursor: self.cursors.get(lease).cloned().unwrap_or_default(),
                    due_after: *due_after,
                    due_until: *due_until,
                    live_runs: 0,
                };
                let heartbeat = Heartbeat { queue: self.queue.clone(), leases: vec![heartbeat] };
                let answer = self.session.heartbeat(&heartbeat).await?;
                let lease = &answer.leases[0];
                // Nothing else is defined for a lease that is not held.
                let held = lease.held.then_some((lease.shards, lease.standing, lease.mail, lease.due));
                let misplaced = if lease.held { answer.misplaced } else { Vec::new() };
                Reply::HeartbeatAnswer { held, misplaced }
            }
            Operation::Append { lease, append } => {
                let append = self.localize(*lease, append);
                self.session.append(&append).await?;
                Reply::Done
            }
            Operation::ReadInbox { lease, shards, bytes } => {
                let cursor = self.cursors.get(lease).cloned().unwrap_or_default();
                let read =
                    InboxRead { shards: shards.clone(), cursor, limit: 1_000, bytes: *bytes, starts: true };
                let page = self.session.read_inbox(&read).await?;
                self.cursors.insert(*lease, page.cursor);
                self.numbers.extend(page.messages.iter().map(|message| (message.message, message.number)));
                let messages = page.messages.into_iter();
                Reply::Messages(
                    messages.map(|message| (message.run, message.message, message.body)).collect(),
                )
            }
            Operation::Unparked(unparked) => Reply::Unparked(self.session.unparked(unparked).await?),
            Operation::Load(load) => Reply::Histories(self.session.load(load).await?),
            Operation::DueRuns(due) => Reply::Due(self.session.due_runs(due).await?.runs),
            Operation::Release { lease, at_fault } => {
                let release = Release { lease: self.lease(*lease), at_fault: *at_fault };
                self.session.release(&release).await?;
                Reply::Done
            }
            Operation::Watch(watch) => Reply::Watched(self.store.watch(watch).await?),
            Operation::Describe(run) => {
                Reply::Runs(query.describe(*run).await?.map(timeless).into_iter().collect())
            }
            Operation::QueuesOf(workflow) => Reply::Queues(query.queues_of(workflow).await?),
            Operation::Find { workflow, key } => Reply::FoundByKey(query.find(workflow, key).await?),
            Operation::List { filter, page } => {
                Reply::Runs(query.list(filter, page).await?.into_iter().map(timeless).collect())
            }
            Operation::Query(load) => Reply::Histories(query.load(load).await?),
        })
    }

    async fn claim(&mut self, lease: Option<usize>, build: &Build, limit: u16) -> Result<Reply, StoreError> {
        let claim = Claim {
            queue: self.queue.clone(),
            lease: lease.map(|lease| self.lease(lease)),
            worker: "differential".to_owned(),
            build: build.clone(),
            ttl: TTL,
            limit,
        };
        let mut claimed = self.session.claim(&claim).await?;
        for shard in &mut claimed.shards {
            // Each store has its own ids.
            let id = std::mem::replace(&mut shard.claim, ClaimId::new(0));
            self.claims.insert((claimed.lease, shard.shard), id);
        }
        if lease.is_none() {
            self.leases.push(claimed.lease);
        }
        Ok(Reply::Claimed(claimed.shards, claimed.suspects))
    }

    /// The append with the lease and message numbers of this store.
    fn localize(&self, lease: usize, append: &Append) -> Append {
        let mut append = Append { lease: self.lease(lease), ..append.clone() };
        let localized = |message: &MessageRef| {
            let number = self.numbers.get(&message.message).copied().unwrap_or(message.number);
            MessageRef { number, ..*message }
        };
        append.consumed = append.consumed.iter().map(localized).collect();
        append.undelivered = append.undelivered.iter().map(localized).collect();
        let id = append.lease;
        append.seal(|shard| self.claims.get(&(id, shard)).copied());
        append
    }

    async fn submit_within(
        &mut self,
        number: usize,
        submissions: &[Submission],
    ) -> Result<Vec<Submitted>, StoreError> {
        if !self.transactions.contains_key(&number) {
            let transaction = match &self.backend {
                Backend::Memory { store, .. } => Transaction::Memory(store.begin()),
                Backend::Postgres { database, .. } => {
                    let mut connection = PgConnection::connect(database.url()).await.unwrap();
                    sqlx::query("begin").execute(&mut connection).await.unwrap();
                    Transaction::Postgres(connection)
                }
            };
            self.transactions.insert(number, transaction);
        }
        match (self.transactions.get_mut(&number), &self.backend) {
            (Some(Transaction::Memory(transaction)), _) => transaction.submit(submissions).await,
            (Some(Transaction::Postgres(connection)), Backend::Postgres { store, .. }) => {
                store.submit_in(connection, submissions).await
            }
            (Some(Transaction::Postgres(_)) | None, _) => {
                unreachable!("each store has transactions of its kind")
            }
        }
    }

    async fn end_transaction(&mut self, number: usize, commit: bool) -> Result<Reply, StoreError> {
        match self.transactions.remove(&number) {
            Some(Transaction::Memory(transaction)) if commit => transaction.commit()?,
            Some(Transaction::Memory(transaction)) => transaction.rollback(),
            Some(Transaction::Postgres(mut connection)) => {
                let end = if commit { "commit" } else { "rollback" };
                sqlx::query(end).execute(&mut connection).await.unwrap();
            }
            None => {}
        }
        Ok(Reply::Done)
    }

    async fn expire(&mut self) -> Reply {
        match &mut self.backend {
            Backend::Memory { clock, .. } => clock.advance(TTL + Duration::from_secs(1)),
            Backend::Postgres { admin, .. } => {
                let expire = "update pgworkflows.leases set expires_at = clock_timestamp() where not fenced";
                sqlx::query(expire).execute(admin).await.unwrap();
            }
        }
        Reply::Done
    }
}

/// A description without the times that the store assigns, and with undelivered messages in a fixed order.
fn timeless(mut run: RunDescription) -> RunDescription {
    run.undelivered.sort_unstable_by(|one, other| one.body.cmp(&other.body));
    for message in &mut run.undelivered {
        message.at = Timestamp::MIN;
    }
    run
}
