//! The owner of the run: what it logs, and how the run gets another owner.

use crate::check::Guards;
use crate::spend::spend;
use crate::tasks::database::{Outcome, Task};
use crate::tasks::process::{Stage, Work};
use crate::tasks::{Guard, State};

impl State {
    /// The outcome of an attempt that began under an earlier ownership is dropped.
    pub(super) fn log_own(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        let work = self.process(by).work?;
        let ownership = work.local?;
        let Stage::Ended { retry } = work.stage else { return None };
        self.process(by).work = None;
        let is_same = ownership == self.database.ownership || !guards.has(Guard::OwnOutcomeNamesLease);
        if self.database.owner == by && is_same {
            self.log(Outcome { attempt: work.attempt, retry });
        }
        Some(())
    }

    pub(super) fn log_told(&mut self, guards: &Guards<Guard>) -> Option<()> {
        if self.database.inbox.is_empty() {
            return None;
        }
        let outcome = self.database.inbox.remove(0);
        let run = &self.database.run;
        let is_awaited = run.outcomes == 0 && run.attempt == outcome.attempt;
        if is_awaited || !guards.has(Guard::LateOutcomeIsDropped) {
            self.log(outcome);
        }
        Some(())
    }

    /// Records an outcome, or that the attempt failed. The next attempt is a task.
    pub(super) fn log(&mut self, outcome: Outcome) {
        let run = &mut self.database.run;
        if outcome.retry && run.outcomes == 0 {
            run.attempt += 1;
            run.handed_out = true;
            self.database.task = Some(Task { attempt: run.attempt, holder: None, losses: 0 });
        } else {
            run.outcomes += 1;
        }
    }

    pub(super) fn cancel(&mut self) -> Option<()> {
        let run = &mut self.database.run;
        if !self.left.cancels || run.outcomes > 0 {
            return None;
        }
        self.left.cancels = false;
        run.outcomes += 1;
        Some(())
    }

    pub(super) fn withdraw(&mut self) -> Option<()> {
        if self.database.run.outcomes == 0 {
            return None;
        }
        self.database.task.take().map(|_| ())
    }

    /// One append: the shard is released, and a running activity becomes a task of its process's executor lease.
    pub(super) fn hand_over(&mut self, guards: &Guards<Guard>) -> Option<()> {
        spend(&mut self.left.hand_overs)?;
        let (from, ownership) = (self.database.owner, self.database.ownership);
        let process = self.process(from);
        let lease = process.lease;
        let own = process.work.filter(|work| work.local == Some(ownership));
        let begun = own.filter(|work| work.stage != Stage::Claimed);
        if own.is_some() {
            process.work = begun.map(|work| Work { local: None, ..work });
        }
        if let Some(work) = begun
            && self.database.run.outcomes == 0
        {
            self.database.run.handed_out = guards.has(Guard::HandOutIsLogged);
            self.database.task = Some(Task { attempt: work.attempt, holder: Some(lease), losses: 0 });
            if self.database.is_fenced(lease) && guards.has(Guard::HandOverSharesLease) {
                self.lose_task(guards);
            }
        }
        self.change_owner();
        Some(())
    }

    /// The old owner may be alive, and go on until it learns that it is not the owner any more.
    pub(super) fn take_over(&mut self) -> Option<()> {
        spend(&mut self.left.takeovers)?;
        self.lost += 1;
        self.change_owner();
        Some(())
    }

    /// The new owner recovers the run. It begins an activity again that is no task: its process was lost. One that may not
    /// be executed twice is lost with it.
    pub(super) fn change_owner(&mut self) {
        let owner = 1 - self.database.owner;
        self.database.owner = owner;
        self.database.ownership += 1;
        let ownership = self.database.ownership;
        let run = &self.database.run;
        if run.handed_out || run.outcomes > 0 {
            return;
        }
        let attempt = run.attempt;
        let was_begun = self.begun[usize::from(attempt) - 1] > 0;
        if was_begun && self.left.at_most_once {
            self.log(Outcome { attempt, retry: false });
        } else {
            self.process(owner).work = Some(Work { attempt, stage: Stage::Claimed, local: Some(ownership) });
        }
    }
}
