//! Appends and their results: a commit releases effects, and a refusal stalls the run that is to blame. It must not know
//! what a run writes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::data::id::RunId;
use crate::processor::Processor;
use crate::processor::appends::Declined;
use crate::processor::effect::Effect;
use crate::processor::group::{QueuedGroup, SuspectChange};
use crate::processor::live::Live;
use crate::store::append::{Append, Appended};
use crate::store::lease::{Suspect, SuspectStage};

impl Processor {
    /// Returns the next append, if none is in flight and there is something to write.
    pub(crate) fn cut(&mut self) -> Option<Arc<Append>> {
        let may_release = self.appends.may_release();
        let mut groups = self.appends.next_groups(&mut self.outbox);
        while let Some(idle) =
            groups.take_if(|groups| !groups.is_empty() && groups.iter().all(|group| group.writes_nothing()))
        {
            self.committed(idle);
            groups = self.appends.next_groups(&mut self.outbox);
        }
        let leaving = if may_release { self.leave() } else { BTreeSet::new() };
        if groups.is_none() && leaving.is_empty() {
            return None;
        }
        let groups = groups.unwrap_or_default();
        Some(self.appends.cut(self.setup.lease, groups, (leaving, self.needs.fresh()), &mut self.shards))
    }

    /// The append in flight was applied.
    pub(crate) fn appended(&mut self, _answer: Appended) {
        let Some((append, groups)) = self.appends.succeeded() else { return };
        let messages = append.consumed.len() + append.undelivered.len();
        self.setup.config.metrics.messages_taken.add(messages as u64);
        self.inbox.settle(append.consumed.iter().chain(&append.undelivered));
        self.needs.appended(&append);
        self.released(&append.released);
        self.committed(groups);
    }

    /// These groups are committed: their lines are written, their effects may begin, and idle runs leave memory.
    fn committed(&mut self, groups: Vec<QueuedGroup>) {
        self.outbox.make_room(groups.iter().map(|group| group.effects.len()).sum());
        for group in groups {
            group.lines.iter().for_each(|line| line.write(self.outbox.line_limit()));
            group.counts.add_to(&self.setup.config.metrics);
            self.outbox.cause(group.effects);
            if let Some(SuspectChange::Mark(Suspect { stage, run, .. })) = group.suspect
                && matches!(stage, SuspectStage::Marked | SuspectStage::Tried)
            {
                self.loads.admit(run);
            }
            let (run, counted) = (group.run, group.counted);
            if let Some(begun) = group.successor {
                self.setup.config.metrics.runs_started.add(1);
                self.begin_successor(*begun);
            }
            if counted && self.runs.get_mut(run).is_some_and(Live::committed) {
                self.recorder().evict_if_idle(run);
            }
        }
    }

    /// The store did not take the append in flight.
    pub(crate) fn declined(&mut self, why: Declined, reason: &str) {
        if let Some(run) = self.appends.declined(why, &mut self.shards, &mut self.outbox) {
            self.refuse(run, reason);
        }
    }

    /// The store refuses what this run writes: its queued groups are dropped, it stalls, and nothing more is written for it
    /// until it is resumed or another worker takes over.
    fn refuse(&mut self, id: RunId, reason: &str) {
        tracing::error!(run = %id, "the store refuses what the run writes: {reason}");
        let dropped = self.outbox.drop_run(id);
        if !self.shards.serves(id.shard()) {
            // Its next owner finds the run as it was before, and that the store refuses what it writes.
            return;
        }
        dropped.into_iter().for_each(|message| self.runs.pass_over(id, message));
        let mut waiting = VecDeque::new();
        let successor = self.runs.undo_continuation(id);
        if let Some((mut live, arrivals)) = self.runs.forget(id) {
            waiting = arrivals;
            waiting.extend(successor.into_iter().flat_map(|successor| self.loads.unhold(successor)));
            self.outbox.cause(live.executing().drop_all().map(|call| Effect::Abort { run: id, id: call }));
        }
        // If it is refused again, not even its stall can be written.
        if self.runs.leave_alone(id, format!("the store refuses what the run writes: {reason}")) {
            self.loads.want(id, waiting);
        } else {
            waiting.into_iter().for_each(|received| self.runs.pass_over(id, received.reference));
        }
    }

    /// Takes the effects that may begin now. Attempts and steps of a shard that goes to another owner begin there.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        let mut effects = self.outbox.take_effects();
        effects.retain(|effect| match effect {
            Effect::Execute(attempt) => self.shards.keeps(attempt.run.shard()),
            Effect::ExecuteStep { run, .. } => self.shards.keeps(run.shard()),
            Effect::Abort { .. }
            | Effect::HandOut { .. }
            | Effect::Withdraw { .. }
            | Effect::StartChild(_)
            | Effect::FindQueue { .. }
            | Effect::Accept { .. }
            | Effect::Tell { .. } => true,
        });
        effects
    }

    /// Whether nothing is to be appended, and nothing is in flight.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.appends.is_in_flight() && self.outbox.is_empty() && self.shards.to_release().next().is_none()
    }
}
