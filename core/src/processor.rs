//! A processor: the single writer of some shards' log, as a state machine without I/O. Messages, outcomes and
//! deadlines go in; appends, reads and effects come out. It knows neither a store nor a clock nor a thread:
//! the driver executes what it asks for and tells it the time.
//!
//! Its memory runs ahead of the log. If an append is refused, the whole processor is thrown away.

pub(crate) mod batch;
pub(crate) mod blame;
pub(crate) mod deadlines;
pub(crate) mod deliver;
pub(crate) mod dispatch;
pub(crate) mod inbox;
pub(crate) mod loads;
pub(crate) mod outbox;
pub(crate) mod recover;
pub(crate) mod report;
pub(crate) mod strangers;
pub(crate) mod suspects;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::oneshot;

use self::batch::{Group, InFlight};
use self::blame::Blame;
use self::inbox::Inbox;
use self::loads::Loads;
use self::outbox::Outbox;
use self::strangers::Strangers;
use self::suspects::Suspects;
use crate::canary::{self, Bug};
use crate::data::id::{AppendNo, CommandId, LeaseId, Position, RunId, ShardId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::log::message::Message;
use crate::run::replay::Replay;
use crate::run::state::Deadline;
use crate::run::turn::Turn;
use crate::run::{Progress, Run};
use crate::store::append::{ClosedRun, OpenRow};
use crate::store::history::{Due, DueMark, Load, Unparked};
use crate::store::inbox::{InboxRead, MessageRef};
use crate::store::lease::{Claimed, LeaseTick, LeaseTicked};
use crate::workflow::calls::step::StepRequest;
use crate::workflow::registry::Registry;

/// What a worker's user may set of its processors.
#[derive(Clone, Debug)]
pub(crate) struct ProcessorConfig {
    pub(crate) worker: String,
    pub(crate) history_events_warn: u32,
    pub(crate) history_events_max: u32,
    /// How many runs may be in memory before no more messages are taken in.
    pub(crate) runs_max: usize,
    /// How far ahead deadlines are loaded: two heartbeats.
    pub(crate) horizon: Duration,
}

/// The state machine.
pub(crate) struct Processor {
    config: ProcessorConfig,
    registry: Registry,
    lease: LeaseId,
    shards: BTreeMap<ShardId, Shard>,
    runs: BTreeMap<RunId, Box<Live>>,
    inbox: Inbox,
    loads: Loads,
    /// The replay of the history that is next in `loads`.
    replaying: Option<Replay>,
    /// Runs whose code goes on and has not taken in all that waited for it.
    releasing: BTreeSet<RunId>,
    suspects: Suspects,
    strangers: Strangers,
    /// Deadlines of the runs in memory.
    wakes: BTreeSet<(Timestamp, RunId)>,
    outbox: Outbox,
    blame: Blame,
    in_flight: Option<InFlight>,
    /// The last append that the store acknowledged.
    committed: AppendNo,
    due_mark: Option<DueMark>,
    due_until: Option<Timestamp>,
    due: bool,
    /// Whether shards came after the last heartbeat was asked: its answer does not speak for them.
    claimed_since_tick: bool,
    /// The recovery that is under way.
    recovery: Option<Recovery>,
    /// When its recovery had ended, or when it paid off the last death since.
    serving_since: Option<Timestamp>,
    /// The run that it worked on last: if that took too long, it is at fault.
    worked_on: Option<RunId>,
    /// Which kind of read, and which kind of work, has its turn: none waits for another to be done.
    read_turn: usize,
    work_turn: usize,
    /// Runs that are left alone here, and why: the store refuses what they write, or their histories cannot be.
    refused: BTreeMap<RunId, String>,
}

/// One shard of a processor.
#[derive(Debug)]
struct Shard {
    next_position: Position,
    /// How many owners died, less what was paid off.
    deaths: u32,
}

impl Shard {
    fn is_suspicious(&self) -> bool {
        self.deaths >= limits::DEATHS_BEFORE_SUSPICION
    }
}

/// The recovery of claimed shards.
struct Recovery {
    since: Timestamp,
    /// How many runs came back.
    runs: usize,
}

/// A run in memory.
struct Live {
    run: Run,
    /// Its row as the appends so far, cut or not, leave it; `None` if that is not known.
    row: Option<OpenRow>,
    /// Whether the store has a row for it, or will have by what is to be appended.
    has_row: bool,
    /// The attempts that were handed to the executor, or will be after a commit.
    running: BTreeMap<CommandId, u32>,
    /// The steps likewise.
    steps: BTreeSet<CommandId>,
    /// An activity that it asked for and nobody here knows.
    unknown_activity: Option<Name>,
    /// How many groups of it are queued or in flight.
    uncommitted: usize,
    /// Who of this process is told how the run ended.
    on_closed: Option<oneshot::Sender<ClosedRun>>,
    /// The last retry that was handed to the executor: those up to it are under way, or wait for a worker that
    /// knows their activity.
    retried: Option<Deadline>,
    /// Its entry in `wakes`.
    wake: Option<Timestamp>,
    warned: bool,
}

/// A message that waits for its run to be loaded.
struct Waiting {
    reference: MessageRef,
    message: Message,
}

/// What the driver is to do. All that caused it is committed.
pub(crate) enum Effect {
    /// Execute an attempt of an activity.
    Execute(Attempt),
    /// Execute a step.
    ExecuteStep { run: RunId, workflow: Name, step: StepRequest },
    /// The outcome of an activity or a step is no longer wanted.
    Abort { run: RunId, id: CommandId },
    /// A run that a client of this process handed over is in the log.
    Accept { accepted: oneshot::Sender<()> },
    /// A run is over, and a client of this process waits for that.
    Tell { closed: Box<ClosedRun>, on_closed: oneshot::Sender<ClosedRun> },
}

/// An attempt of an activity.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) run: RunId,
    pub(crate) id: CommandId,
    pub(crate) attempt: u32,
    pub(crate) activity: Name,
    pub(crate) input: Payload,
    pub(crate) options: ActivityOptions,
    /// Of its run, for the log.
    pub(crate) workflow: Name,
    pub(crate) key: Option<String>,
    pub(crate) scheduled_at: Timestamp,
}

/// How a store did not take an append, of which this try wrote nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declined {
    /// It failed, and may succeed the next time.
    Failed,
    /// It will not take this content.
    Refused,
}

/// What the driver is to read next.
#[derive(Debug)]
pub(crate) enum Read {
    List(Unparked),
    Load(Load),
    Due(Due),
    Inbox(InboxRead),
}

impl Processor {
    /// A processor of a new lease.
    pub(crate) fn new(config: ProcessorConfig, registry: Registry, claimed: &Claimed) -> Self {
        let mut processor = Self {
            config,
            registry,
            lease: claimed.lease,
            shards: BTreeMap::new(),
            runs: BTreeMap::new(),
            inbox: Inbox::default(),
            loads: Loads::default(),
            replaying: None,
            releasing: BTreeSet::new(),
            suspects: Suspects::default(),
            strangers: Strangers::default(),
            wakes: BTreeSet::new(),
            outbox: Outbox::default(),
            blame: Blame::default(),
            in_flight: None,
            committed: AppendNo::new(0),
            due_mark: None,
            due_until: None,
            due: false,
            claimed_since_tick: false,
            recovery: None,
            serving_since: None,
            worked_on: None,
            read_turn: 0,
            work_turn: 0,
            refused: BTreeMap::new(),
        };
        processor.claimed(claimed);
        processor
    }

    /// Shards were claimed under this lease: recover their runs.
    pub(crate) fn claimed(&mut self, claimed: &Claimed) {
        // A claim names all shards of the lease, those that are served already included.
        let fresh: Vec<_> = claimed.shards.iter().filter(|claimed| !self.owns(claimed.shard)).collect();
        if fresh.is_empty() {
            return;
        }
        for claimed in &fresh {
            let shard = Shard { next_position: claimed.next_position, deaths: claimed.deaths };
            self.shards.insert(claimed.shard, shard);
        }
        self.serving_since = None;
        self.recovery = Some(Recovery { since: claimed.now, runs: 0 });
        self.claim_suspects(&claimed.suspects, &fresh);
        self.loads.recover(fresh.iter().map(|claimed| claimed.shard).collect());
        // A new owner begins with no snapshot and no mark; what is in memory already is recognised.
        self.inbox.begin_anew();
        self.due_mark = None;
        self.due = true;
        // What parks with a near deadline stays in memory from now on: the first heartbeat is yet to come.
        self.due_until = self.due_until.max(Some(claimed.now.saturating_add(self.config.horizon)));
        self.claimed_since_tick = true;
    }

    pub(crate) fn lease(&self) -> LeaseId {
        self.lease
    }

    /// The shards that it serves.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.shards.keys().copied()
    }

    pub(crate) fn owns(&self, shard: ShardId) -> bool {
        self.shards.contains_key(&shard)
    }

    /// Whether these are all shards that are served: an answer to a question about others does not move marks.
    fn serves_exactly(&self, shards: &[ShardId]) -> bool {
        self.shards.keys().eq(shards)
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// How many runs are in memory.
    pub(crate) fn live_runs(&self) -> usize {
        self.runs.len()
    }

    /// There may be messages.
    pub(crate) fn has_mail(&mut self) {
        self.inbox.has_mail(true);
    }

    /// This processor's part of a heartbeat that is about to be sent.
    pub(crate) fn tick(&mut self, now: Timestamp, ttl: Duration) -> LeaseTick {
        let due_until = now.saturating_add(self.config.horizon);
        // From now on, what parks with a deadline before this stays in memory: the query may not see it.
        if !canary::is(Bug::MarkMovedLate) {
            self.due_until = self.due_until.max(Some(due_until));
        }
        self.claimed_since_tick = false;
        let deaths_max = self.pay_off_deaths(now);
        LeaseTick {
            lease: self.lease,
            renew: Some(ttl),
            committed: self.committed,
            deaths_max,
            cursor: self.inbox.cursor().clone(),
            due_after: self.due_mark,
            due_until,
        }
    }

    /// Pays off the deaths of its shards by the time it has served since their recovery ended, and says how many they
    /// may count from now on.
    fn pay_off_deaths(&mut self, now: Timestamp) -> u32 {
        let recovering = self.loads.is_recovering();
        let since = match self.serving_since {
            Some(since) => since,
            None if recovering => return u32::MAX,
            None => *self.serving_since.insert(now),
        };
        if now.saturating_since(since) >= limits::DEATH_PAID_OFF {
            self.serving_since = Some(since.saturating_add(limits::DEATH_PAID_OFF));
            self.shards.values_mut().for_each(|shard| shard.deaths = shard.deaths.saturating_sub(1));
        }
        self.shards.values().map(|shard| shard.deaths).max().unwrap_or(0)
    }

    /// The answer to that heartbeat.
    pub(crate) fn ticked(&mut self, asked: &LeaseTick, ticked: &LeaseTicked) {
        self.inbox.has_mail(ticked.mail);
        if canary::is(Bug::MarkMovedLate) {
            self.due_until = self.due_until.max(Some(asked.due_until));
        }
        if ticked.due {
            self.due = true;
        } else if self.due_mark == asked.due_after && !self.claimed_since_tick {
            self.due_mark = self.due_mark.max(Some(end_of(asked.due_until)));
        }
    }

    /// Does the next piece of work: fires a deadline, delivers a message, or has a history replayed or a release go on
    /// for some events, by turns. Whether there was anything to do.
    pub(crate) fn work(&mut self, turn: &Turn<'_>) -> bool {
        const KINDS: usize = 5;
        (0..KINDS).any(|_| {
            self.work_turn = (self.work_turn + 1) % KINDS;
            match self.work_turn {
                0 => self.fire_next(turn.now),
                1 => self.deliver_next(turn.now),
                2 => self.replay_some(turn),
                3 => self.end_trial(turn.now),
                _ => self.release_some(turn),
            }
        })
    }

    /// What to read next, if anything. The answer must be handed back before the next call.
    pub(crate) fn next_read(&mut self) -> Option<Read> {
        const KINDS: usize = 4;
        for kind in (self.read_turn..).take(KINDS) {
            let read = match kind % KINDS {
                0 => self.loads.ask_list().map(Read::List),
                1 => self.loads.ask().map(Read::Load),
                2 => self.ask_inbox().map(Read::Inbox),
                _ => self.ask_due().map(Read::Due),
            };
            if read.is_some() {
                self.read_turn = (kind + 1) % KINDS;
                return read;
            }
        }
        None
    }

    fn ask_inbox(&mut self) -> Option<InboxRead> {
        if self.is_crowded() {
            return None;
        }
        let shards = &self.shards;
        self.inbox.ask(|| shards.keys().copied().collect())
    }

    fn ask_due(&mut self) -> Option<Due> {
        if self.is_crowded() {
            return None;
        }
        let until = self.due_until?;
        let shards = || self.shards.keys().copied().collect();
        let after = self.due_mark;
        std::mem::take(&mut self.due).then(|| Due { shards: shards(), after, until, limit: DUE_PAGE })
    }

    /// Whether memory has no room for more runs, or there is no shard to take them from.
    fn is_crowded(&self) -> bool {
        self.runs.len() >= self.config.runs_max || self.shards.is_empty()
    }

    /// A read failed: it is to be made again.
    pub(crate) fn read_failed(&mut self, read: Read) {
        match read {
            Read::List(unparked) => self.loads.list_failed(unparked),
            Read::Load(load) => self.loads.failed(load),
            Read::Inbox(_) => self.inbox.failed(),
            Read::Due(_) => self.due = true,
        }
    }

    /// The run that was worked on last.
    pub(crate) fn worked_on(&self) -> Option<RunId> {
        self.worked_on
    }

    /// Takes what is to be done now.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.outbox.effects)
    }

    /// Whether nothing waits for an append.
    pub(crate) fn is_flushed(&self) -> bool {
        self.in_flight.is_none() && self.outbox.is_empty()
    }

    /// Takes in what a run asks for: its events are queued for the log, its effects wait for their commit.
    fn absorb(&mut self, id: RunId, progress: Progress, consumed: &[MessageRef], now: Timestamp) {
        self.worked_on = Some(id);
        let Some(live) = self.runs.get_mut(&id) else { return };
        let mut group = Group::new(id);
        group.consumed.extend(consumed);
        let Consequences { dispatch, given_up, over } = live.log(&mut group, progress.events);
        for id in progress.dropped_steps {
            live.steps.remove(&id);
            group.effects.push(Effect::Abort { run: live.run.state.id, id });
        }
        for (id, step) in progress.steps {
            live.steps.insert(id);
            let workflow = live.run.state.workflow.clone();
            group.effects.push(Effect::ExecuteStep { run: live.run.state.id, workflow, step });
        }
        live.abort(&mut group, given_up, over);
        if live.run.state.closed.is_some() {
            group.suspect = self.suspects.clear(id, true);
        }
        live.queue(group, &mut self.outbox);
        live.reschedule(&mut self.wakes);
        if live.run.can_release() {
            self.releasing.insert(id);
        }
        let long = live.run.state.event_count() >= self.config.history_events_warn;
        for call in dispatch {
            self.dispatch(id, call, now);
        }
        if long {
            self.check_history(id, now);
        }
    }

    /// Warns of a long history, and stalls a run whose history is too long.
    fn check_history(&mut self, id: RunId, now: Timestamp) {
        let Some(live) = self.runs.get_mut(&id) else { return };
        let (count, max) = (live.run.state.event_count(), self.config.history_events_max);
        if live.run.state.closed.is_some() {
            return;
        }
        if !std::mem::replace(&mut live.warned, true) {
            tracing::warn!(
                run = %id, workflow = %live.run.state.workflow, events = count, limit = max,
                "a history grows long; at the limit the run stalls"
            );
        }
        if count >= max && live.run.state.stalled.is_none() && live.run.state.ending.is_none() {
            let reason = history_too_long(count, max);
            let progress = live.run.stall(now, reason);
            self.absorb(id, progress, &[], now);
        }
    }

    /// Forgets a run that costs nothing but its rows from now on.
    fn evict_if_idle(&mut self, id: RunId) {
        let Some(live) = self.runs.get(&id) else { return };
        if live.uncommitted == 0 && (live.is_idle(self.due_until) || self.refused.contains_key(&id)) {
            if canary::is(Bug::EvictionCancels)
                && let Some((progress, now)) =
                    self.runs.get_mut(&id).and_then(|live| canary::cancel_a_timer(&mut live.run))
            {
                return self.absorb(id, progress, &[], now);
            }
            self.forget(id);
            if let Some(change) = self.suspects.clear(id, false) {
                self.change_suspect(id, change);
            }
        }
    }

    /// Takes a run out of memory.
    fn forget(&mut self, id: RunId) -> Option<Box<Live>> {
        let live = self.runs.remove(&id)?;
        live.wake.inspect(|wake| {
            self.wakes.remove(&(*wake, id));
        });
        Some(live)
    }
}

impl Live {
    /// Whether nothing keeps it in memory: it is over, or waits for a message or a deadline after `due_until`.
    fn is_idle(&self, due_until: Option<Timestamp>) -> bool {
        let state = &self.run.state;
        if state.closed.is_some() {
            return true;
        }
        let near = state.wake_at().is_some_and(|wake_at| Some(wake_at) <= due_until);
        self.is_quiet()
            && !state.is_busy()
            && (!near || state.stalled.is_some() || canary::is(Bug::WakeUpLost))
    }

    /// Queues a group, behind everything of its run that is queued.
    fn queue(&mut self, mut group: Group, outbox: &mut Outbox) {
        // A row follows from events alone.
        if !group.events.is_empty() {
            self.set_row(&mut group);
        }
        if group.writes_nothing() {
            group.effects.into_iter().for_each(|effect| self.cause(effect, outbox));
            return;
        }
        self.uncommitted += 1;
        group.counted = true;
        outbox.push(group);
    }

    /// Has an effect wait for everything of its run that is queued or in flight.
    fn cause(&mut self, effect: Effect, outbox: &mut Outbox) {
        if self.uncommitted == 0 || canary::is(Bug::EffectEarly) {
            // Nothing of the run is on its way to the log: what it asks for may begin.
            return outbox.effects.push(effect);
        }
        match outbox.last() {
            Some(last) if last.run == self.run.state.id => last.effects.push(effect),
            _ => {
                let mut group = Group::new(self.run.state.id);
                group.effects.push(effect);
                group.counted = true;
                self.uncommitted += 1;
                outbox.push(group);
            }
        }
    }
}

/// How many deadlines are read at once.
const DUE_PAGE: u32 = 500;

/// Why a run of that many events does not go on.
fn history_too_long(count: u32, max: u32) -> String {
    format!(
        "the history has {count} events, and the limit is {max}; raise the limit (`history_events` of the \
         worker's builder), and the run goes on"
    )
}

/// What events ask for, beyond being logged.
#[derive(Default)]
struct Consequences {
    /// Activities that were scheduled.
    dispatch: Vec<CommandId>,
    /// Activities whose outcome nobody waits for any more.
    given_up: Vec<CommandId>,
    /// Whether the workflow is over, and all that it has going on with it.
    over: bool,
}

/// The last mark of a deadline.
fn end_of(wake_at: Timestamp) -> DueMark {
    DueMark { wake_at, run: RunId::from_u128(u128::MAX) }
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processor")
            .field("lease", &self.lease)
            .field("shards", &self.shards.len())
            .field("runs", &self.runs.len())
            .finish_non_exhaustive()
    }
}
