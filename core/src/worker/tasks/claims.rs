//! Claims tasks, has them executed, and words their outcomes for their runs. It must not decide when.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::input::{TaskInput, TaskOf};
use super::{ExecutorLease, Running, ServedQueue, TaskLoop};
use crate::data::cancellation::Cancellation;
use crate::data::failure::Failure;
use crate::data::id::ExecutorId;
use crate::data::limits;
use crate::data::name::Name;
use crate::data::outcome::Outcome;
use crate::data::payload::{Payload, payload_too_large};
use crate::data::text::printable;
use crate::log::message::{Flag, Message};
use crate::log::wire::encode_message;
use crate::log::wire::task::decode_task;
use crate::store::error::StoreError;
use crate::store::tasks::{
    ClaimTasks, ClaimedTask, ClaimedTasks, HeldTask, ReturnedTask, TaskClaim, TaskId, queue_of,
};
use crate::worker::executor::{LeaseTrust, StartPermit, cancel};
use crate::workflow::own_task::OwnTask;

/// About how many bytes a task takes beside its input.
const TASK_BYTES: usize = 1_024;

impl TaskLoop {
    /// Renews the lease, or only claims tasks for the free slots.
    pub(super) async fn claim(&self, running: &mut Running, renew: bool) -> Result<(), StoreError> {
        // A new executor asks for no tasks: if the answer is lost, nobody would know of them.
        let asks = running.lease.is_some() && running.shutdown.is_none();
        // The own queue shares its slots with another one, so only a renewal asks for tasks of both.
        let own_first = std::mem::take(&mut running.own_hungry) && !renew;
        let room = |queue: &ServedQueue| {
            let room = if asks { self.room(running, queue) } else { 0 };
            (queue.name.clone(), room.min(limits::TASKS_BATCH_MAX) as u32)
        };
        let own = running.lease.as_ref().map(|lease| &lease.own_queue).filter(|_| own_first || renew);
        let others = self.queues.iter().filter(|_| !own_first);
        let claim = ClaimTasks {
            executor: running.lease.as_ref().map(|lease| lease.id),
            renewals: running.lease.as_ref().map_or(0, |lease| lease.renewals),
            worker: self.worker.clone(),
            renew: renew.then_some(self.lease_ttl),
            queues: own.into_iter().chain(others).map(room).collect(),
            activities: self.activities.clone(),
            bytes: limits::TASKS_BYTES_MAX.min(self.memory.max() / 16),
        };
        if renew {
            running.held.renewing();
        }
        let sent = self.host.monotonic();
        let session = self.session(running).await?;
        let answer = match self.status.tasks.watch(&*self.host, 0, session.claim_tasks(&claim)).await {
            Err(StoreError::Fenced { reason }) => {
                self.lose(running, &format!("fenced: {reason}"));
                return Ok(());
            }
            answer => answer?,
        };
        self.clock.answered(answer.now, &*self.host);
        self.claimed(running, answer, sent, &claim);
        running.hungry |= own_first;
        Ok(())
    }

    /// For how many more tasks of a queue there is room. While memory is full, there is one at a time.
    pub(super) fn room(&self, running: &Running, queue: &ServedQueue) -> usize {
        let fits = match (self.memory.is_full(), running.held.is_running()) {
            (false, _) => usize::MAX,
            (true, false) => 1,
            (true, true) => 0,
        };
        queue.slots.room_for_tasks().min(fits)
    }

    /// Takes the answer to a claim.
    fn claimed(&self, running: &mut Running, answer: ClaimedTasks, sent: Duration, asked: &ClaimTasks) {
        let ClaimedTasks { executor, tasks, held, more, now: _ } = answer;
        let is_new = running.lease.is_none();
        if is_new {
            tracing::info!(%executor, worker = %self.worker, "executor lease claimed");
            self.status.executor_begins();
            // Like a processor's lease, it is not trusted in the last third of its time.
            let trust = Arc::new(LeaseTrust::new(Arc::clone(&self.host), self.lease_ttl * 2 / 3, sent));
            let slots = self.queues.first().map_or_else(|| self.executor.slots(), |queue| &queue.slots);
            let own_queue = ServedQueue { name: queue_of(executor), slots: slots.clone() };
            running.lease =
                Some(ExecutorLease { id: executor, trust, renewals: 0, renew_at: sent, own_queue });
            self.current.set(Some(executor));
        }
        if let Some(lease) = running.lease.as_mut().filter(|_| asked.renew.is_some()) {
            lease.trust.renewed(sent);
            lease.renewals += 1;
            lease.renew_at = sent + self.interval;
        }
        // Whatever the answer tells of attempts that were handed out, the driver said so before.
        self.receive(running);
        let found = held.map(|held| running.held.renewed(&held)).unwrap_or_default();
        found.withdrawn.iter().for_each(cancel);
        // Fewer than there is room for: a queue is empty, until a hint or the next renewal. One without room is asked when there
        // is some: to ask at once would be to ask again and again.
        let may_have_more = |(queue, room): &&(Name, u32)| {
            *room > 0 && tasks.iter().filter(|task| task.queue == *queue).count() >= *room as usize
        };
        running.hungry = is_new || more || asked.queues.iter().any(|queue| may_have_more(&queue));
        running.lacked_room = asked.queues.iter().any(|(_, room)| *room == 0);
        let own = running.lease.as_ref().map(|lease| &lease.own_queue.name);
        let own = asked.queues.iter().find(|(queue, _)| Some(queue) == own);
        running.own_hungry = own.is_some_and(|own| more || may_have_more(&own));
        let mut doubled = false;
        for task in tasks {
            doubled |= !self.begin(running, executor, task);
        }
        if found.lost_commits || doubled {
            self.lose(running, "the store lost commits");
        }
    }

    /// Has a task executed. Returns false if it is running already.
    fn begin(&self, running: &mut Running, executor: ExecutorId, task: ClaimedTask) -> bool {
        let ClaimedTask { claim, queue, body } = task;
        let attempt = decode_task(claim.task.run, &body).map_err(|error| error.to_string());
        let own = running.lease.iter().map(|lease| &lease.own_queue);
        let served = own.chain(&self.queues).find(|served| served.name == queue);
        let (attempt, served, lease) = match (attempt, served, &running.lease) {
            (Ok(attempt), Some(served), Some(lease)) => (Box::new(attempt), served, lease),
            (Err(problem), ..) => {
                running.held.give_back(self.unreadable(claim, problem));
                return true;
            }
            (Ok(_), ..) => {
                running.held.give_back(self.unreadable(claim, format!("queue `{queue}` was not asked for")));
                return true;
            }
        };
        let cancellation = Cancellation::default();
        let (trust, ticket) = (Arc::clone(&lease.trust), None);
        let permit = StartPermit { cancellation: cancellation.clone(), trust, ticket };
        if !running.held.begin(claim, cancellation) {
            return false;
        }
        let options = attempt.options.get();
        let of = TaskOf { call: attempt.id, transactional: options.transactional };
        let task = OwnTask {
            executor,
            claim,
            call: attempt.id,
            start_to_close: options.start_to_close,
            payload_bytes_max: self.registry.payload_bytes_max(),
            settled: Arc::default(),
        };
        let outbox = self.outbox.clone();
        let input = self.memory.take(TASK_BYTES + body.len());
        self.executor.execute_in(
            &served.slots,
            &self.registry,
            attempt,
            Some(task),
            permit,
            move |outcome| {
                drop(input);
                drop(outbox.send(TaskInput::Ended { task: HeldTask { executor, claim }, of, outcome }));
            },
        );
        true
    }

    /// A task that this build cannot read rests, and is then claimed by a build that can, or by this one again.
    pub(super) fn unreadable(&self, claim: TaskClaim, problem: String) -> ReturnedTask {
        let TaskId { run, seq } = claim.task;
        if self.executor.allows_line("task.unreadable") {
            tracing::error!(%run, task = %seq, worker = %self.worker, "the task waits for a worker that can read it: {problem}");
        }
        let pause = limits::TASK_UNREADABLE_PAUSE;
        let problem = Some(printable(&problem, limits::WAITING_ON_CHARS_MAX));
        ReturnedTask { claim, begun: false, pause, problem }
    }

    /// The message that tells a run how its task ended.
    pub(super) fn message(&self, claim: TaskClaim, of: TaskOf, result: Result<Payload, Failure>) -> Bytes {
        let limit = self.registry.payload_bytes_max();
        let outcome = match result {
            Ok(payload) if payload.bytes().len() > limit => {
                let message = payload_too_large(&"the result of the task", payload.bytes().len(), limit);
                Outcome::Failed(Failure::new("payload-too-large", message).non_retryable())
            }
            Ok(payload) => Outcome::Completed(payload),
            Err(failure) => Outcome::Failed(failure.bounded(limit)),
        };
        let committed = Flag(of.transactional && matches!(outcome, Outcome::Completed(_)));
        encode_message(&Message::TaskEnded { id: of.call, task: claim.task.seq, outcome, committed })
    }
}
