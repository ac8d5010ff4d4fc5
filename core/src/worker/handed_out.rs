//! The attempts and steps that a driver handed to the executor and that have not ended. It must not know what they do.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::data::id::{CommandId, LeaseId, RunId, ShardId};
use crate::data::id_map::IdMap;
use crate::data::name::Name;
use crate::processor::effect::Attempt;
use crate::worker::environment::Environment;
use crate::worker::executor::{LeaseTrust, StartPermit, cancel};
use crate::worker::input::Input;
use crate::workflow::command::StepRequest;

/// What the executor has of one driver.
pub(super) struct HandedOut {
    lease: LeaseId,
    by_call: IdMap<(RunId, CommandId), Handed>,
    by_shard: IdMap<ShardId, usize>,
    /// How many there have been.
    numbered: u64,
}

struct Handed {
    /// An attempt may be handed out twice, if its shard goes to another owner and comes back. Only the outcome of the second
    /// time counts then.
    number: u64,
    token: CancellationToken,
}

impl HandedOut {
    pub(super) fn of(lease: LeaseId) -> Self {
        Self { lease, by_call: IdMap::default(), by_shard: IdMap::default(), numbered: 0 }
    }

    /// Has an attempt executed. It begins only while the lease can be trusted.
    pub(super) fn execute(&mut self, with: &Environment, trust: &Arc<LeaseTrust>, attempt: Box<Attempt>) {
        let (lease, run, id, number) = (self.lease, attempt.run, attempt.id, attempt.attempt);
        let (token, outbox) = (with.attempts.child_token(), with.outbox.clone());
        let handed = self.begin(run, id, token.clone());
        let permit = StartPermit { token, trust: Arc::clone(trust) };
        with.executor.execute(&with.registry, attempt, permit, move |outcome| {
            drop(outbox.send(Input::AttemptEnded { lease, run, id, attempt: number, handed, outcome }));
        });
    }

    /// Has a step executed, likewise.
    pub(super) fn execute_step(
        &mut self,
        with: &Environment,
        trust: &Arc<LeaseTrust>,
        run: RunId,
        workflow: Name,
        step: Box<StepRequest>,
    ) {
        let (lease, id, name) = (self.lease, step.id, step.name.clone());
        let (token, outbox) = (with.attempts.child_token(), with.outbox.clone());
        let handed = self.begin(run, id, token.clone());
        let permit = StartPermit { token, trust: Arc::clone(trust) };
        with.executor.execute_step(run, workflow, step, permit, move |result| {
            drop(outbox.send(Input::StepEnded { lease, run, id, step: name, handed, result }));
        });
    }

    /// An attempt or a step is handed out. Returns its number.
    fn begin(&mut self, run: RunId, call: CommandId, token: CancellationToken) -> u64 {
        self.numbered += 1;
        let number = self.numbered;
        if self.by_call.insert((run, call), Handed { number, token }).is_none() {
            *self.by_shard.entry(run.shard()).or_default() += 1;
        }
        number
    }

    /// It ended. Returns whether its outcome is wanted.
    pub(super) fn end(&mut self, run: RunId, call: CommandId, number: u64) -> bool {
        let is_wanted = self.by_call.get(&(run, call)).is_some_and(|handed| handed.number == number);
        is_wanted && self.remove(run, call).is_some()
    }

    /// Its outcome is no longer wanted: cancels it.
    pub(super) fn abort(&mut self, run: RunId, call: CommandId) {
        self.remove(run, call).into_iter().for_each(|token| cancel(&token));
    }

    fn remove(&mut self, run: RunId, call: CommandId) -> Option<CancellationToken> {
        let Handed { token, .. } = self.by_call.remove(&(run, call))?;
        if let Some(count) = self.by_shard.get_mut(&run.shard()) {
            *count -= 1;
        }
        Some(token)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_call.is_empty()
    }

    /// How many there are of runs of this shard.
    pub(super) fn count(&self, shard: ShardId) -> usize {
        self.by_shard.get(&shard).copied().unwrap_or(0)
    }

    /// Cancels all of them.
    pub(super) fn cancel_all(&self) {
        self.by_call.sorted().into_iter().for_each(|(_, handed)| cancel(&handed.token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{LEASE, call, run_id};

    #[test]
    fn only_the_outcome_of_the_last_hand_out_is_wanted() {
        // Given an attempt that was cancelled because its shard left, and that is handed out again
        let (mut handed_out, token) = (HandedOut::of(LEASE), CancellationToken::new());
        let (run, shard) = (run_id(1), run_id(1).shard());
        let first = handed_out.begin(run, call(1), token.clone());
        assert_eq!(handed_out.count(shard), 1);
        handed_out.abort(run, call(1));
        assert!(token.is_cancelled() && handed_out.is_empty() && handed_out.count(shard) == 0);
        let second = handed_out.begin(run, call(1), CancellationToken::new());

        // Then the late outcome of the first time does not count
        assert!(!handed_out.end(run, call(1), first));
        assert_eq!(handed_out.count(shard), 1);
        assert!(handed_out.end(run, call(1), second));
        assert!(handed_out.is_empty() && handed_out.count(shard) == 0);
    }
}
