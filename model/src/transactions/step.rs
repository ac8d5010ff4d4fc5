//! The steps of the model.

use crate::check::Guards;
use crate::spend::spend;
use crate::transactions::{Guard, Row, Run, Stage, State, Work, property};

/// What can happen next. Processes are named by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A process claims the activity, with `SKIP LOCKED`.
    Claim(u8),
    /// A process begins a transaction, in which the user's code writes.
    Write(u8),
    /// The transaction moves the row to done, in its last statement.
    Move(u8),
    /// The transaction commits.
    Commit(u8),
    /// The transaction is rolled back, for example because its process died.
    RollBack(u8),
    /// A process whose transaction is committed moves the row afterwards.
    MoveAfterwards(u8),
    /// The executor lease of a process is fenced. The process may go on for a while, and begins another lease.
    Fence(u8),
    /// The owner of the run gives up on the activity.
    TimeOut,
    /// The owner cuts an append that cancels the activity.
    CutCancel,
    /// That append is committed.
    CommitCancel,
    /// That append is refused, because the run has another owner.
    RefuseCancel,
    /// The row of the cancelled activity is withdrawn.
    Withdraw,
    /// The owner logs the outcome in its inbox.
    LogTold,
}

impl Step {
    /// Every step, some of which are not possible now.
    pub(super) const ALL: [Self; 20] = [
        Self::Claim(0),
        Self::Claim(1),
        Self::Write(0),
        Self::Write(1),
        Self::Move(0),
        Self::Move(1),
        Self::Commit(0),
        Self::Commit(1),
        Self::RollBack(0),
        Self::RollBack(1),
        Self::MoveAfterwards(0),
        Self::MoveAfterwards(1),
        Self::Fence(0),
        Self::Fence(1),
        Self::TimeOut,
        Self::CutCancel,
        Self::CommitCancel,
        Self::RefuseCancel,
        Self::Withdraw,
        Self::LogTold,
    ];

    /// Takes the step. `None` if it cannot be taken now.
    pub(super) fn take(self, guards: &Guards<Guard>, state: &mut State) -> Option<()> {
        match self {
            Self::Claim(by) => state.claim(guards, by),
            Self::Write(by) => state.stage(by, Stage::Claimed, Stage::Written),
            Self::Move(by) => state.move_row(guards, by),
            Self::Commit(by) => state.commit(guards, by),
            Self::RollBack(by) => state.roll_back(by),
            Self::MoveAfterwards(by) => state.move_afterwards(by),
            Self::Fence(by) => state.fence(guards, by),
            Self::TimeOut => state.time_out(guards),
            Self::CutCancel => state.cut_cancel(guards),
            Self::CommitCancel => state.commit_cancel(guards),
            Self::RefuseCancel => std::mem::take(&mut state.cancelling).then_some(()),
            Self::Withdraw => state.withdraw(),
            Self::LogTold => state.log_told(guards),
        }
    }
}

impl State {
    /// Whether a transaction holds the row's lock.
    pub(super) fn is_locked(&self) -> bool {
        self.works.iter().flatten().any(|work| work.stage == Stage::Moved { row: true })
    }

    fn work(&mut self, by: u8) -> &mut Option<Work> {
        &mut self.works[usize::from(by)]
    }

    fn stage(&mut self, by: u8, from: Stage, to: Stage) -> Option<()> {
        let work = self.work(by).as_mut().filter(|work| work.stage == from)?;
        work.stage = to;
        Some(())
    }

    /// Whether the row is claimed by this lease, and not done.
    fn is_held(&self, lease: u8) -> bool {
        self.row == Some(Row { holder: Some(lease), done: false })
    }

    fn claim(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        let lease = self.leases[usize::from(by)];
        if self.works[usize::from(by)].is_some() || self.is_locked() {
            return None;
        }
        let row = self.row.as_mut().filter(|row| !row.done)?;
        let takes_fenced = guards.has(Guard::ClaimTakesRowsOfFenced);
        if row.holder.is_some_and(|holder| !self.fenced[usize::from(holder)] || !takes_fenced) {
            return None;
        }
        row.holder = Some(lease);
        *self.work(by) = Some(Work { lease, stage: Stage::Claimed });
        Some(())
    }

    /// `update tasks set … where lease = mine and not done`: it waits for a lock, and sees what was committed then.
    fn move_row(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        let work = self.work(by).filter(|work| work.stage == Stage::Written)?;
        if self.is_locked() || !guards.has(Guard::MoveIsInTransaction) {
            return None;
        }
        let row = self.is_held(work.lease);
        let goes_on = row || !guards.has(Guard::NoRowRollsBack);
        *self.work(by) = goes_on.then_some(Work { stage: Stage::Moved { row }, ..work });
        Some(())
    }

    fn commit(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        let work = (*self.work(by))?;
        match work.stage {
            Stage::Moved { row } => {
                *self.work(by) = None;
                if row {
                    self.row = Some(Row { holder: Some(work.lease), done: true });
                    self.told = true;
                }
            }
            Stage::Written if !guards.has(Guard::MoveIsInTransaction) => {
                self.stage(by, Stage::Written, Stage::Committed)?;
            }
            Stage::Claimed | Stage::Written | Stage::Committed => return None,
        }
        self.applied += 1;
        Some(())
    }

    fn roll_back(&mut self, by: u8) -> Option<()> {
        self.work(by).filter(|work| matches!(work.stage, Stage::Written | Stage::Moved { .. }))?;
        spend(&mut self.left.rollbacks)?;
        // The process tries again.
        let work = self.work(by).as_mut()?;
        work.stage = Stage::Claimed;
        Some(())
    }

    fn move_afterwards(&mut self, by: u8) -> Option<()> {
        let work = self.work(by).filter(|work| work.stage == Stage::Committed)?;
        *self.work(by) = None;
        if self.is_held(work.lease) {
            self.row = Some(Row { holder: Some(work.lease), done: true });
            self.told = true;
        }
        Some(())
    }

    fn fence(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        spend(&mut self.left.fences)?;
        let lease = self.leases[usize::from(by)];
        self.fenced[usize::from(lease)] = true;
        self.fenced.push(false);
        self.leases[usize::from(by)] = u8::try_from(self.fenced.len() - 1).expect("few leases");
        if !self.is_held(lease) {
            return Some(());
        }
        if !self.is_locked() {
            self.row = Some(Row { holder: None, done: false });
        } else if !guards.has(Guard::FenceSkipsLocked) {
            self.breaks(property::HEARTBEATS_DO_NOT_WAIT);
        }
        Some(())
    }

    fn time_out(&mut self, guards: &Guards<Guard>) -> Option<()> {
        if self.run != Run::Waits || !std::mem::take(&mut self.left.times_out) {
            return None;
        }
        if guards.has(Guard::TimeoutMovesRow) {
            // A statement of the owner's own. If it does not win, the outcome is awaited.
            if self.is_locked() || self.row.is_none_or(|row| row.done) {
                return Some(());
            }
            self.row = None;
        }
        self.run = Run::Failed;
        Some(())
    }

    fn cut_cancel(&mut self, guards: &Guards<Guard>) -> Option<()> {
        if self.run != Run::Waits || self.cancelling {
            return None;
        }
        spend(&mut self.left.cancels)?;
        self.cancelling = true;
        if !guards.has(Guard::WithdrawnAfterCommit) {
            self.withdrawing = true;
        }
        Some(())
    }

    fn commit_cancel(&mut self, guards: &Guards<Guard>) -> Option<()> {
        if !self.cancelling || self.run != Run::Waits {
            return None;
        }
        self.cancelling = false;
        self.run = Run::Cancelled;
        self.withdrawing = true;
        if !guards.has(Guard::AppendLocksNoRow) {
            if self.is_locked() {
                self.breaks(property::APPENDS_DO_NOT_WAIT);
            }
            self.withdraw();
        }
        Some(())
    }

    /// An effect of the owner's, in a statement of its own. If the row is done, its outcome is in the inbox.
    fn withdraw(&mut self) -> Option<()> {
        if !self.withdrawing || self.is_locked() {
            return None;
        }
        self.withdrawing = false;
        self.row = self.row.filter(|row| row.done);
        Some(())
    }

    fn log_told(&mut self, guards: &Guards<Guard>) -> Option<()> {
        if !std::mem::take(&mut self.told) {
            return None;
        }
        self.run = match self.run {
            Run::Waits => Run::Completed,
            Run::Cancelled if guards.has(Guard::CompletionIsShown) => Run::CancelledAndCompleted,
            run @ (Run::Cancelled | Run::Completed | Run::Failed | Run::CancelledAndCompleted) => run,
        };
        Some(())
    }

    fn breaks(&mut self, property: &'static str) {
        if !self.broken.contains(&property) {
            self.broken.push(property);
        }
    }
}

impl Step {
    /// The step in words.
    pub(super) fn tell(self) -> String {
        match self {
            Self::Claim(by) => format!("process {by} claims the activity"),
            Self::Write(by) => format!("the transaction of process {by} writes"),
            Self::Move(by) => format!("the transaction of process {by} moves the row to done"),
            Self::Commit(by) => format!("the transaction of process {by} commits"),
            Self::RollBack(by) => format!("the transaction of process {by} is rolled back"),
            Self::MoveAfterwards(by) => format!("process {by} moves the row after its transaction"),
            Self::Fence(by) => format!("the executor lease of process {by} is fenced"),
            Self::TimeOut => "the owner gives up on the activity".to_owned(),
            Self::CutCancel => "the owner cuts an append that cancels the activity".to_owned(),
            Self::CommitCancel => "the append commits".to_owned(),
            Self::RefuseCancel => "the append is refused".to_owned(),
            Self::Withdraw => "the row is withdrawn".to_owned(),
            Self::LogTold => "the owner logs the outcome that it was told".to_owned(),
        }
    }
}
