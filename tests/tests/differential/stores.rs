//! The two stores, each with what it alone knows: the ids of leases, the numbers of messages, cursors, transactions. It
//! must not compare anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pgworkflows::id::{InboxNo, LeaseId, MessageId};
use pgworkflows::store::{
    Append, Claim, Heartbeat, InboxCursor, InboxRead, LeaseHeartbeat, MessageRef, Queue, Release,
    RunDescription, Session, Store, StoreError, Submission, Submitted,
};
use pgworkflows::{PostgresStore, Timestamp};
use pgworkflows_memory::{ManualClock, MemoryStore, MemoryTransaction};
use pgworkflows_pg_harness::{Database, Postgres};
use sqlx::{Connection, PgConnection};

use crate::operation::{Answer, Operation, Seen};

/// How many shards a sequence has for itself.
pub(crate) const SHARDS: u16 = 3;

/// How long leases are valid: no sequence takes so long.
const TTL: Duration = Duration::from_secs(3600);

/// Both stores, and what the sequence that is played has of each.
pub(crate) struct Sides {
    memory: Side,
    postgres: Side,
    queues: u32,
}

impl Sides {
    pub(crate) async fn new() -> Self {
        let database = Postgres::shared().create_database().expect("a server for tests");
        let store = PostgresStore::connect(database.url()).await.expect("a fresh database");
        let admin = PgConnection::connect(database.url()).await.expect("a server for tests");
        let behind = Behind::Postgres { store: store.clone(), admin, database };
        let postgres = Side::new(Arc::new(store), behind).await;
        let clock = Arc::new(ManualClock::default());
        let store = MemoryStore::with_clock(Arc::clone(&clock) as _);
        let memory = Side::new(Arc::new(store.clone()), Behind::Memory { store, clock }).await;
        Self { memory, postgres, queues: 0 }
    }

    /// Begins a sequence, with a queue of its own.
    pub(crate) async fn begin(&mut self) -> Queue {
        self.queues += 1;
        let name = format!("sequence {}", self.queues);
        let memory = self.memory.begin(&name).await;
        let postgres = self.postgres.begin(&name).await;
        assert_eq!(memory.first_shard, postgres.first_shard, "queues get their shards in one row");
        // Runs are born by the clock of the store that keeps them by their birth.
        postgres
    }

    pub(crate) async fn perform(&mut self, operation: &Operation) -> [Answer; 2] {
        [self.memory.perform(operation).await, self.postgres.perform(operation).await]
    }

    /// Ends a sequence: nothing of it is left in the way of the next.
    pub(crate) async fn end(&mut self) {
        self.memory.end().await;
        self.postgres.end().await;
    }
}

/// What lies behind a store.
enum Behind {
    Memory { store: MemoryStore, clock: Arc<ManualClock> },
    Postgres { store: PostgresStore, admin: PgConnection, database: Database },
}

/// A client's transaction.
enum Transaction {
    Memory(MemoryTransaction),
    Postgres(PgConnection),
}

struct Side {
    store: Arc<dyn Store>,
    session: Box<dyn Session>,
    behind: Behind,
    queue: String,
    leases: Vec<LeaseId>,
    cursors: BTreeMap<usize, InboxCursor>,
    numbers: BTreeMap<MessageId, InboxNo>,
    transactions: BTreeMap<usize, Transaction>,
}

impl Side {
    async fn new(store: Arc<dyn Store>, behind: Behind) -> Self {
        Self {
            session: store.session().await.expect("a session can be opened"),
            store,
            behind,
            queue: String::new(),
            leases: Vec::new(),
            cursors: BTreeMap::new(),
            numbers: BTreeMap::new(),
            transactions: BTreeMap::new(),
        }
    }

    async fn begin(&mut self, queue: &str) -> Queue {
        self.queue = queue.to_owned();
        self.store.queue(queue, SHARDS).await.expect("a queue can be made")
    }

    async fn end(&mut self) {
        self.transactions.clear();
        for lease in std::mem::take(&mut self.leases) {
            let release = Release { lease, at_fault: None };
            self.session.release(&release).await.expect("a lease can be released");
        }
        self.cursors.clear();
        self.numbers.clear();
    }

    /// The lease of that number; one that nobody has if there is none.
    fn lease(&self, number: usize) -> LeaseId {
        self.leases.get(number).copied().unwrap_or(LeaseId::new(u64::MAX >> 8))
    }

    async fn perform(&mut self, operation: &Operation) -> Answer {
        let query = self.store.query();
        Ok(match operation {
            Operation::Submit(submissions) => Seen::Submitted(self.store.submit(submissions).await?),
            Operation::SubmitWithin { transaction, submissions } => {
                Seen::Submitted(self.submit_within(*transaction, submissions).await?)
            }
            Operation::EndTransaction { transaction, commit } => {
                self.end_transaction(*transaction, *commit).await?
            }
            Operation::Claim { lease, limit } => self.claim(*lease, *limit).await?,
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
                };
                let heartbeat = Heartbeat { queue: self.queue.clone(), leases: vec![heartbeat] };
                let answer = self.session.heartbeat(&heartbeat).await?;
                let lease = &answer.leases[0];
                // Of a lease that is gone nobody wants to know more.
                let held = lease.held.then_some((lease.shards, lease.mail, lease.due));
                Seen::HeartbeatAnswer { held, claimable: answer.claimable }
            }
            Operation::Append { lease, append } => {
                let append = self.own(*lease, append);
                self.session.append(&append).await?;
                Seen::Done
            }
            Operation::ReadInbox { lease, shards, bytes } => {
                let cursor = self.cursors.get(lease).cloned().unwrap_or_default();
                let read = InboxRead { shards: shards.clone(), cursor, limit: 1_000, bytes: *bytes };
                let page = self.session.read_inbox(&read).await?;
                self.cursors.insert(*lease, page.cursor);
                self.numbers.extend(page.messages.iter().map(|message| (message.message, message.number)));
                let messages = page.messages.into_iter();
                Seen::Messages(messages.map(|message| (message.run, message.message, message.body)).collect())
            }
            Operation::Unparked(unparked) => Seen::Found(self.session.unparked(unparked).await?),
            Operation::Load(load) => Seen::Histories(self.session.load(load).await?),
            Operation::DueRuns(due) => Seen::Due(self.session.due_runs(due).await?.runs),
            Operation::Release { lease, at_fault } => {
                let release = Release { lease: self.lease(*lease), at_fault: *at_fault };
                self.session.release(&release).await?;
                Seen::Done
            }
            Operation::Watch(watch) => Seen::Watched(self.store.watch(watch).await?),
            Operation::Describe(run) => {
                Seen::Runs(query.describe(*run).await?.map(timeless).into_iter().collect())
            }
            Operation::Find { workflow, key } => Seen::FoundByKey(query.find(workflow, key).await?),
            Operation::List { filter, page } => {
                Seen::Runs(query.list(filter, page).await?.into_iter().map(timeless).collect())
            }
            Operation::History { run, after, limit } => {
                Seen::Events(query.history(*run, *after, *limit).await?)
            }
        })
    }

    async fn claim(&mut self, lease: Option<usize>, limit: u16) -> Result<Seen, StoreError> {
        let claim = Claim {
            queue: self.queue.clone(),
            lease: lease.map(|lease| self.lease(lease)),
            worker: "differential".to_owned(),
            ttl: TTL,
            limit,
        };
        let claimed = self.session.claim(&claim).await?;
        if lease.is_none() {
            self.leases.push(claimed.lease);
        }
        Ok(Seen::Claimed(claimed.shards, claimed.suspects))
    }

    /// The append as this side knows lease and messages.
    fn own(&self, lease: usize, append: &Append) -> Append {
        let mut append = Append { lease: self.lease(lease), ..append.clone() };
        let own = |message: &MessageRef| {
            let number = self.numbers.get(&message.message).copied().unwrap_or(message.number);
            MessageRef { number, ..*message }
        };
        append.consumed = append.consumed.iter().map(own).collect();
        append.undelivered = append.undelivered.iter().map(own).collect();
        append.digest = append.content_digest();
        append
    }

    async fn submit_within(
        &mut self,
        number: usize,
        submissions: &[Submission],
    ) -> Result<Vec<Submitted>, StoreError> {
        if !self.transactions.contains_key(&number) {
            let transaction = match &self.behind {
                Behind::Memory { store, .. } => Transaction::Memory(store.begin()),
                Behind::Postgres { database, .. } => {
                    let mut connection =
                        PgConnection::connect(database.url()).await.expect("a server for tests");
                    sqlx::query("begin").execute(&mut connection).await.expect("a transaction begins");
                    Transaction::Postgres(connection)
                }
            };
            self.transactions.insert(number, transaction);
        }
        match (self.transactions.get_mut(&number), &self.behind) {
            (Some(Transaction::Memory(transaction)), _) => transaction.submit(submissions).await,
            (Some(Transaction::Postgres(connection)), Behind::Postgres { store, .. }) => {
                store.submit_in(connection, submissions).await
            }
            (Some(Transaction::Postgres(_)) | None, _) => {
                unreachable!("each side has transactions of its own kind")
            }
        }
    }

    async fn end_transaction(&mut self, number: usize, commit: bool) -> Result<Seen, StoreError> {
        match self.transactions.remove(&number) {
            Some(Transaction::Memory(transaction)) if commit => transaction.commit()?,
            Some(Transaction::Memory(transaction)) => transaction.rollback(),
            Some(Transaction::Postgres(mut connection)) => {
                let end = if commit { "commit" } else { "rollback" };
                sqlx::query(end).execute(&mut connection).await.expect("a transaction ends");
            }
            None => {}
        }
        Ok(Seen::Done)
    }

    async fn expire(&mut self) -> Seen {
        match &mut self.behind {
            Behind::Memory { clock, .. } => clock.advance(TTL + Duration::from_secs(1)),
            Behind::Postgres { admin, .. } => {
                let expire = "update pgworkflows.leases set expires_at = clock_timestamp() where not fenced";
                sqlx::query(expire).execute(admin).await.expect("a lease's time can be set");
            }
        }
        Seen::Done
    }
}

/// A description without the store's own times, and what came too late at the same time in an order of its own.
fn timeless(mut run: RunDescription) -> RunDescription {
    run.undelivered.sort_unstable_by(|one, other| one.body.cmp(&other.body));
    for message in &mut run.undelivered {
        message.at = Timestamp::MIN;
    }
    run
}
