//! Two stores, the memory store and another one, each with the ids of leases, numbers of messages, cursors and transactions that only it knows. It
//! must not compare anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pgworkflows::id::{ClaimId, ExecutorId, InboxNo, LeaseId, MessageId, Name, ShardId};
use pgworkflows::store::{
    ActivityQueueInfo, Append, Build, Claim, ClaimTasks, Heartbeat, InboxCursor, InboxRead, LeaseHeartbeat,
    MessageRef, Queue, Release, ReturnTasks, RunDescription, Session, SettleTasks, Store, StoreError,
    Submission, Submitted, TaskId, Withdrawal, executor_of, queue_of,
};
use pgworkflows::{PostgresStore, SqliteStore, Timestamp};
use pgworkflows_memory::{ManualClock, MemoryStore, MemoryTransaction};
use pgworkflows_pg_harness::{Database, Postgres};
use pgworkflows_tests::Directory;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use crate::operation::{Answer, Operation, Reply};
use crate::tasks;

/// How many shards the queue of a sequence has.
pub(crate) const SHARDS: u16 = 3;

/// How long leases are valid: longer than any sequence takes.
const TTL: Duration = Duration::from_secs(3600);

/// Both stores.
pub(crate) struct Stores {
    memory: Driver,
    other: Driver,
    /// The other one's name, for people.
    pub(crate) name: &'static str,
    queues: u32,
}

impl Stores {
    /// The memory store and a Postgres store.
    pub(crate) async fn with_postgres() -> Self {
        let database = Postgres::shared().create_database().unwrap();
        let store = PostgresStore::connect(database.url()).await.unwrap();
        let admin = PgConnection::connect(database.url()).await.unwrap();
        let backend = Backend::Postgres { store: store.clone(), admin, database };
        Self::with(Driver::new(Arc::new(store), backend).await, "Postgres").await
    }

    /// The memory store and a SQLite store.
    pub(crate) async fn with_sqlite() -> Self {
        let directory = Directory::new();
        let path = directory.file("runs.db");
        let store = SqliteStore::open(&path).await.unwrap();
        let admin = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
        let backend = Backend::Sqlite { admin, _directory: directory };
        let mut stores = Self::with(Driver::new(Arc::new(store), backend).await, "SQLite").await;
        (stores.memory.reads_all, stores.other.reads_all) = (true, true);
        stores
    }

    async fn with(other: Driver, name: &'static str) -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = MemoryStore::with_clock(Arc::clone(&clock) as _);
        let memory = Driver::new(Arc::new(store.clone()), Backend::Memory { store, clock }).await;
        Self { memory, other, name, queues: 0 }
    }

    /// Whether the other store can do this: SQLite has no transactions of clients.
    pub(crate) fn can(&self, operation: &Operation) -> bool {
        let is_transaction =
            matches!(operation, Operation::SubmitWithin { .. } | Operation::EndTransaction { .. });
        !is_transaction || !matches!(self.other.backend, Backend::Sqlite { .. })
    }

    /// Begins a sequence, with a queue of its own.
    pub(crate) async fn begin(&mut self) -> Queue {
        self.queues += 1;
        let name = format!("sequence {}", self.queues);
        let memory = self.memory.begin(&name).await;
        let other = self.other.begin(&name).await;
        assert_eq!(memory.first_shard, other.first_shard, "queues get their shards in the same order");
        // Run ids contain times, by which Postgres partitions them. So they must be those of its clock.
        other
    }

    pub(crate) async fn perform(&mut self, operation: &Operation) -> [Answer; 2] {
        [self.memory.perform(operation).await, self.other.perform(operation).await]
    }

    /// Ends a sequence, and releases its leases and transactions.
    pub(crate) async fn end(&mut self) {
        self.memory.end().await;
        self.other.end().await;
    }
}

/// The store itself, and what changes it from outside.
enum Backend {
    Memory { store: MemoryStore, clock: Arc<ManualClock> },
    Postgres { store: PostgresStore, admin: PgConnection, database: Database },
    Sqlite { admin: SqliteConnection, _directory: Directory },
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
    /// Each with the number of its renewals.
    executors: Vec<(ExecutorId, u64)>,
    /// The tasks that were inserted.
    tasks: Vec<TaskId>,
    /// Whether the inbox is read page by page until there is no more. Where commits are in the order of numbers, a store may
    /// go on with what came after its first page, and another finishes first what was there before.
    reads_all: bool,
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
            executors: Vec::new(),
            tasks: Vec::new(),
            reads_all: false,
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
        for (executor, _) in std::mem::take(&mut self.executors) {
            self.session
                .return_tasks(&ReturnTasks { executor, tasks: Vec::new(), ends: true })
                .await
                .unwrap();
        }
        let tasks = std::mem::take(&mut self.tasks).into_iter();
        let tasks: Vec<_> = tasks.map(|task| Withdrawal { task, tells: None }).collect();
        self.session.withdraw_tasks(&tasks).await.unwrap();
        self.cursors.clear();
        self.numbers.clear();
    }

    /// The lease of that number, or a lease that does not exist.
    fn lease(&self, number: usize) -> LeaseId {
        self.leases.get(number).copied().unwrap_or(LeaseId::new(u64::MAX >> 8))
    }

    async fn perform(&mut self, operation: &Operation) -> Answer {
        if let Backend::Memory { clock, .. } = &self.backend {
            // No two operations happen at the same time.
            clock.advance(Duration::from_millis(1));
        }
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
                self.tasks.extend(append.tasks.iter().map(|task| task.id));
                Reply::Done
            }
            Operation::ReadInbox { lease, shards, bytes, in_order } => {
                self.read_inbox(*lease, shards, *bytes, *in_order).await?
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
            Operation::View { run, view } => Reply::View(query.view(*run, view).await?),
            Operation::QueuesOf(workflow) => Reply::Queues(query.queues_of(workflow).await?),
            Operation::Find { workflow, key } => Reply::FoundByKey(query.find(workflow, key).await?),
            Operation::KeyedRuns(page) => Reply::Keyed(query.keyed_runs(page).await?),
            Operation::List { filter, page } => {
                Reply::Runs(query.list(filter, page).await?.into_iter().map(timeless).collect())
            }
            Operation::Query(load) => Reply::Histories(query.load(load).await?),
            Operation::ClaimTasks { .. }
            | Operation::SettleTasks { .. }
            | Operation::ReturnTasks { .. }
            | Operation::WithdrawTasks(_)
            | Operation::ActivityQueues => self.perform_with_tasks(operation).await?,
        })
    }

    async fn read_inbox(
        &mut self,
        lease: usize,
        shards: &[ShardId],
        bytes: usize,
        in_order: bool,
    ) -> Result<Reply, StoreError> {
        let mut messages = Vec::new();
        loop {
            let cursor = self.cursors.get(&lease).cloned().unwrap_or_default();
            let read = InboxRead { shards: shards.to_vec(), cursor, limit: 1_000, bytes, starts: true };
            let page = self.session.read_inbox(&read).await?;
            self.cursors.insert(lease, page.cursor);
            self.numbers.extend(page.messages.iter().map(|message| (message.message, message.number)));
            let found = page.messages.into_iter();
            messages.extend(found.map(|message| (message.run, message.message, message.body)));
            if !(self.reads_all && page.more) {
                break;
            }
        }
        if !in_order {
            messages.sort();
        }
        Ok(Reply::Messages(messages))
    }

    async fn perform_with_tasks(&mut self, operation: &Operation) -> Result<Reply, StoreError> {
        match operation {
            Operation::ClaimTasks { executor, renew, ahead, queues, activities, bytes } => {
                let known = executor.map(|executor| self.executor(executor));
                let renewals = executor.and_then(|executor| self.executors.get(executor));
                let claim = ClaimTasks {
                    executor: known,
                    renewals: renewals.map_or(0, |(_, renewals)| *renewals) + u64::from(*ahead),
                    worker: "differential".to_owned(),
                    renew: renew.then_some(TTL),
                    queues: queues.iter().map(|(queue, count)| (self.local_queue(queue), *count)).collect(),
                    activities: activities.clone(),
                    bytes: *bytes,
                };
                let claimed = self.session.claim_tasks(&claim).await?;
                if executor.is_none() {
                    self.executors.push((claimed.executor, 0));
                }
                let executor = self.executors.iter_mut().find(|(executor, _)| *executor == claimed.executor);
                if let Some((_, renewals)) = executor.filter(|_| *renew) {
                    *renewals += 1;
                }
                let tasks = claimed.tasks.into_iter();
                let tasks = tasks.map(|task| (task.claim, self.shown_queue(&task.queue), task.body));
                Ok(Reply::Tasks { tasks: tasks.collect(), held: claimed.held, more: claimed.more })
            }
            Operation::SettleTasks { executor, outcomes } => {
                let (executor, outcomes) = (self.executor(*executor), outcomes.clone());
                Ok(Reply::Settled(self.session.settle_tasks(&SettleTasks { executor, outcomes }).await?))
            }
            Operation::ReturnTasks { executor, tasks, ends } => {
                let (executor, tasks) = (self.executor(*executor), tasks.clone());
                self.session.return_tasks(&ReturnTasks { executor, tasks, ends: *ends }).await?;
                Ok(Reply::Done)
            }
            Operation::WithdrawTasks(tasks) => Ok(Reply::Locked(self.session.withdraw_tasks(tasks).await?)),
            Operation::ActivityQueues => {
                let infos = self.store.query().activity_queues().await?.into_iter();
                let mut infos: Vec<_> = infos.filter_map(|info| self.shown(info)).collect();
                infos.sort_by(|one, other| (&one.queue, &one.activity).cmp(&(&other.queue, &other.activity)));
                Ok(Reply::ActivityQueues(infos))
            }
            _ => unreachable!("it is an operation of tasks"),
        }
    }

    /// The executor of that number, or one that does not exist.
    fn executor(&self, number: usize) -> ExecutorId {
        self.executors.get(number).map_or(ExecutorId::new(u64::MAX >> 8), |(executor, _)| *executor)
    }

    /// The queue with the executor of this store, if it is that of one.
    fn local_queue(&self, queue: &Name) -> Name {
        let executor = executor_of(queue).map(|executor| self.executor(executor.get() as usize));
        executor.map_or_else(|| queue.clone(), queue_of)
    }

    /// The queue as it is named in the sequence.
    fn shown_queue(&self, queue: &str) -> Name {
        let number = executor_of(queue)
            .and_then(|executor| self.executors.iter().position(|(known, _)| *known == executor));
        number.map_or_else(|| queue.to_owned().into(), |number| queue_of(ExecutorId::new(number as u64)))
    }

    /// What this sequence is to know of an activity queue.
    fn shown(&self, info: ActivityQueueInfo) -> Option<ActivityQueueInfo> {
        let is_own = executor_of(&info.queue).map_or_else(
            || info.queue.starts_with(&format!("{} tasks", self.queue)),
            |executor| self.executors.iter().any(|(known, _)| *known == executor),
        );
        is_own.then(|| ActivityQueueInfo {
            queue: self.shown_queue(&info.queue).to_string(),
            waiting_since: tasks::timeless(info.waiting_since),
            ..info
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
        for task in &mut append.tasks {
            task.queue = self.local_queue(&task.queue);
            task.executor = task.executor.map(|executor| self.executor(executor.get() as usize));
        }
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
                Backend::Sqlite { .. } => unreachable!("such operations are left out"),
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
            Backend::Sqlite { admin, .. } => {
                let now = "cast(unixepoch('subsec') * 1000000 as integer)";
                for table in ["leases", "executors"] {
                    let expire = format!("update {table} set expires_at = {now} where not fenced");
                    sqlx::query(AssertSqlSafe(expire)).execute(&mut *admin).await.unwrap();
                }
            }
            Backend::Postgres { admin, .. } => {
                for table in ["leases", "executors"] {
                    let expire = format!(
                        "update pgworkflows.{table} set expires_at = clock_timestamp() where not fenced"
                    );
                    sqlx::query(AssertSqlSafe(expire)).execute(&mut *admin).await.unwrap();
                }
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
