//! The guards of the transactions model, each with the property that breaks without it.

use crate::check;
use crate::transactions::property;

/// A rule about transactional activities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The row is moved to done in the transaction of the user's writes.
    MoveIsInTransaction,
    /// A transaction that moves no row is rolled back.
    NoRowRollsBack,
    /// Whoever fences an executor lease skips rows that a transaction has locked.
    FenceSkipsLocked,
    /// A claim also takes rows whose holder is fenced: those that were skipped.
    ClaimTakesRowsOfFenced,
    /// An activity that takes too long has failed only once its row was moved, or else its outcome is awaited.
    TimeoutMovesRow,
    /// No append locks a row of `tasks`.
    AppendLocksNoRow,
    /// The row of a cancelled activity is withdrawn after the commit of the cancellation.
    WithdrawnAfterCommit,
    /// What completed although it was cancelled is logged all the same.
    CompletionIsShown,
}

impl check::Guard for Guard {
    const ALL: &'static [Self] = &[
        Self::MoveIsInTransaction,
        Self::NoRowRollsBack,
        Self::FenceSkipsLocked,
        Self::ClaimTakesRowsOfFenced,
        Self::TimeoutMovesRow,
        Self::AppendLocksNoRow,
        Self::WithdrawnAfterCommit,
        Self::CompletionIsShown,
    ];

    fn protects(self) -> &'static str {
        match self {
            Self::MoveIsInTransaction | Self::NoRowRollsBack => property::APPLIED_ONCE,
            Self::FenceSkipsLocked => property::HEARTBEATS_DO_NOT_WAIT,
            Self::ClaimTakesRowsOfFenced | Self::WithdrawnAfterCommit => property::NOTHING_WAITS_FOR_EVER,
            Self::TimeoutMovesRow => property::RECORDED_IS_TRUE,
            Self::AppendLocksNoRow => property::APPENDS_DO_NOT_WAIT,
            Self::CompletionIsShown => property::APPLIED_IS_SHOWN,
        }
    }
}
