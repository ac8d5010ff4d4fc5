//! The process that executes: how it claims tasks, works on them, and tells their outcomes.

use crate::check::Guards;
use crate::spend::spend;
use crate::tasks::database::Task;
use crate::tasks::process::{Claim, Process, Stage, Work};
use crate::tasks::{Guard, State};

impl State {
    pub(super) fn process(&mut self, by: u8) -> &mut Process {
        &mut self.processes[usize::from(by)]
    }

    pub(super) fn send_claim(&mut self, by: u8) -> Option<()> {
        if self.process(by).claim.is_some() {
            return None;
        }
        spend(&mut self.left.claims)?;
        self.process(by).claim = Some(Claim::Sent);
        Some(())
    }

    pub(super) fn check_claim(&mut self, by: u8) -> Option<()> {
        let process = &self.processes[usize::from(by)];
        process.claim.filter(|claim| *claim == Claim::Sent)?;
        if self.database.is_fenced(process.lease) {
            self.begin_lease(by);
        } else {
            self.process(by).claim = Some(Claim::Checked);
        }
        Some(())
    }

    pub(super) fn commit_claim(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        let process = &mut self.processes[usize::from(by)];
        process.claim.filter(|claim| *claim == Claim::Checked)?;
        let lease = process.lease;
        let mut held = None;
        if let Some(task) = &mut self.database.task {
            let is_own = task.holder == Some(lease);
            let takes = task.holder.is_none() || !guards.has(Guard::ClaimTakesFreeOnly) && !is_own;
            if takes {
                task.holder = Some(lease);
            }
            if takes || is_own && guards.has(Guard::ClaimAnswersAllHeld) {
                held = Some(task.attempt);
            }
        }
        process.claim = Some(Claim::Answered { held });
        Some(())
    }

    /// A process does what it does not know already.
    pub(super) fn answer_claim(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        let process = self.process(by);
        let Some(Claim::Answered { held }) = process.claim else { return None };
        let has = |attempt: &u8| process.work.is_some_and(|work| work.attempt == *attempt);
        let is_new = |attempt: &u8| {
            let is_known = has(attempt) && guards.has(Guard::ProcessKnowsItsTasks);
            let is_settled = process.settled == Some(*attempt) && guards.has(Guard::SettledIsRemembered);
            !is_known && !is_settled
        };
        if let Some(attempt) = held.filter(is_new) {
            process.work = Some(Work { attempt, stage: Stage::Claimed, local: None });
        }
        process.end_claim();
        Some(())
    }

    pub(super) fn lose_answer(&mut self, by: u8) -> Option<()> {
        if !matches!(self.process(by).claim, Some(Claim::Answered { .. })) {
            return None;
        }
        spend(&mut self.left.lost_answers)?;
        self.process(by).end_claim();
        Some(())
    }

    /// An owner logs that it begins what may not be executed twice: it is refused if it is not the owner any more.
    pub(super) fn begin(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        let is_logged = self.left.at_most_once && guards.has(Guard::AtMostOnceIsLoggedFirst);
        let ownership = self.database.ownership;
        let work = self.process(by).work.as_mut().filter(|work| work.stage == Stage::Claimed)?;
        if is_logged && work.local.is_some_and(|local| local != ownership) {
            self.process(by).work = None;
            return Some(());
        }
        work.stage = Stage::Begun;
        let attempt = usize::from(work.attempt);
        self.begun[attempt - 1] += 1;
        Some(())
    }

    pub(super) fn end(&mut self, by: u8, retry: bool) -> Option<()> {
        let can_retry = self.database.run.attempt <= self.left.retries;
        if retry && !can_retry {
            return None;
        }
        let work = self.process(by).work.as_mut().filter(|work| work.stage == Stage::Begun)?;
        work.stage = Stage::Ended { retry };
        Some(())
    }

    /// Deletes the row if it is still that of the attempt, and puts the outcome into the inbox. The store also demands that the
    /// lease still has the row, so that a late outcome is refused; nothing here needs that.
    pub(super) fn settle(&mut self, guards: &Guards<Guard>, by: u8, heard: bool) -> Option<()> {
        let process = &mut self.processes[usize::from(by)];
        let work = process.work.filter(|work| work.local.is_none())?;
        let Stage::Ended { retry } = work.stage else { return None };
        if heard {
            process.work = None;
            process.settled = process.claim.map(|_| work.attempt);
        } else {
            spend(&mut self.left.resends)?;
        }
        let is_same = |task: Task| task.attempt == work.attempt || !guards.has(Guard::OutcomeNamesAttempt);
        if self.database.task.is_some_and(is_same) || !guards.has(Guard::OutcomeDeletesTask) {
            self.database.settle(work.attempt, retry);
        }
        Some(())
    }
}
