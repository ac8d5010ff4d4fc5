//! The attempts and steps that a driver handed to the executor and that have not ended. It must not know what they do.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::data::cancellation::Cancellation;
use crate::data::id::{CommandId, LeaseId, RunId, ShardId};
use crate::data::id_map::IdMap;
use crate::log::attempt::Attempt;
use crate::store::tasks::{HeldTask, TaskClaim};
use crate::worker::environment::Environment;
use crate::worker::executor::{AttemptOutcome, LeaseTrust, StartPermit, StepOf, cancel};
use crate::worker::input::{EndedStep, Input};
use crate::worker::tasks::input::{TaskInput, TaskOf};
use crate::worker::ticket::{HandedOutAs, Ticket};

/// What the executor has of one driver.
pub(super) struct HandedOut {
    lease: LeaseId,
    by_call: IdMap<(RunId, CommandId), Handed>,
    /// How many of these keep a shard from going to another owner: not those that become tasks.
    by_shard: IdMap<ShardId, usize>,
    /// How many there have been.
    numbered: u64,
}

struct Handed {
    /// An attempt may be handed out twice, if its shard goes to another owner and comes back. Only the outcome of the second
    /// time counts then.
    number: u64,
    cancellation: Cancellation,
    /// None for a step, which only this process can execute.
    ticket: Option<Arc<Ticket>>,
    /// The claim of the task that the attempt becomes with an append that is on its way. Few attempts have one, and all
    /// others fit with their key into 64 bytes, a line of a processor's cache.
    becomes: Option<Box<TaskClaim>>,
}

impl HandedOut {
    pub(super) fn of(lease: LeaseId) -> Self {
        Self { lease, by_call: IdMap::default(), by_shard: IdMap::default(), numbered: 0 }
    }

    /// Has an attempt executed. It begins only while the lease can be trusted.
    pub(super) fn execute(&mut self, with: &Environment, trust: &Arc<LeaseTrust>, attempt: Box<Attempt>) {
        let (lease, run, id, number) = (self.lease, attempt.run, attempt.id, attempt.attempt);
        let (cancellation, outbox, tasks) = (with.attempts.child(), with.outbox.clone(), with.tasks.clone());
        let ticket = Arc::new(Ticket::default());
        let handed = self.begin(run, id, cancellation.clone(), Some(Arc::clone(&ticket)));
        let permit =
            StartPermit { cancellation, trust: Arc::clone(trust), ticket: Some(Arc::clone(&ticket)) };
        with.executor.execute(&with.registry, attempt, permit, move |outcome| match ticket.end(outcome) {
            Some((task, outcome)) => {
                drop(tasks.send(TaskInput::Ended { task, of: TaskOf::handed_out(id), outcome }))
            }
            None => drop(outbox.send(Input::AttemptEnded { lease, run, id, attempt: number, handed })),
        });
    }

    /// Has a step executed, likewise.
    pub(super) fn execute_step(&mut self, with: &Environment, trust: &Arc<LeaseTrust>, step: StepOf) {
        let (lease, run, id, name) = (self.lease, step.run, step.step.id, step.step.name.clone());
        let (cancellation, outbox) = (with.attempts.child(), with.outbox.clone());
        let handed = self.begin(run, id, cancellation.clone(), None);
        let permit = StartPermit { cancellation, trust: Arc::clone(trust), ticket: None };
        with.executor.execute_step(step, permit, move |result, room| {
            let ended = Box::new(EndedStep { step: name, result, room });
            drop(outbox.send(Input::StepEnded { lease, run, id, handed, ended }));
        });
    }

    /// An attempt or a step is handed to the executor. Returns its number.
    fn begin(
        &mut self,
        run: RunId,
        call: CommandId,
        cancellation: Cancellation,
        ticket: Option<Arc<Ticket>>,
    ) -> u64 {
        self.numbered += 1;
        let number = self.numbered;
        *self.by_shard.entry(run.shard()).or_default() += 1;
        let earlier =
            self.by_call.insert((run, call), Handed { number, cancellation, ticket, becomes: None });
        if let Some(earlier) = earlier {
            cancel(&self.removed(run, earlier).cancellation);
        }
        number
    }

    /// An attempt ended. Returns its outcome if that is wanted here: not if the attempt is about to become a task.
    pub(super) fn end_attempt(&mut self, run: RunId, call: CommandId, number: u64) -> Option<AttemptOutcome> {
        self.remove_if(run, call, number)?.ticket?.take()
    }

    /// A step ended. Returns whether its outcome is wanted.
    pub(super) fn end_step(&mut self, run: RunId, call: CommandId, number: u64) -> bool {
        self.remove_if(run, call, number).is_some()
    }

    fn remove_if(&mut self, run: RunId, call: CommandId, number: u64) -> Option<Handed> {
        let Entry::Occupied(entry) = self.by_call.entry((run, call)) else { return None };
        if entry.get().number != number || entry.get().becomes.is_some() {
            return None;
        }
        let handed = entry.remove();
        Some(self.removed(run, handed))
    }

    /// Its outcome is no longer wanted: cancels it.
    pub(super) fn abort(&mut self, run: RunId, call: CommandId) {
        self.remove(run, call).into_iter().for_each(|handed| cancel(&handed.cancellation));
    }

    fn remove(&mut self, run: RunId, call: CommandId) -> Option<Handed> {
        let handed = self.by_call.remove(&(run, call))?;
        Some(self.removed(run, handed))
    }

    /// It is in the map no more.
    fn removed(&mut self, run: RunId, handed: Handed) -> Handed {
        if handed.becomes.is_none() {
            self.uncount(run.shard());
        }
        handed
    }

    fn uncount(&mut self, shard: ShardId) {
        if let Some(count) = self.by_shard.get_mut(&shard) {
            *count -= 1;
        }
    }

    /// The attempts in these shards that are not about to become tasks, ascending.
    pub(super) fn attempts_in(&self, is_of: impl Fn(ShardId) -> bool) -> Vec<(RunId, CommandId)> {
        if self.by_shard.sorted().into_iter().all(|(shard, count)| *count == 0 || !is_of(*shard)) {
            return Vec::new();
        }
        let all = self.by_call.sorted().into_iter();
        let attempts = all.filter(|(_, handed)| handed.ticket.is_some() && handed.becomes.is_none());
        attempts.map(|(call, _)| *call).filter(|(run, _)| is_of(run.shard())).collect()
    }

    /// An append makes an attempt a task. From now on its outcome is not taken.
    pub(super) fn becomes(&mut self, run: RunId, call: CommandId, claim: TaskClaim) {
        if let Some(handed) = self.by_call.get_mut(&(run, call)) {
            handed.becomes = Some(Box::new(claim));
            self.uncount(run.shard());
        }
    }

    /// The attempt is a task of this process: its task loop has it.
    pub(super) fn hand_out(&mut self, with: &Environment, call: CommandId, task: HeldTask) {
        let run = task.claim.task.run;
        let handed =
            self.by_call.get(&(run, call)).filter(|handed| handed.becomes.as_deref() == Some(&task.claim));
        let ticket = handed.and_then(|handed| handed.ticket.clone());
        let handed = ticket.is_some().then(|| self.remove(run, call)).flatten();
        let cancellation = handed.map(|handed| handed.cancellation);
        // Without a task loop, the worker is about to end, and the task counts as lost.
        let tell = |input| drop(with.tasks.send(input));
        match ticket.map_or(HandedOutAs::NeverBegun, |ticket| ticket.hand_out(task)) {
            HandedOutAs::NeverBegun => {
                cancellation.iter().for_each(cancel);
                tell(TaskInput::HandedOut { task, cancellation: None });
            }
            HandedOutAs::Running => tell(TaskInput::HandedOut { task, cancellation }),
            HandedOutAs::Ended(outcome) => {
                tell(TaskInput::HandedOut { task, cancellation });
                tell(TaskInput::Ended { task, of: TaskOf::handed_out(call), outcome });
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_call.is_empty()
    }

    /// Whether the executor has this attempt.
    pub(super) fn has(&self, run: RunId, call: CommandId) -> bool {
        self.by_call.contains_key(&(run, call))
    }

    /// How many there are of runs of this shard, without those that become tasks.
    pub(super) fn count(&self, shard: ShardId) -> usize {
        self.by_shard.get(&shard).copied().unwrap_or(0)
    }

    /// Cancels all of them. Returns those that were about to become tasks.
    pub(super) fn cancel_all(&self) -> Vec<TaskClaim> {
        let all = self.by_call.sorted();
        all.iter().for_each(|(_, handed)| cancel(&handed.cancellation));
        all.into_iter().filter_map(|(_, handed)| handed.becomes.as_deref().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::id::{EventSeq, ExecutorId};
    use crate::store::tasks::TaskId;
    use crate::testing::{LEASE, call, run_id};

    fn ticket() -> Option<Arc<Ticket>> {
        let ticket = Ticket::default();
        assert!(ticket.begin());
        Some(Arc::new(ticket))
    }

    fn end(ticket: &Option<Arc<Ticket>>) {
        assert!(ticket.as_ref().unwrap().end(AttemptOutcome::Unreadable(String::new())).is_none());
    }

    #[test]
    fn only_the_outcome_of_the_last_hand_out_is_wanted() {
        // Given an attempt that was cancelled because its shard left, and that is handed out again
        let (mut handed_out, cancellation) = (HandedOut::of(LEASE), Cancellation::default());
        let (run, shard) = (run_id(1), run_id(1).shard());
        let (first, second) = (ticket(), ticket());
        let earlier = handed_out.begin(run, call(1), cancellation.clone(), first.clone());
        assert_eq!(handed_out.count(shard), 1);
        handed_out.abort(run, call(1));
        assert!(cancellation.is_cancelled() && handed_out.is_empty() && handed_out.count(shard) == 0);
        let later = handed_out.begin(run, call(1), Cancellation::default(), second.clone());

        // Then the late outcome of the first time does not count
        end(&first);
        assert!(handed_out.end_attempt(run, call(1), earlier).is_none());
        assert_eq!(handed_out.count(shard), 1);
        end(&second);
        assert!(handed_out.end_attempt(run, call(1), later).is_some());
        assert!(handed_out.is_empty() && handed_out.count(shard) == 0);
    }

    #[test]
    fn outcome_of_an_attempt_that_is_about_to_become_a_task_stays() {
        // Given an attempt and a step
        let (mut handed_out, cancellation) = (HandedOut::of(LEASE), Cancellation::default());
        let (run, ticket) = (run_id(1), ticket());
        let number = handed_out.begin(run, call(1), cancellation.clone(), ticket.clone());
        let step = handed_out.begin(run, call(2), cancellation.clone(), None);
        assert_eq!(handed_out.attempts_in(|_| true), [(run, call(1))], "no other process can execute a step");
        // When an append on its way makes the attempt a task, and the attempt ends
        let claim = TaskClaim { task: TaskId { run, seq: EventSeq::new(4) }, number: 1 };
        handed_out.becomes(run, call(1), claim);
        assert!(handed_out.attempts_in(|_| true).is_empty(), "once is enough");
        assert_eq!(handed_out.count(run.shard()), 1, "only the step keeps the shard");
        end(&ticket);
        // Then its outcome waits for the task
        assert!(handed_out.end_attempt(run, call(1), number).is_none());
        let task = HeldTask { executor: ExecutorId::FIRST, claim };
        assert!(matches!(ticket.unwrap().hand_out(task), HandedOutAs::Ended(_)));
        // And if there is no such append, it counts as interrupted
        assert_eq!(handed_out.cancel_all(), [claim]);
        assert!(cancellation.is_cancelled() && handed_out.end_step(run, call(2), step));
    }
}
