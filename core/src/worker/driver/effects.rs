//! What a driver does with attempts and other effects: hands them to the executor, and makes tasks of attempts that other
//! processes should execute, or that this one finishes for another owner. It must not know why an effect is due.

use crate::data::time::Timestamp;
use crate::guard::shielded;
use crate::processor::effect::Effect;
use crate::worker::driver::Driver;
use crate::worker::executor::StepOf;
use crate::worker::tasks::input::TaskInput;

impl Driver {
    /// Makes attempts tasks of this process if their shard goes to another owner, or the worker shuts down, and ends the wait
    /// of shards of which nothing is executed any more.
    pub(super) fn hand_out(&mut self, now: Timestamp) {
        let shuts_down = self.shutdown.is_some();
        if !shuts_down && self.processor.next_drain_end().is_none() {
            return;
        }
        // Without an executor lease, they have the grace to end.
        if let Some(executor) = self.with.task_executor.get() {
            let attempts =
                self.handed_out.attempts_in(|shard| shuts_down || self.processor.is_draining(shard));
            let tasks = self.processor.hand_out(&attempts, executor, now);
            for (call, claim) in &tasks {
                self.handed_out.becomes(claim.task.run, *call, *claim);
            }
            if !tasks.is_empty() {
                let claims = tasks.into_iter().map(|(_, claim)| claim).collect();
                drop(self.with.tasks.send(TaskInput::Expect(claims)));
            }
        }
        self.processor.end_drains(now, |shard| self.handed_out.count(shard));
    }

    /// Executes effects. Attempts for which there is no room, in the executor or in memory, become tasks.
    pub(super) fn execute_all(&mut self, effects: Vec<Effect>, now: Timestamp) {
        let mut overflow = Vec::new();
        for effect in effects {
            match effect {
                Effect::Execute(attempt)
                    if self.shutdown.is_none()
                        && (self.with.executor.is_overfull() || self.processor.is_full())
                        && self.processor.may_overflow(&attempt) =>
                {
                    overflow.push(attempt);
                }
                effect => self.execute(effect),
            }
        }
        if !overflow.is_empty() {
            self.processor.overflow(&overflow, now);
            self.requests.append(&mut self.processor);
        }
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            // After a shutdown, the next owner begins what has not begun here, unless the log says that it began.
            Effect::Execute(attempt) if self.shutdown.is_some() && !attempt.options.get().at_most_once => {}
            Effect::ExecuteStep { .. } if self.shutdown.is_some() => {}
            Effect::Execute(attempt) => self.handed_out.execute(&self.with, &self.trust, attempt),
            Effect::ExecuteStep { run, workflow, tag, step } => {
                let step = StepOf { run, workflow, tag, step };
                self.handed_out.execute_step(&self.with, &self.trust, step);
            }
            Effect::Abort { run, id } => self.handed_out.abort(run, id),
            Effect::HandOut { call, task } => self.handed_out.hand_out(&self.with, call, task),
            // Without a task loop, the worker is about to end.
            Effect::Withdraw(withdrawal) => drop(self.with.tasks.send(TaskInput::Withdraw(withdrawal))),
            Effect::StartChild(_) if self.shutdown.is_some() => {}
            Effect::StartChild(start) => self.child_starts.send(*start),
            Effect::FindQueue { .. } if self.shutdown.is_some() => {}
            Effect::FindQueue { queue, run } => self.queue_lookups.ask(queue, run),
            // The client may have stopped waiting. Its waker is user code.
            Effect::Accept { accepted } => shielded("a waker", || _ = accepted.send(())),
            Effect::Tell { notice, watcher } => shielded("a waker", || _ = watcher.send(*notice)),
        }
    }
}
