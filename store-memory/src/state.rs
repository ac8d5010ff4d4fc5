//! The store as a synchronous state machine: every operation of the seam is a method that takes the time and returns at
//! once. It must not know tasks, faults or clocks.
//!
//! Each operation finishes its checks before it writes anything, so a refused operation has changed nothing.

mod append;
mod inbox;
mod lease;
mod merge;
mod query;
mod recover;
mod submit;
mod tasks;
pub(crate) mod transaction;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{
    AppendNo, ClaimId, EventSeq, IdMap, LeaseId, MessageId, Name, Position, RunId, ShardId,
};
use pgworkflows_core::store::{
    Attributes, Build, ChainLink, ClosedRun, ClosedStatus, DueMark, Frame, Hint, InboxPage, InboxRead,
    OpenRow, OpenState, Queue, StoreError, Suspect, Undelivered,
};

use self::inbox::Inbox;
use self::tasks::Tasks;
use self::transaction::{RunKey, Transaction, TransactionNo};
use crate::fact::{Fact, Facts};

/// The whole content of the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    queues: BTreeMap<String, Shards>,
    /// Indexed by shard number. Queues get consecutive ranges, from 0 on.
    shards: Vec<Shard>,
    /// The valid leases. A fenced lease is removed, so a call that names a missing lease is fenced.
    leases: BTreeMap<LeaseId, Lease>,
    /// Leases that ended and for which no run has been blamed.
    blameless: BTreeSet<LeaseId>,
    last_lease: u64,
    last_claim: u64,
    /// By workflow: the queues whose workers know it or knew it, and when the last of them claimed a lease.
    known_queues: BTreeMap<Name, BTreeMap<String, Timestamp>>,
    /// Boxed, so that a table that grows moves little.
    runs: IdMap<RunId, Box<Run>>,
    /// The current run of each chain, by the first one.
    chains: BTreeMap<RunId, RunId>,
    /// By workflow and key.
    keys: BTreeMap<String, BTreeMap<String, RunKey>>,
    inbox: Inbox,
    undelivered: BTreeMap<RunId, Vec<Undelivered>>,
    tasks: Tasks,
    /// By run and view: the number of the event with the newest value.
    views: BTreeMap<RunId, BTreeMap<Name, EventSeq>>,
    /// By message and run: what core wrote.
    replies: BTreeMap<(MessageId, RunId), Bytes>,
    /// What runs are found by.
    attributes: BTreeMap<RunId, Attributes>,
    /// Suspects. None of these runs is over.
    suspects: BTreeMap<RunId, Suspect>,
    transactions: BTreeMap<TransactionNo, Transaction>,
    last_transaction: u64,
    /// Parked runs with a deadline.
    due: BTreeSet<(ShardId, DueMark)>,
    /// The hints since they were last taken.
    hints: Vec<Hint>,
    facts: Facts,
}

/// A queue's range of shards.
#[derive(Clone, Copy, Debug)]
struct Shards {
    first: u16,
    count: u16,
}

impl Shards {
    fn iter(self) -> impl Iterator<Item = ShardId> {
        (self.first..self.first + self.count).map(shard_id)
    }
}

#[derive(Clone, Debug)]
struct Shard {
    owner: Option<LeaseId>,
    /// The claim that took it last.
    claim: ClaimId,
    /// The position of the next event. It outlives the events, so it is both the floor and the maximum.
    next_position: Position,
    /// Pending, busy and stalled runs. This index exists because a new owner must not look at ten million parked runs.
    unparked: BTreeSet<RunId>,
    /// How many owners died, less the deaths that later owners took off.
    deaths: u32,
    /// The worker that owned it before, if that worker's lease expired.
    former: Option<String>,
    /// The workflows of which it has or had open runs.
    needs: BTreeSet<Name>,
    /// If an append released it: under which lease.
    released_by: Option<LeaseId>,
}

#[derive(Clone, Debug)]
struct Lease {
    queue: String,
    worker: String,
    build: Build,
    expires_at: Timestamp,
    /// The last claim or heartbeat, and how many runs its processor had in memory then.
    renewed_at: Timestamp,
    live_runs: u32,
    shards: BTreeSet<ShardId>,
    /// The digests of the last appends. The claim of the lease counts as number 0.
    appends: BTreeMap<AppendNo, [u8; 32]>,
}

/// A run: its row and its log.
#[derive(Clone, Debug)]
struct Run {
    workflow: Name,
    key: Option<String>,
    /// The run that started it, if a run did.
    parent: Option<RunId>,
    /// Its place in its chain, if it continues another run.
    link: Option<ChainLink>,
    row: Row,
    /// By `seq`, from 1 on.
    frames: Vec<Frame>,
}

impl Run {
    /// Its row if it is open. Once a run has events, a pending row counts as that of a busy run.
    fn open_row(&self) -> Option<OpenRow> {
        match &self.row {
            Row::Open(row) if row.state == OpenState::Pending && !self.frames.is_empty() => {
                Some(OpenRow::default())
            }
            Row::Open(row) => Some(row.clone()),
            Row::Closed(_) => None,
        }
    }

    /// Its end if it is over.
    fn closed(&self, id: RunId) -> Option<ClosedRun> {
        let Row::Closed(Closed { status, closed_at, outcome }) = &self.row else { return None };
        Some(ClosedRun {
            run: id,
            workflow: self.workflow.clone(),
            key: self.key.clone(),
            parent: self.parent,
            status: *status,
            closed_at: *closed_at,
            outcome: outcome.clone(),
        })
    }
}

#[derive(Clone, Debug)]
enum Row {
    Open(OpenRow),
    Closed(Closed),
}

/// The end of a run.
#[derive(Clone, Debug)]
struct Closed {
    status: ClosedStatus,
    closed_at: Timestamp,
    outcome: Bytes,
}

impl State {
    /// Returns the queue of this name, and creates it if it does not exist.
    pub(crate) fn queue(&mut self, now: Timestamp, name: &str, shards: u16) -> Result<Queue, StoreError> {
        let range = match self.queues.get(name) {
            Some(range) => *range,
            None => self.make_queue(name, shards)?,
        };
        let first_shard = shard_id(range.first);
        Ok(Queue { name: name.to_owned(), first_shard, shard_count: range.count, now })
    }

    fn make_queue(&mut self, name: &str, shards: u16) -> Result<Shards, StoreError> {
        let first = self.shards.len() as u16;
        if shards == 0 || shards > ShardId::COUNT - first {
            return Err(StoreError::misconfigured(format!(
                "queue `{name}` cannot have {shards} shards: it needs at least 1, and all queues together have {} at \
                 most, of which {first} are taken",
                ShardId::COUNT
            )));
        }
        let range = Shards { first, count: shards };
        let shard = Shard {
            owner: None,
            claim: ClaimId::new(0),
            next_position: Position::FIRST,
            unparked: BTreeSet::new(),
            deaths: 0,
            former: None,
            needs: BTreeSet::new(),
            released_by: None,
        };
        self.shards.extend(range.iter().map(|_| shard.clone()));
        self.queues.insert(name.to_owned(), range);
        Ok(range)
    }

    /// The shards of a queue, or an error if the queue does not exist.
    fn queue_shards(&self, name: &str) -> Result<Shards, StoreError> {
        self.queues.get(name).copied().ok_or_else(|| {
            StoreError::misconfigured(format!("there is no queue `{name}`: ask the store for it first"))
        })
    }

    fn shard(&self, shard: ShardId) -> Option<&Shard> {
        self.shards.get(usize::from(shard.get()))
    }

    /// A shard that was checked to exist.
    fn shard_mut(&mut self, shard: ShardId) -> &mut Shard {
        &mut self.shards[usize::from(shard.get())]
    }

    /// A page of the messages that became visible since a cursor.
    pub(crate) fn read_inbox(&self, now: Timestamp, read: &InboxRead) -> Result<InboxPage, StoreError> {
        let mut page = self.inbox.read(now, read)?;
        for message in &mut page.messages {
            message.current = self.current_of(message.run);
        }
        Ok(page)
    }

    /// The current run of a run's chain: the run itself, unless it was continued.
    fn current_of(&self, run: RunId) -> RunId {
        let Some(found) = self.runs.get(&run) else { return run };
        if let Row::Open(_) = found.row {
            return run;
        }
        self.chains.get(&self.first_of(run)).copied().unwrap_or(run)
    }

    /// The first run of a run's chain: the run itself, unless it continues another.
    fn first_of(&self, run: RunId) -> RunId {
        self.runs.get(&run).and_then(|found| found.link).map_or(run, |link| link.first)
    }

    /// Whether a run exists and is not over.
    fn is_open(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(|run| matches!(run.row, Row::Open(_)))
    }

    /// Changes a run's row and its index entries.
    fn set_row(&mut self, id: RunId, row: Row) {
        let run = self.runs.get_mut(&id).expect("the run was checked");
        let (before, after) = (Indexed::of(&run.row), Indexed::of(&row));
        run.row = row;
        self.index(id, before, after);
    }

    /// Changes the index entries of a run. Every change of a row goes through here.
    fn index(&mut self, id: RunId, before: Indexed, after: Indexed) {
        let unparked = &mut self.shard_mut(id.shard()).unparked;
        match (before.is_unparked, after.is_unparked) {
            (false, true) => _ = unparked.insert(id),
            (true, false) => _ = unparked.remove(&id),
            (false, false) | (true, true) => {}
        }
        if before.due != after.due {
            due_entry(id, before).map(|entry| self.due.remove(&entry));
            self.due.extend(due_entry(id, after));
        }
    }

    /// Takes the hints of the last operations.
    pub(crate) fn take_hints(&mut self) -> Vec<Hint> {
        std::mem::take(&mut self.hints)
    }

    /// Starts to keep facts.
    pub(crate) fn keep_facts(&mut self) {
        self.facts.watched = true;
    }

    /// Takes the facts of the last operations.
    pub(crate) fn take_facts(&mut self) -> Vec<Fact> {
        self.facts.take()
    }

    fn hint(&mut self, hint: Hint) {
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
    }

    /// Restores an older state, as if from a backup, or from a standby that lacked some commits.
    pub(crate) fn restore(&mut self, older: &State) {
        let newer = std::mem::replace(self, older.clone());
        // A server that was restarted has no open transactions.
        self.transactions.clear();
        self.last_transaction = newer.last_transaction;
        // A lease's id is never reused, or a former owner would hold another owner's lease.
        self.last_lease = newer.last_lease;
        self.last_claim = newer.last_claim;
        self.tasks.last_executor = newer.tasks.last_executor;
        self.inbox.invalidate_cursors(&newer.inbox);
        self.hint(Hint::Missed);
        self.facts = newer.facts;
        self.facts.push(|| Fact::Restored);
    }
}

/// Where a row is found by an index.
#[derive(Clone, Copy, Default)]
struct Indexed {
    is_unparked: bool,
    due: Option<Timestamp>,
}

impl Indexed {
    fn of(row: &Row) -> Self {
        match row {
            Row::Open(OpenRow { state, wake_at, .. }) => {
                let is_unparked = match state {
                    OpenState::Pending | OpenState::Busy | OpenState::Stalled => true,
                    OpenState::Parked | OpenState::Paused => false,
                };
                Self { is_unparked, due: *wake_at }
            }
            Row::Closed(_) => Self::default(),
        }
    }
}

/// A run's entry in the index of deadlines.
fn due_entry(run: RunId, row: Indexed) -> Option<(ShardId, DueMark)> {
    row.due.map(|wake_at| (run.shard(), DueMark { wake_at, run }))
}

fn shard_id(number: u16) -> ShardId {
    ShardId::new(number).expect("queues get no shards beyond the greatest")
}
