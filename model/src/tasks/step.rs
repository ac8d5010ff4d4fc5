//! The steps of the model.

use crate::check::Guards;
use crate::tasks::{Guard, State};

/// What can happen next. Processes and leases are named by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A process sends a claim of tasks.
    SendClaim(u8),
    /// The database checks the lease of a claim, and locks it.
    CheckClaim(u8),
    /// The database gives a claim its tasks, and commits it.
    CommitClaim(u8),
    /// The answer to a claim arrives.
    AnswerClaim(u8),
    /// The answer to a claim is lost.
    LoseAnswer(u8),
    /// A process begins to execute the activity.
    Begin(u8),
    /// The activity ends. The flag says whether it failed in a way that allows another attempt.
    End(u8, bool),
    /// The outcome of a task is told to its run, and its process hears that.
    Settle(u8),
    /// The outcome of a task is told to its run, but the answer is lost.
    SettleUnheard(u8),
    /// The owner logs the outcome of an activity that it executed itself.
    LogOwn(u8),
    /// The owner logs the next outcome of its inbox.
    LogTold,
    /// The run cancels its activity. The row of its task is withdrawn afterwards, if it still can be.
    Cancel,
    /// The row of a cancelled task is withdrawn.
    Withdraw,
    /// The owner hands the run over to the other process.
    HandOver,
    /// The other process takes the run over, because the owner's lease was fenced.
    TakeOver,
    /// An executor lease runs out.
    Expire(u8),
    /// A process renews its executor lease, or learns that it is fenced.
    Renew(u8),
    /// Another process fences an executor lease that has run out.
    Fence(u8),
    /// A process dies, and another one begins in its place.
    Crash(u8),
}

/// Lists what may happen. Some of it is not possible, and then changes nothing.
pub(super) fn offer(state: &State, steps: &mut Vec<Step>) {
    for by in [0, 1] {
        let each = [
            Step::SendClaim(by),
            Step::CheckClaim(by),
            Step::CommitClaim(by),
            Step::AnswerClaim(by),
            Step::LoseAnswer(by),
            Step::Begin(by),
            Step::End(by, false),
            Step::End(by, true),
            Step::Settle(by),
            Step::SettleUnheard(by),
            Step::LogOwn(by),
            Step::Renew(by),
            Step::Crash(by),
        ];
        steps.extend(each);
    }
    for lease in (0u8..).take(state.database.leases.len()) {
        steps.extend([Step::Expire(lease), Step::Fence(lease)]);
    }
    steps.extend([Step::LogTold, Step::Cancel, Step::Withdraw, Step::HandOver, Step::TakeOver]);
}

impl Step {
    /// Takes the step. `None` if it cannot be taken now.
    pub(super) fn take(self, guards: &Guards<Guard>, state: &mut State) -> Option<()> {
        match self {
            Self::SendClaim(by) => state.send_claim(by),
            Self::CheckClaim(by) => state.check_claim(by),
            Self::CommitClaim(by) => state.commit_claim(guards, by),
            Self::AnswerClaim(by) => state.answer_claim(guards, by),
            Self::LoseAnswer(by) => state.lose_answer(by),
            Self::Begin(by) => state.begin(guards, by),
            Self::End(by, retry) => state.end(by, retry),
            Self::Settle(by) => state.settle(guards, by, true),
            Self::SettleUnheard(by) => state.settle(guards, by, false),
            Self::LogOwn(by) => state.log_own(guards, by),
            Self::LogTold => state.log_told(guards),
            Self::Cancel => state.cancel(),
            Self::Withdraw => state.withdraw(),
            Self::HandOver => state.hand_over(guards),
            Self::TakeOver => state.take_over(),
            Self::Expire(lease) => state.expire(lease),
            Self::Renew(by) => state.renew(by),
            Self::Fence(lease) => state.fence(guards, lease),
            Self::Crash(by) => state.crash(by),
        }
    }
}

impl Step {
    /// The step in words.
    pub(super) fn tell(self) -> String {
        match self {
            Self::SendClaim(by) => format!("process {by} sends a claim"),
            Self::CheckClaim(by) => format!("the claim of process {by} checks its lease"),
            Self::CommitClaim(by) => format!("the claim of process {by} takes the task, and commits"),
            Self::AnswerClaim(by) => format!("process {by} hears the answer to its claim"),
            Self::LoseAnswer(by) => format!("the answer to process {by} is lost"),
            Self::Begin(by) => format!("process {by} begins the activity"),
            Self::End(by, false) => format!("the activity ends in process {by}"),
            Self::End(by, true) => format!("the activity fails in process {by}"),
            Self::Settle(by) => format!("process {by} tells the outcome"),
            Self::SettleUnheard(by) => format!("process {by} tells the outcome, but the answer is lost"),
            Self::LogOwn(by) => format!("process {by} logs the outcome of its own execution"),
            Self::LogTold => "the owner logs the outcome that it was told".to_owned(),
            Self::Cancel => "the run cancels the activity".to_owned(),
            Self::Withdraw => "the task is withdrawn".to_owned(),
            Self::HandOver => "the owner hands the run over to the other process".to_owned(),
            Self::TakeOver => "the other process takes the run over".to_owned(),
            Self::Expire(lease) => format!("executor lease {lease} expires"),
            Self::Renew(by) => format!("process {by} renews its executor lease"),
            Self::Fence(lease) => format!("executor lease {lease} is fenced"),
            Self::Crash(by) => format!("process {by} dies"),
        }
    }
}
