//! Decides which runs may be worked on, and when: in a shard whose owners keep dying, a run is first marked in the store,
//! and suspects are tried apart from other runs. It must not know how a run is worked on.

use std::collections::BTreeSet;

use crate::data::id::{RunId, ShardId};
use crate::data::time::Timestamp;
use crate::processor::group::{Group, SuspectChange};
use crate::processor::loads::Loads;
use crate::processor::outbox::Outbox;
use crate::processor::received::Received;
use crate::processor::runs::Runs;
use crate::processor::suspects::{Gate, Suspects, why_set_aside};
use crate::store::history::DueMark;
use crate::store::lease::{ClaimedShard, Suspect, SuspectStage};

/// The parts that decide which runs may be worked on.
pub(super) struct Admission<'a> {
    pub(super) runs: &'a mut Runs,
    pub(super) loads: &'a mut Loads,
    pub(super) suspects: &'a mut Suspects,
    pub(super) outbox: &'a mut Outbox,
}

impl Admission<'_> {
    /// Takes the suspects of claimed shards.
    pub(super) fn claim(&mut self, found: &[Suspect], fresh: &[&ClaimedShard], now: Timestamp) {
        self.suspects.claimed(fresh);
        let is_fresh = |suspect: &&Suspect| fresh.iter().any(|claimed| claimed.shard == suspect.run.shard());
        let (aside, found): (Vec<Suspect>, Vec<Suspect>) =
            found.iter().filter(is_fresh).partition(|suspect| suspect.stage == SuspectStage::SetAside);
        for suspect in aside {
            self.suspects.find_aside(suspect.run);
            self.runs.leave_alone(suspect.run, why_set_aside(suspect.strikes));
            // The owner that set it aside may have died before it logged why the run is stalled.
            self.loads.want(suspect.run, Vec::new());
        }
        let died =
            |run: RunId| fresh.iter().any(|claimed| claimed.shard == run.shard() && claimed.former.is_some());
        for run in self.suspects.found(found, died, now) {
            self.outbox.push(Group::of_suspect(run, SuspectChange::Clear));
        }
    }

    /// Has a run loaded for the messages that wait for it, as soon as it may be worked on.
    pub(super) fn want(&mut self, run: RunId, waiting: Vec<Received>) {
        if self.loads.expects(run) || self.may_work_on(run) {
            self.loads.want(run, waiting);
        } else {
            self.loads.hold(run, waiting);
        }
    }

    /// Has a run with a near deadline loaded, unless it is in memory or left alone.
    pub(super) fn want_due(&mut self, due: DueMark) {
        let run = due.run;
        let is_here = self.runs.contains(run) || self.loads.expects(run);
        if is_here || self.runs.is_left_alone(run) {
            return;
        }
        if self.may_work_on(run) {
            self.loads.want_due(due);
        } else {
            self.loads.hold(run, Vec::new());
        }
    }

    /// Has a run that was busy or stalled when its shard was claimed loaded.
    pub(super) fn want_recovered(&mut self, run: RunId) {
        if self.runs.contains(run) || self.runs.is_left_alone(run) || self.loads.expects(run) {
            return;
        }
        if self.may_work_on(run) {
            self.loads.want_recovered(run);
        } else {
            self.loads.hold(run, Vec::new());
        }
    }

    /// Whether a run that is not in memory may be worked on. If it needs a mark in the store first, queues the mark.
    fn may_work_on(&mut self, run: RunId) -> bool {
        if !self.suspects.is_suspicious(run) || self.runs.is_left_alone(run) {
            return true;
        }
        let gate = self.suspects.gate(run);
        if let Gate::AfterMark(suspect) = gate {
            self.outbox.push(Group::of_suspect(run, SuspectChange::Mark(suspect)));
        }
        gate == Gate::Open
    }

    /// Begins a trial of runs outside of the shards that are `going` to another owner. No other processor of this process may
    /// have one in progress, because they would die together.
    pub(super) fn begin_trial(&mut self, going: &BTreeSet<ShardId>, now: Timestamp) {
        let loads = &self.loads;
        let waits = |run: RunId| loads.is_held(run) && !going.contains(&run.shard());
        for suspect in self.suspects.begin_trial(now, waits) {
            let alone = self.suspects.is_tried_alone(suspect.run);
            tracing::warn!(run = %suspect.run, stage = ?suspect.stage, strikes = suspect.strikes, alone, "the run is under suspicion");
            self.outbox.push(Group::of_suspect(suspect.run, SuspectChange::Mark(suspect)));
        }
    }

    /// Ends the trial in progress once its runs have nothing left to do. Returns whether it ended.
    pub(super) fn end_trial(&mut self, now: Timestamp) -> bool {
        let (runs, loads) = (&self.runs, &self.loads);
        let is_expected = |run| loads.expects(run) || runs.is_receiving(run);
        let is_done = |run| !is_expected(run) && runs.get(run).is_none_or(|live| live.is_done(now));
        let is_in_memory = |run| loads.expects(run) || runs.contains(run);
        let changes = self.suspects.end_trial(now, is_done, is_in_memory);
        for (run, change) in &changes {
            tracing::info!(%run, "the run is no longer a suspect: the process survived its trial");
            self.outbox.push(Group::of_suspect(*run, *change));
        }
        !changes.is_empty()
    }

    /// Sets a run aside: no more work is done for it. Returns the reason.
    pub(super) fn set_aside(&mut self, run: RunId) -> String {
        let mark = self.suspects.set_aside(run);
        let reason = why_set_aside(mark.strikes);
        tracing::error!(%run, "the run is set aside: {reason}");
        self.runs.leave_alone(run, reason.clone());
        self.outbox.push(Group::of_suspect(run, SuspectChange::Mark(mark)));
        reason
    }
}
