//! A processor: the single writer of some shards' log, as a state machine without I/O. Messages, outcomes and
//! deadlines go in; appends, reads and effects come out. It must not know a store, a clock or a thread: the driver
//! executes what the processor asks for and tells it the time.
//!
//! This file wires its parts together. Each part has its own fields and does not access those of another; operations that
//! need several parts borrow them: [`Admission`], [`Recorder`], [`Intake`].
//!
//! Its memory runs ahead of the log. If the lease is fenced, the whole processor is dropped.

pub(crate) mod admission;
pub(crate) mod appends;
mod attributes;
pub(crate) mod blame;
pub(crate) mod children;
pub(crate) mod commits;
mod counts;
pub(crate) mod deadlines;
pub(crate) mod deaths;
pub(crate) mod dispatch;
pub(crate) mod effect;
pub(crate) mod executing;
pub(crate) mod group;
pub(crate) mod handover;
pub(crate) mod histories;
pub(crate) mod inbox;
pub(crate) mod intake;
pub(crate) mod live;
pub(crate) mod loads;
pub(crate) mod memory;
pub(crate) mod needs;
pub(crate) mod outbox;
pub(crate) mod pressure;
pub(crate) mod queues;
pub(crate) mod reads;
pub(crate) mod received;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod replies;
pub(crate) mod report;
pub(crate) mod resume;
pub(crate) mod row;
pub(crate) mod runs;
pub(crate) mod sent;
pub(crate) mod setup;
pub(crate) mod shards;
pub(crate) mod succession;
pub(crate) mod suspects;
pub(crate) mod tasks;
#[cfg(test)]
mod tests;
pub(crate) mod unknown_workflows;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::admission::Admission;
use self::appends::Appends;
use self::deadlines::Deadlines;
use self::histories::{Histories, ReplayResult};
use self::inbox::Inbox;
use self::intake::Intake;
use self::loads::{Loads, Starts};
use self::memory::Tally;
use self::needs::Needs;
use self::outbox::Outbox;
use self::record::Recorder;
use self::runs::Runs;
use self::setup::{ProcessorConfig, Setup};
use self::shards::OwnedShards;
use self::suspects::Suspects;
use self::unknown_workflows::UnknownWorkflows;
use crate::data::id::{AppendNo, LeaseId, RunId, ShardId};
use crate::data::name::Name;
use crate::data::time::Timestamp;
use crate::observe::line_limit::write_left_out;
use crate::run::replay::Replay;
use crate::run::turn::Turn;
use crate::store::lease::{Claimed, ClaimedShard, LeaseAnswer, LeaseHeartbeat};
use crate::store::switchboard::LocalStart;
use crate::workflow::registry::Registry;

/// The state machine of one lease.
pub(crate) struct Processor {
    setup: Setup,
    memory: Tally,
    shards: OwnedShards,
    needs: Needs,
    // Input.
    inbox: Inbox,
    deadlines: Deadlines,
    loads: Loads,
    histories: Histories,
    unknown_workflows: UnknownWorkflows,
    // Work.
    suspects: Suspects,
    runs: Runs,
    /// The activities that are not registered here, each of which the log names once.
    unknown_activities: BTreeSet<Name>,
    // Output.
    outbox: Outbox,
    appends: Appends,
    /// The recovery in progress.
    recovery: Option<Recovery>,
    /// The shards that went to another owner since the last read was requested: its answer is not used for them.
    left_since_read: BTreeSet<ShardId>,
    /// While memory is full: the last append before runs were loaded.
    loaded_after: Option<AppendNo>,
    /// When it was logged last that starts are held back.
    told_of_starts: Option<Timestamp>,
    /// The kind of read and the kind of work that had the last turn: kinds take turns, so that none starves another.
    read_turn: usize,
    work_turn: usize,
}

/// The recovery of claimed shards.
struct Recovery {
    since: Timestamp,
    /// How many shards were claimed.
    shards: usize,
    /// The workers that lost some of these, and how many.
    lost_by: BTreeMap<String, usize>,
    /// How many runs have been recovered.
    runs: usize,
}

impl Recovery {
    fn since(since: Timestamp) -> Self {
        Self { since, shards: 0, lost_by: BTreeMap::new(), runs: 0 }
    }

    /// From whom the shards were taken over, in words.
    fn taken_from(&self) -> String {
        let from = self.lost_by.iter().map(|(worker, shards)| format!("{worker} ({shards} shards)"));
        from.collect::<Vec<String>>().join(", ")
    }
}

impl Processor {
    /// Makes the processor of a new lease.
    pub(crate) fn new(config: ProcessorConfig, registry: Registry, claimed: &Claimed) -> Self {
        let memory = Tally::new(config.memory.clone());
        let mut processor = Self {
            inbox: Inbox::new(memory.clone()),
            loads: Loads::new(memory.clone()),
            runs: Runs::new(memory.clone()),
            outbox: Outbox::new(memory.clone(), config.outbox_bytes_max),
            memory,
            shards: OwnedShards::default(),
            needs: Needs::default(),
            deadlines: Deadlines::default(),
            histories: Histories::default(),
            unknown_workflows: UnknownWorkflows::default(),
            suspects: Suspects::new(config.deaths_before_suspicion),
            setup: Setup { config, registry, lease: claimed.lease },
            unknown_activities: BTreeSet::new(),
            appends: Appends::new(),
            recovery: None,
            left_since_read: BTreeSet::new(),
            loaded_after: None,
            told_of_starts: None,
            read_turn: 0,
            work_turn: 0,
        };
        processor.claimed(claimed);
        processor
    }

    fn admission(&mut self) -> Admission<'_> {
        Admission {
            runs: &mut self.runs,
            loads: &mut self.loads,
            suspects: &mut self.suspects,
            outbox: &mut self.outbox,
        }
    }

    fn recorder(&mut self) -> Recorder<'_> {
        Recorder {
            setup: &self.setup,
            memory: &self.memory,
            shards: &self.shards,
            needs: &mut self.needs,
            loads: &mut self.loads,
            runs: &mut self.runs,
            suspects: &mut self.suspects,
            outbox: &mut self.outbox,
            unknown_activities: &mut self.unknown_activities,
        }
    }

    fn intake(&mut self) -> Intake<'_> {
        Intake {
            unknown_workflows: &mut self.unknown_workflows,
            recorder: Recorder {
                setup: &self.setup,
                memory: &self.memory,
                shards: &self.shards,
                needs: &mut self.needs,
                loads: &mut self.loads,
                runs: &mut self.runs,
                suspects: &mut self.suspects,
                outbox: &mut self.outbox,
                unknown_activities: &mut self.unknown_activities,
            },
        }
    }

    // Shards and heartbeats.

    /// A shard that is served by another claim than the store has: the lease lost it meanwhile, and others may have written to
    /// it, so what is in memory cannot be trusted.
    pub(crate) fn claimed_again(&self, claimed: &Claimed) -> Option<ShardId> {
        let is_stale = |claimed: &&ClaimedShard| {
            self.shards.claim_of(claimed.shard).is_some_and(|claim| claim != claimed.claim)
        };
        claimed.shards.iter().find(is_stale).map(|claimed| claimed.shard)
    }

    /// Shards were claimed under this lease: begins to recover their runs.
    pub(crate) fn claimed(&mut self, claimed: &Claimed) {
        // A claim names all shards of the lease, including those that are served already.
        let fresh: Vec<_> = claimed.shards.iter().filter(|claimed| !self.owns(claimed.shard)).collect();
        claimed.shards.iter().for_each(|claimed| self.needs.claim(claimed));
        if fresh.is_empty() {
            return;
        }
        fresh.iter().for_each(|claimed| self.shards.add(claimed));
        self.warn_of_unknown_needs(&fresh);
        let recovery = self.recovery.get_or_insert_with(|| Recovery::since(claimed.now));
        recovery.shards += fresh.len();
        for worker in fresh.iter().filter_map(|claimed| claimed.former.clone()) {
            *recovery.lost_by.entry(worker).or_default() += 1;
        }
        self.admission().claim(&claimed.suspects, &fresh, claimed.now);
        self.loads.recover(fresh.iter().map(|claimed| claimed.shard).collect());
        // A new owner begins without a snapshot and without a watermark. The other shards keep theirs.
        self.inbox.claim(fresh.iter().map(|claimed| claimed.shard).collect());
        self.deadlines.claim(fresh.iter().map(|claimed| claimed.shard).collect());
        // Runs that park with a near deadline stay in memory from now on, although no heartbeat has been sent yet.
        self.runs.keep_until(claimed.now.saturating_add(self.setup.config.horizon));
    }

    pub(crate) fn lease(&self) -> LeaseId {
        self.setup.lease
    }

    /// The shards that it owns and that stay.
    pub(crate) fn kept_shards(&self) -> impl Iterator<Item = ShardId> {
        self.shards.kept()
    }

    fn owns(&self, shard: ShardId) -> bool {
        self.shards.owns(shard)
    }

    /// Returns this processor's part of a heartbeat that is about to be sent.
    pub(crate) fn heartbeat(&mut self, now: Timestamp, ttl: Duration) -> LeaseHeartbeat {
        let due_until = now.saturating_add(self.setup.config.horizon);
        // Runs that park with a deadline before this stay in memory from now on: the query may miss their rows.
        self.runs.keep_until(due_until);
        self.runs.note_heartbeat();
        let recovering = self.is_recovering();
        LeaseHeartbeat {
            lease: self.setup.lease,
            renew: Some(ttl),
            committed: self.appends.committed(),
            deaths_max: self.suspects.pay_off_deaths(now, recovering),
            cursor: self.inbox.cursor(),
            due_after: self.deadlines.heartbeat(),
            due_until,
            live_runs: u32::try_from(self.runs.len()).unwrap_or(u32::MAX),
        }
    }

    /// Takes the answer to that heartbeat.
    pub(crate) fn heartbeat_answered(&mut self, asked: &LeaseHeartbeat, answer: &LeaseAnswer) {
        self.inbox.has_mail(answer.mail);
        self.deadlines.heartbeat_answered(asked, answer.due);
    }

    // Work.

    /// Does the next piece of work: in turn, fires a deadline, delivers a message, replays a part of a history, ends a
    /// trial, makes room, or continues a release. Returns whether there was any.
    pub(crate) fn work(&mut self, turn: &Turn<'_>) -> bool {
        const KINDS: usize = 6;
        (0..KINDS).any(|_| {
            self.work_turn = (self.work_turn + 1) % KINDS;
            match self.work_turn {
                0 => self.fire_next(turn.now),
                1 => self.deliver_next(turn.now),
                2 => self.replay_some(turn),
                3 => self.admission().end_trial(turn.now),
                4 => self.make_room(),
                _ => self.release_some(turn),
            }
        })
    }

    fn fire_next(&mut self, now: Timestamp) -> bool {
        let due = self.runs.next_wake().filter(|(at, _)| *at <= now);
        due.inspect(|(_, run)| self.recorder().fire(*run, now)).is_some()
    }

    fn deliver_next(&mut self, now: Timestamp) -> bool {
        if self.outbox.is_full() {
            return false;
        }
        if let Some((run, received)) = self.runs.next_received() {
            self.recorder().take_in_arrival(run, received, now);
            return true;
        }
        let starts = self.starts();
        if starts == Starts::Welcome
            && let Some((run, waiting)) = self.loads.next_start()
        {
            self.intake().begin_held_back(run, waiting, now);
            return true;
        }
        let Some(message) = self.inbox.take() else { return false };
        if self.shards.serves(message.0.run.shard())
            && let Some(again) = self.intake().deliver(message, starts, now)
        {
            self.inbox.read_again(&again);
        }
        true
    }

    fn replay_some(&mut self, turn: &Turn<'_>) -> bool {
        if self.outbox.is_full() {
            return false;
        }
        let begin = |run| {
            self.runs.work_on(run);
            let judged = self.suspects.is_judged(run).then(|| "it is under suspicion".to_owned());
            match self.runs.why_left_alone(run).cloned().or(judged) {
                Some(why) => Replay::without_code(run, turn.now, why),
                None => Replay::new(run, turn.now),
            }
        };
        let Some(replayed) = self.histories.replay(turn, &self.setup.registry, begin) else { return false };
        if let (ReplayResult::Wholly(_), Some(recovery)) = (&replayed, &mut self.recovery) {
            recovery.runs += 1;
        }
        if let Some((run, too_early)) = self.intake().replayed(replayed, turn) {
            self.inbox.forget(run, &too_early);
        }
        self.log_recovery();
        true
    }

    fn release_some(&mut self, turn: &Turn<'_>) -> bool {
        let next = self.runs.next_release();
        next.inspect(|run| self.recorder().release(*run, turn)).is_some()
    }

    /// The next deadline that [`Processor::work`] is to fire.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.runs.next_wake().map(|(at, _)| at)
    }

    /// The run that was worked on last.
    pub(crate) fn worked_on(&self) -> Option<RunId> {
        self.runs.worked_on()
    }

    /// How many runs are in memory.
    pub(crate) fn live_runs(&self) -> usize {
        self.runs.len()
    }

    /// Whether a trial could begin, if no other processor of this process has one in progress.
    pub(crate) fn wants_trial(&self) -> bool {
        self.suspects.wants_trial(|run| self.loads.is_held(run) && self.shards.keeps(run.shard()))
    }

    /// Whether a trial is in progress.
    pub(crate) fn is_trying(&self) -> bool {
        self.suspects.is_trying()
    }

    /// Begins a trial. No other processor of this process may have one in progress, because they would die together.
    pub(crate) fn begin_trial(&mut self, now: Timestamp) {
        let going = self.shards.going();
        self.admission().begin_trial(&going, now);
    }

    // Recovery.

    /// Whether runs of claimed shards are still to be recovered.
    fn is_recovering(&self) -> bool {
        self.loads.is_recovering() || !self.histories.is_empty()
    }

    /// Logs what was taken over and from whom, once all of it is recovered.
    fn log_recovery(&mut self) {
        if self.is_recovering() {
            return;
        }
        let Some(recovery) = self.recovery.take() else { return };
        self.setup.config.metrics.runs_taken_over.add(recovery.runs as u64);
        let (lease, worker, taken_from) =
            (self.setup.lease, &self.setup.config.worker, recovery.taken_from());
        let Recovery { since, shards, runs, lost_by } = recovery;
        if !lost_by.is_empty() {
            tracing::warn!(
                %lease, worker, shards, runs, taken_from, recovering_since = %since,
                "shards were taken over from workers that died or lost their leases"
            );
        } else if runs > 0 {
            tracing::info!(%lease, worker, shards, runs, recovering_since = %since, "shards were taken over");
        }
    }

    /// Another second may have begun: the log is told what was left out of the one before.
    pub(crate) fn pass_line_limit(&mut self, now: Timestamp) {
        let left_out = self.outbox.line_limit().pass(now.as_micros().unsigned_abs() / 1_000_000);
        write_left_out(&self.setup.config.worker, left_out);
    }

    /// Begins a run that a client of this process starts, if it can begin here.
    pub(crate) fn start_local(&mut self, start: LocalStart, now: Timestamp) {
        if self.shards.keeps(start.run.shard()) {
            self.intake().start_local(start, now);
        }
    }
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processor")
            .field("lease", &self.setup.lease)
            .field("shards", &self.shards.len())
            .field("runs", &self.runs.len())
            .finish_non_exhaustive()
    }
}
