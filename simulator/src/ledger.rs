//! The ledger: an independent account of what happened, kept from the store's facts alone, and the invariants that can
//! be checked at once. It shares no code with the store, so only the same mistake in both would stay unnoticed.

mod append;
mod fleets;
mod retries;
mod tasks;
mod updates;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgworkflows_core::Timestamp;
use pgworkflows_core::history::MessageKind;
use pgworkflows_core::id::{LeaseId, MessageId, RunId, ShardId};
use pgworkflows_core::store::{Build, MessageRef, Submission};
use pgworkflows_memory::Fact;
use pgworkflows_testkit::runtime::time::{Owner, Time};

use self::append::{append_words, events_of};
use self::retries::RetryAccounts;
use self::tasks::TaskAccounts;
use self::updates::UpdateAccounts;
use crate::workflow::TOLD;

/// Marks the ids of the messages that appends send, and of the runs that these start.
pub(crate) const SENT_MARK: u64 = 0x5E4D;

/// The account of what happened.
#[derive(Debug)]
pub(crate) struct Ledger {
    time: Arc<Time>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) accounts: Accounts,
    pub(crate) executions: Vec<Execution>,
    /// The workers whose processes an activity is ending now.
    pub(crate) dying: Vec<Owner>,
    pub(crate) violations: Vec<String>,
    /// How often each event was written, including those that a restore lost.
    pub(crate) events: BTreeMap<&'static str, u64>,
    /// How many shards appends released.
    pub(crate) handovers: u64,
    /// Numbers facts and executions in the order in which they happened.
    pub(crate) moment: u64,
    /// When the last message was submitted or the last batch was appended.
    pub(crate) last_progress: Duration,
    /// If set: no lease that is renewed after this time may be lost.
    pub(crate) settled_at: Option<Timestamp>,
    /// The leases whose release was requested.
    released: BTreeSet<LeaseId>,
    /// How long a renewal of a lease has to last, if that is known.
    pub(crate) lease_ttl: Option<Duration>,
}

/// The accounts that go back with the store when it is restored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) runs: BTreeMap<RunId, RunAccount>,
    pub(crate) inbox: BTreeMap<MessageRef, (RunId, MessageId)>,
    /// The requests to resume among them, and among those that left the inbox.
    resumes: BTreeSet<MessageRef>,
    retries: RetryAccounts,
    updates: UpdateAccounts,
    /// Messages that arrived after the end of their run.
    pub(crate) undelivered: BTreeSet<MessageId>,
    /// Messages that appends sent to other runs.
    pub(crate) sent: BTreeMap<MessageId, SentAccount>,
    pub(crate) tasks: TaskAccounts,
    shards: BTreeMap<ShardId, ShardAccount>,
    builds: BTreeMap<LeaseId, Build>,
    /// The valid leases.
    leases: BTreeMap<LeaseId, LeaseAccount>,
    /// The leases that were fenced or released.
    over: BTreeSet<LeaseId>,
}

/// What is known of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunAccount {
    /// The name of its workflow.
    workflow: Option<String>,
    /// The first run of its chain, if it continues another.
    pub(crate) first: Option<RunId>,
    pub(crate) events: Vec<EventAccount>,
    pub(crate) is_over: bool,
    pub(crate) is_stalled: bool,
    pub(crate) is_paused: bool,
    /// Whether it is under suspicion: it may wait for its trial, however long the trials of others take.
    pub(crate) is_suspect: bool,
    /// Whether it is set aside because its owners died.
    pub(crate) is_set_aside: bool,
    /// The strikes of its mark, if it has one.
    strikes: u32,
    /// Whether its start was inserted into the inbox.
    submitted: bool,
    /// Whether an append opened it.
    opened: bool,
}

/// What is known of a message that an append sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SentAccount {
    pub(crate) run: RunId,
    /// Whether it starts the run.
    pub(crate) opens: bool,
    /// Whether it is between a parent and a child, so that only the outcomes tell whether it arrived.
    pub(crate) is_between_relatives: bool,
    /// Whether the store may have found another receiver.
    pub(crate) is_readdressed: bool,
    /// Whether it was inserted into the inbox.
    arrived: bool,
}

/// What is known of an event.
#[derive(Clone, Debug)]
pub(crate) struct EventAccount {
    pub(crate) name: &'static str,
    /// When it was committed, in the order of everything.
    pub(crate) moment: u64,
    /// The owner that sent the request, or the world if the sender had stopped waiting for the answer.
    pub(crate) writer: Owner,
}

#[derive(Clone, Debug, Default)]
struct ShardAccount {
    owner: Option<LeaseId>,
    /// The lease that released it last, in an append.
    released_by: Option<LeaseId>,
    last_position: u64,
}

#[derive(Clone, Copy, Debug)]
struct LeaseAccount {
    renewed: Timestamp,
    until: Timestamp,
    last_append: u64,
}

/// An execution of an activity or a step, recorded by itself, outside of the system.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    /// The run and the durable call.
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) owner: Owner,
    pub(crate) moment: u64,
    /// When it began, according to the store's clock.
    pub(crate) at: Duration,
}

impl Ledger {
    pub(crate) fn new(time: Arc<Time>) -> Arc<Self> {
        Arc::new(Self { time, inner: Mutex::default() })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An activity or a step begins.
    pub(crate) fn executes(&self, key: String, attempt: u32, owner: Owner) {
        let at = self.time.store_now();
        let mut inner = self.lock();
        inner.moment += 1;
        let moment = inner.moment;
        self.time.trace("execute", u64::from(attempt), || format!("{key} attempt {attempt} by {}", owner.0));
        inner.executions.push(Execution { key, attempt, owner, moment, at });
    }

    /// The release of a lease is requested.
    pub(crate) fn asked_to_release(&self, lease: LeaseId) {
        self.lock().released.insert(lease);
    }

    /// Notes a violation.
    pub(crate) fn violated(&self, what: String) {
        self.time.trace("VIOLATED", 0, || what.clone());
        self.lock().violations.push(what);
    }

    /// A copy, for when the store is restored.
    pub(crate) fn snapshot(&self) -> Accounts {
        self.lock().accounts.clone()
    }

    /// The store was restored to the state at that copy.
    pub(crate) fn restore(&self, accounts: &Accounts) {
        self.lock().accounts = accounts.clone();
    }

    pub(crate) fn happened(&self, fact: &Fact, now: Timestamp) {
        let writer = self.time.lock().current;
        let mut inner = self.lock();
        inner.moment += 1;
        if matches!(fact, Fact::Submitted { .. } | Fact::Appended(_)) {
            inner.last_progress = self.time.now();
        }
        let (lease_ttl, settled_at) = (inner.lease_ttl, inner.settled_at);
        let Inner { accounts, violations, events, handovers, moment, released: asked, .. } = &mut *inner;
        let violations_before = violations.len();
        match fact {
            Fact::Submitted { at, submission } => {
                self.time.trace("submit", at.number.get(), || {
                    format!("message {} for run {}", at.number, submission.run)
                });
                accounts.submitted(*at, submission, violations);
            }
            Fact::Appended(append) => {
                self.time.trace("append", append.number.get() << 16 | append.frames.len() as u64, || {
                    append_words(append)
                });
                let frames = events_of(append, violations);
                for event in frames.iter().flatten() {
                    *events.entry(event.event.name()).or_default() += 1;
                }
                *handovers += append.released.len() as u64;
                accounts.appended(append, &frames, (*moment, writer, now), violations);
            }
            Fact::Leased { lease, build } => accounts.leased(*lease, build),
            Fact::Claimed { lease, shards } => {
                let numbers: Vec<u16> = shards.iter().map(|shard| shard.get()).collect();
                self.time.trace("claim", lease.get(), || format!("lease {lease} gets shards {numbers:?}"));
                accounts.suits(*lease, shards, now, violations);
                accounts.claimed(*lease, shards, violations);
            }
            Fact::Renewed { lease, until } => {
                if lease_ttl.is_some_and(|ttl| *until < now.saturating_add(ttl)) {
                    violations.push(format!(
                        "at {now}, lease {lease} was renewed until {until}, which is too short"
                    ));
                }
                accounts.renewed(*lease, now, *until, violations);
            }
            Fact::Ended { lease, released } => {
                self.time.trace("end", u64::from(*released), || format!("lease {lease} is over"));
                let Some(account) = accounts.ended(*lease) else { return };
                if now < account.until && !released {
                    violations.push(format!("lease {lease} was fenced before its time"));
                }
                if *released && !asked.contains(lease) {
                    violations.push(format!("lease {lease} was released without a request"));
                }
                if settled_at.is_some_and(|settled| account.renewed >= settled) {
                    violations.push(format!("lease {lease} was lost because of work alone"));
                }
            }
            Fact::ExecutorRenewed { .. }
            | Fact::ExecutorEnded { .. }
            | Fact::TaskClaimed { .. }
            | Fact::TaskFreed { .. }
            | Fact::TaskDeleted { .. } => {
                self.time.trace("task", 0, || format!("{fact:?}"));
                accounts.tasks.happened(fact, now, settled_at, violations);
            }
            Fact::Restored => self.time.trace("restore", 0, || "the store was restored".to_owned()),
        }
        for violation in &violations[violations_before..] {
            self.time.trace("VIOLATED", 0, || violation.clone());
        }
    }
}

impl Accounts {
    fn submitted(&mut self, at: MessageRef, submission: &Submission, violations: &mut Vec<String>) {
        let Submission { run, message, opens, .. } = submission;
        // A start whose outcome its client does not know may be submitted after a processor has logged it.
        if let Some(opens) = opens {
            let account = self.runs.entry(*run).or_default();
            account.workflow = Some(opens.workflow.clone());
            if std::mem::replace(&mut account.submitted, true) {
                violations.push(format!("run {run} was submitted twice"));
            }
        }
        if !self.runs.contains_key(run) {
            violations.push(format!("message {} is for run {run}, which does not exist", at.number));
        }
        let mut is_told = false;
        match submission.kind() {
            Ok(MessageKind::Task) => self.tasks.told(*run, *message, violations),
            Ok(MessageKind::Resume) => _ = self.resumes.insert(at),
            Ok(MessageKind::Retry) => self.retries.submitted(at),
            Ok(MessageKind::Update(_)) => self.updates.submitted(at, *run, violations),
            Ok(MessageKind::Signal(signal)) => is_told = signal == TOLD.name(),
            Ok(
                MessageKind::Start
                | MessageKind::Cancel
                | MessageKind::Terminate
                | MessageKind::Child
                | MessageKind::Pause,
            ) => {}
            Err(error) => violations.push(format!("message {} cannot be read: {error}", at.number)),
        }
        // Only appends send such messages.
        if is_told || message.as_u128() as u64 == SENT_MARK {
            match self.sent.get_mut(message) {
                Some(sent) if !sent.arrived => sent.arrived = true,
                Some(_) => violations.push(format!("message {} was sent once, and arrived twice", at.number)),
                None => violations.push(format!("message {} arrived, and no append sent it", at.number)),
            }
        }
        if self.inbox.values().any(|(_, waiting)| waiting == message) {
            violations
                .push(format!("message {} was inserted while it waited under another number", at.number));
        }
        if self.inbox.insert(at, (*run, *message)).is_some() {
            violations.push(format!("message number {} was assigned twice", at.number));
        }
    }

    fn claimed(&mut self, lease: LeaseId, shards: &[ShardId], violations: &mut Vec<String>) {
        for shard in shards {
            let account = self.shards.entry(*shard).or_default();
            account.released_by = None;
            if let Some(owner) = account.owner.replace(lease) {
                violations.push(format!("lease {lease} got shard {shard} while lease {owner} owned it"));
            }
        }
    }

    fn renewed(&mut self, lease: LeaseId, now: Timestamp, until: Timestamp, violations: &mut Vec<String>) {
        if self.over.contains(&lease) {
            violations.push(format!("lease {lease} was over, and was renewed"));
        }
        let last_append = self.leases.get(&lease).map_or(0, |account| account.last_append);
        self.leases.insert(lease, LeaseAccount { renewed: now, until, last_append });
    }

    fn ended(&mut self, lease: LeaseId) -> Option<LeaseAccount> {
        for shard in self.shards.values_mut() {
            shard.owner = shard.owner.filter(|owner| *owner != lease);
        }
        self.over.insert(lease);
        self.leases.remove(&lease)
    }

    /// Whether a lease is held.
    pub(crate) fn is_begun(&self) -> bool {
        !self.leases.is_empty()
    }

    /// What is wrong with how the live leases share the shards of the queue, if anything is: the mean, rounded up or down, is
    /// to be owned by each.
    pub(crate) fn unbalanced(&self, shard_count: u16, now: Timestamp) -> Option<String> {
        let live = self.leases.iter().filter(|(_, account)| account.until > now).map(|(lease, _)| *lease);
        let owned = |lease| self.shards.values().filter(|shard| shard.owner == Some(lease)).count();
        let counts: Vec<(LeaseId, usize)> = live.map(|lease| (lease, owned(lease))).collect();
        if self.differ(counts.iter().map(|(lease, _)| *lease)) {
            let total: usize = counts.iter().map(|(_, count)| count).sum();
            let free = usize::from(shard_count).saturating_sub(total);
            return (free > 0)
                .then(|| format!("{free} shards have no owner, although workers live: {counts:?}"));
        }
        let (shards, members) = (usize::from(shard_count), counts.len().max(1));
        let fair = shards / members..=shards.div_ceil(members);
        let total: usize = counts.iter().map(|(_, count)| count).sum();
        let is_fair = total == shards && counts.iter().all(|(_, count)| fair.contains(count));
        (!is_fair).then(|| format!("{shards} shards are not shared evenly: {counts:?}"))
    }

    /// What is wrong if not all shards have an owner.
    pub(crate) fn unowned(&self, shard_count: u16) -> Option<String> {
        let owned = self.shards.values().filter(|shard| shard.owner.is_some()).count();
        (owned != usize::from(shard_count)).then(|| format!("{owned} of {shard_count} shards have an owner"))
    }

    /// Whether the inbox is empty and every run is over.
    pub(crate) fn is_quiet(&self) -> bool {
        self.inbox.is_empty() && self.runs.values().all(|run| run.is_over)
    }
}
