//! The tasks that an executor has: running, ended, or to be given back. It is a state machine without I/O, and must not know
//! what a task does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::data::cancellation::Cancellation;
use crate::data::id::ExecutorId;
use crate::data::limits;
use crate::processor::memory::Room;
use crate::store::tasks::{ReturnTasks, ReturnedTask, SettleTasks, Settled, TaskClaim};

/// The tasks that an executor has.
#[derive(Debug, Default)]
pub(super) struct HeldTasks {
    /// Those that are executed, each with its cancellation.
    running: BTreeMap<TaskClaim, Cancellation>,
    /// How those ended that are not settled yet. They may belong to an earlier lease. Each counts its bytes.
    outcomes: VecDeque<(ExecutorId, TaskClaim, Bytes, Room)>,
    /// Those whose tasks somebody had locked when they were reported.
    locked: Vec<(ExecutorId, TaskClaim, Bytes, Room)>,
    /// Those to give back.
    returns: Vec<ReturnedTask>,
    /// Those that were settled or given back since the last renewal.
    left: BTreeSet<TaskClaim>,
    /// Attempts of this process that an append on its way makes tasks of this executor.
    expected: BTreeSet<TaskClaim>,
    /// Those that became tasks since the last renewal was sent, which may not know of them.
    fresh: BTreeSet<TaskClaim>,
    /// Such attempts that were cancelled, although the append may still be applied.
    interrupted: BTreeSet<TaskClaim>,
}

/// What a renewal found.
#[derive(Debug, Default)]
pub(super) struct Renewed {
    /// The cancellations of tasks that were withdrawn.
    pub(super) withdrawn: Vec<Cancellation>,
    /// Whether the store has forgotten that a task ended: it lost commits.
    pub(super) lost_commits: bool,
}

impl HeldTasks {
    /// A task begins. Returns false if it is running already: then the store lost commits.
    pub(super) fn begin(&mut self, claim: TaskClaim, cancellation: Cancellation) -> bool {
        let of_task = |number| TaskClaim { number, ..claim };
        let known = self.running.range(of_task(0)..=of_task(u32::MAX)).next().is_some();
        if !known {
            self.running.insert(claim, cancellation);
        }
        !known
    }

    /// An append makes these attempts tasks, unless it fails.
    pub(super) fn expect(&mut self, claims: Vec<TaskClaim>) {
        self.expected.extend(claims);
    }

    /// Such an attempt is a task now: it is running, or never began.
    pub(super) fn handed_out(&mut self, claim: TaskClaim, cancellation: Option<Cancellation>) {
        self.expected.remove(&claim);
        match cancellation {
            Some(cancellation) => {
                self.fresh.insert(claim);
                self.running.insert(claim, cancellation);
            }
            None => self.returns.push(never_begun(claim)),
        }
    }

    /// Such attempts were cancelled, and nobody knows whether they are tasks.
    pub(super) fn interrupt(&mut self, claims: Vec<TaskClaim>) {
        self.interrupted.extend(claims.into_iter().filter(|claim| self.expected.remove(claim)));
    }

    /// A task ended. Nothing happens if its outcome is not wanted any more.
    pub(super) fn ended(&mut self, executor: ExecutorId, claim: TaskClaim, outcome: Bytes, room: Room) {
        if self.running.remove(&claim).is_some() {
            self.outcomes.push_back((executor, claim, outcome, room));
        }
    }

    /// A task was settled by its own attempt. The store may say for a moment that the executor still has it, because a renewal
    /// read that earlier: then it is given back, which changes nothing.
    pub(super) fn settled_itself(&mut self, claim: TaskClaim) {
        self.running.remove(&claim);
    }

    /// A task that could not begin is given back.
    pub(super) fn give_back(&mut self, returned: ReturnedTask) {
        self.running.remove(&returned.claim);
        self.returns.push(returned);
    }

    /// Whether a task is running.
    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether the store is to be told of something.
    pub(super) fn has_news(&self) -> bool {
        !self.outcomes.is_empty() || !self.returns.is_empty()
    }

    /// The next outcomes to settle: those of one lease, as many as fit.
    pub(super) fn to_settle(&self) -> Option<SettleTasks> {
        let executor = self.outcomes.front()?.0;
        let mut bytes = 0;
        let fits = |(of, _, body, _): &&(ExecutorId, TaskClaim, Bytes, Room)| {
            let first = bytes == 0;
            bytes += body.len();
            *of == executor && (first || bytes <= limits::TASKS_BYTES_MAX)
        };
        let next = self.outcomes.iter().take(limits::TASKS_BATCH_MAX).take_while(fits);
        let outcomes = next.map(|(_, claim, body, _)| (*claim, body.clone())).collect();
        Some(SettleTasks { executor, outcomes })
    }

    /// These outcomes were reported.
    pub(super) fn settled(&mut self, settled: &SettleTasks, answers: &[Settled]) {
        for (reported, answer) in self.outcomes.drain(..settled.outcomes.len()).zip(answers) {
            match answer {
                Settled::Told | Settled::Late => _ = self.left.insert(reported.1),
                Settled::Locked => self.locked.push(reported),
            }
        }
    }

    /// Whether there are outcomes whose tasks somebody had locked.
    pub(super) fn has_locked(&self) -> bool {
        !self.locked.is_empty()
    }

    /// Has the outcomes reported again whose tasks somebody had locked.
    pub(super) fn ask_again(&mut self) {
        self.outcomes.extend(self.locked.drain(..));
    }

    /// The next tasks to give back.
    pub(super) fn to_return(&self, executor: ExecutorId) -> Option<ReturnTasks> {
        let tasks: Vec<_> = self.returns.iter().take(limits::TASKS_BATCH_MAX).cloned().collect();
        (!tasks.is_empty()).then_some(ReturnTasks { executor, tasks, ends: false })
    }

    /// These tasks are given back.
    pub(super) fn returned(&mut self, returned: &ReturnTasks) {
        self.returns.drain(..returned.tasks.len());
        self.left.extend(returned.tasks.iter().map(|task| task.claim));
    }

    /// A renewal is about to be sent.
    pub(super) fn renewing(&mut self) {
        self.fresh.clear();
    }

    /// Compares what the executor has with what the store says. Tasks that only the store knows of were claimed by a call
    /// whose answer was lost: they never began, and are given back.
    pub(super) fn renewed(&mut self, held: &[TaskClaim]) -> Renewed {
        let held: BTreeSet<TaskClaim> = held.iter().copied().collect();
        let mut found = Renewed::default();
        let is_gone = |claim: &&TaskClaim| !held.contains(claim) && !self.fresh.contains(claim);
        let withdrawn: Vec<_> = self.running.keys().filter(is_gone).copied().collect();
        found.withdrawn.extend(withdrawn.iter().filter_map(|claim| self.running.remove(claim)));
        let mut known: BTreeSet<TaskClaim> = self.running.keys().copied().collect();
        known.extend(self.outcomes.iter().chain(&self.locked).map(|(_, claim, ..)| *claim));
        known.extend(self.returns.iter().map(|task| task.claim));
        known.extend(&self.expected);
        for claim in held.difference(&known) {
            found.lost_commits |= self.left.contains(claim);
            let begun = self.interrupted.remove(claim);
            self.returns.push(ReturnedTask { begun, ..never_begun(*claim) });
        }
        self.left.clear();
        found
    }

    /// The lease is lost: returns the cancellations of all running tasks, whose outcomes are not wanted any more.
    pub(super) fn lose(&mut self) -> Vec<Cancellation> {
        self.returns.clear();
        self.left.clear();
        self.expected.clear();
        self.fresh.clear();
        self.interrupted.clear();
        std::mem::take(&mut self.running).into_values().collect()
    }

    /// The executor ends: gives back what is still running, as far as it may be executed again. Returns the cancellations.
    pub(super) fn end(&mut self) -> Vec<Cancellation> {
        let (claims, cancellations): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running).into_iter().unzip();
        let interrupted = |claim| ReturnedTask { begun: true, ..never_begun(claim) };
        self.returns.extend(claims.into_iter().map(interrupted));
        cancellations
    }
}

fn never_begun(claim: TaskClaim) -> ReturnedTask {
    ReturnedTask { claim, begun: false, pause: Duration::ZERO, problem: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::id::EventSeq;
    use crate::processor::memory::MemoryBudget;
    use crate::store::tasks::TaskId;
    use crate::testing::run_id;

    const EXECUTOR: ExecutorId = ExecutorId::FIRST;

    fn claim(seq: u32, number: u32) -> TaskClaim {
        TaskClaim { task: TaskId { run: run_id(1), seq: EventSeq::new(seq) }, number }
    }

    fn room() -> Room {
        MemoryBudget::new(usize::MAX).take(0)
    }

    /// An executor in which these tasks are running.
    fn running(claims: &[TaskClaim]) -> HeldTasks {
        let mut held = HeldTasks::default();
        claims.iter().for_each(|claim| assert!(held.begin(*claim, Cancellation::default())));
        held
    }

    fn given_back(held: &HeldTasks) -> Vec<TaskClaim> {
        let returns = held.to_return(EXECUTOR).map(|returned| returned.tasks).unwrap_or_default();
        returns.into_iter().map(|task| task.claim).collect()
    }

    #[test]
    fn task_that_the_store_does_not_know_any_more_was_withdrawn() {
        let mut held = running(&[claim(1, 1), claim(2, 1)]);
        let found = held.renewed(&[claim(2, 1)]);
        assert_eq!((found.withdrawn.len(), found.lost_commits), (1, false));
        held.ended(EXECUTOR, claim(1, 1), Bytes::new(), room());
        assert!(held.to_settle().is_none(), "its outcome is not wanted");
        held.ended(EXECUTOR, claim(2, 1), Bytes::new(), room());
        assert_eq!(held.to_settle().unwrap().outcomes.len(), 1);
    }

    #[test]
    fn task_of_a_claim_whose_answer_was_lost_is_given_back() {
        let mut held = running(&[claim(1, 1)]);
        let found = held.renewed(&[claim(1, 1), claim(2, 3)]);
        assert!(!found.lost_commits && found.withdrawn.is_empty());
        assert_eq!(given_back(&held), [claim(2, 3)]);
        // Once only, however often the store says so before it is given back.
        held.renewed(&[claim(1, 1), claim(2, 3)]);
        assert_eq!(given_back(&held), [claim(2, 3)]);
    }

    #[test]
    fn attempt_that_becomes_a_task_is_neither_withdrawn_nor_given_back_meanwhile() {
        // Given two attempts that an append makes tasks
        let mut held = running(&[]);
        held.expect(vec![claim(1, 1), claim(2, 1)]);
        // When a renewal comes before the append, and another one after it
        for known in [vec![], vec![claim(1, 1), claim(2, 1)]] {
            let found = held.renewed(&known);
            assert!(!found.lost_commits && found.withdrawn.is_empty() && given_back(&held).is_empty());
        }
        // Then they are tasks as soon as the driver says so; one that never began is given back
        held.renewing();
        held.handed_out(claim(1, 1), Some(Cancellation::default()));
        held.handed_out(claim(2, 1), None);
        assert!(held.renewed(&[]).withdrawn.is_empty(), "that renewal was sent before");
        assert_eq!(given_back(&held), [claim(2, 1)]);
        held.ended(EXECUTOR, claim(1, 1), Bytes::new(), room());
        assert_eq!(held.to_settle().unwrap().outcomes.len(), 1);
    }

    #[test]
    fn interrupted_attempt_that_became_a_task_after_all_is_given_back_as_begun() {
        let mut held = running(&[]);
        held.expect(vec![claim(1, 1), claim(2, 1)]);
        held.interrupt(vec![claim(1, 1), claim(2, 1)]);
        assert!(held.to_return(EXECUTOR).is_none());
        held.renewed(&[claim(2, 1)]);
        let returned = held.to_return(EXECUTOR).unwrap().tasks;
        assert_eq!(
            returned.iter().map(|task| (task.claim, task.begun)).collect::<Vec<_>>(),
            [(claim(2, 1), true)]
        );
    }

    #[test]
    fn settled_task_that_the_store_still_knows_shows_lost_commits() {
        let mut held = running(&[claim(1, 1)]);
        held.ended(EXECUTOR, claim(1, 1), Bytes::new(), room());
        assert!(!held.renewed(&[claim(1, 1)]).lost_commits, "it is not settled yet");
        let settle = held.to_settle().unwrap();
        held.settled(&settle, &[Settled::Told]);
        assert!(held.renewed(&[claim(1, 1)]).lost_commits);
        // It is forgotten at the next renewal, when the lease that lost commits would be refused.
        held.lose();
        assert!(!held.renewed(&[]).lost_commits);
    }

    #[test]
    fn outcomes_are_settled_in_batches_of_one_lease() {
        let mut held = running(&[claim(1, 1), claim(2, 1), claim(3, 1), claim(4, 1)]);
        let large = Bytes::from(vec![0; limits::TASKS_BYTES_MAX]);
        held.ended(EXECUTOR, claim(1, 1), large.clone(), room());
        held.ended(EXECUTOR, claim(2, 1), large, room());
        held.ended(EXECUTOR, claim(3, 1), Bytes::new(), room());
        held.ended(EXECUTOR.next(), claim(4, 1), Bytes::new(), room());
        let mut batches = Vec::new();
        while let Some(settle) = held.to_settle() {
            batches.push((settle.executor, settle.outcomes.len()));
            held.settled(&settle, &vec![Settled::Told; settle.outcomes.len()]);
        }
        assert_eq!(batches, [(EXECUTOR, 1), (EXECUTOR, 2), (EXECUTOR.next(), 1)]);
    }

    #[test]
    fn outcome_of_a_locked_task_is_reported_again_and_the_others_do_not_wait() {
        let mut held = running(&[claim(1, 1), claim(2, 1)]);
        [1, 2].into_iter().for_each(|seq| held.ended(EXECUTOR, claim(seq, 1), Bytes::new(), room()));
        let settle = held.to_settle().unwrap();
        held.settled(&settle, &[Settled::Locked, Settled::Told]);
        assert!(held.has_locked() && held.to_settle().is_none());
        // A shutdown does not wait for it, and a renewal does not give it back.
        assert!(!held.has_news());
        held.renewed(&[claim(1, 1)]);
        assert_eq!(given_back(&held), []);
        held.ask_again();
        assert_eq!(held.to_settle().unwrap().outcomes, [(claim(1, 1), Bytes::new())]);
        held.settled(&held.to_settle().unwrap(), &[Settled::Late]);
        assert!(!held.has_locked() && held.to_settle().is_none());
    }

    #[test]
    fn task_that_was_settled_by_its_attempt_is_no_sign_of_lost_commits() {
        // Given a renewal that read the task before it was settled
        let mut held = running(&[claim(1, 1)]);
        held.settled_itself(claim(1, 1));
        assert!(!held.is_running());
        // Then giving it back changes nothing
        assert!(!held.renewed(&[claim(1, 1)]).lost_commits);
        assert_eq!(given_back(&held), [claim(1, 1)]);
    }

    #[test]
    fn executor_that_ends_gives_running_tasks_back_as_begun() {
        let mut held = running(&[claim(1, 1)]);
        assert_eq!(held.end().len(), 1, "its cancellation");
        let returned = held.to_return(EXECUTOR).unwrap().tasks;
        assert_eq!((returned[0].claim, returned[0].begun), (claim(1, 1), true));
    }

    #[test]
    fn task_that_runs_already_does_not_begin_again() {
        let mut held = running(&[claim(1, 1)]);
        assert!(!held.begin(claim(1, 2), Cancellation::default()));
        assert_eq!(held.lose().len(), 1);
        assert!(held.begin(claim(1, 2), Cancellation::default()));
    }
}
