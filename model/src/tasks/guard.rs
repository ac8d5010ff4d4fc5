//! The guards of the tasks model, each with the property that breaks without it.

use crate::check;
use crate::tasks::property;

/// A rule about tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A claim of tasks locks its executor lease `FOR SHARE` until its commit.
    ClaimSharesLease,
    /// A claim of tasks takes free ones only.
    ClaimTakesFreeOnly,
    /// A claim answers with every task that its lease holds, because the answer to an earlier one may have been lost.
    ClaimAnswersAllHeld,
    /// A process begins no task that it has begun already.
    ProcessKnowsItsTasks,
    /// A process remembers a task that it settled while a claim is under way.
    SettledIsRemembered,
    /// Whoever fences an executor lease frees its tasks in the same transaction.
    FenceFreesTasks,
    /// A loss is counted, and beyond the budget the run is told instead of another process.
    LossesAreCounted,
    /// An owner logs that it begins an activity that may not be executed twice, before it begins it.
    AtMostOnceIsLoggedFirst,
    /// The loss of an activity that may not be executed twice is told to its run at once.
    AtMostOnceIsNotFreed,
    /// An outcome is told only if the row of its attempt is there, and deletes it.
    OutcomeDeletesTask,
    /// An outcome deletes the row of the attempt that it names, and of no other.
    OutcomeNamesAttempt,
    /// A run drops the outcome of an attempt that it does not await any more.
    LateOutcomeIsDropped,
    /// The outcome of an attempt that its process began under an earlier lease is dropped.
    OwnOutcomeNamesLease,
    /// The log says that a running activity was handed out, so that the next owner does not begin it again.
    HandOutIsLogged,
    /// A hand-over checks the executor lease of the activity that goes on, and locks it `FOR SHARE`.
    HandOverSharesLease,
}

impl check::Guard for Guard {
    const ALL: &'static [Self] = &[
        Self::ClaimSharesLease,
        Self::ClaimTakesFreeOnly,
        Self::ClaimAnswersAllHeld,
        Self::ProcessKnowsItsTasks,
        Self::SettledIsRemembered,
        Self::FenceFreesTasks,
        Self::LossesAreCounted,
        Self::AtMostOnceIsLoggedFirst,
        Self::AtMostOnceIsNotFreed,
        Self::OutcomeDeletesTask,
        Self::OutcomeNamesAttempt,
        Self::LateOutcomeIsDropped,
        Self::OwnOutcomeNamesLease,
        Self::HandOutIsLogged,
        Self::HandOverSharesLease,
    ];

    fn protects(self) -> &'static str {
        match self {
            Self::ClaimSharesLease
            | Self::ClaimAnswersAllHeld
            | Self::FenceFreesTasks
            | Self::OutcomeNamesAttempt
            | Self::HandOverSharesLease => property::NOTHING_WAITS_FOR_EVER,
            Self::ClaimTakesFreeOnly | Self::HandOutIsLogged => property::REPEATED_AFTER_LOSSES_ONLY,
            Self::LossesAreCounted => property::LOSSES_ARE_BOUNDED,
            Self::ProcessKnowsItsTasks
            | Self::SettledIsRemembered
            | Self::AtMostOnceIsLoggedFirst
            | Self::AtMostOnceIsNotFreed => property::AT_MOST_ONCE,
            Self::OutcomeDeletesTask => property::ONE_OUTCOME_PER_ATTEMPT,
            Self::LateOutcomeIsDropped | Self::OwnOutcomeNamesLease => property::ONE_OUTCOME,
        }
    }
}
