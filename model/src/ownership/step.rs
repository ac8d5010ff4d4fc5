//! The steps of the model, each one statement of the database or one reaction of a process.

use crate::check::Guards;
use crate::ownership::claim::Stage;
use crate::ownership::{Guard, State};
use crate::spend::spend;

/// What can happen next. Processes are named by their number; calls by their place among those under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A process sends a claim, for a new lease or for the one that it has.
    SendClaim(u8),
    /// The database takes the next statement of a claim.
    ProceedWithClaim(usize),
    /// The answer to a claim reaches its process.
    AnswerClaim(usize),
    /// A process cuts an append with one event, and sends it.
    CutAppend(u8),
    /// A process cuts an append with one event that also hands the shard over, and sends it.
    CutHandOver(u8),
    /// A process that has waited long enough sends the same append again.
    SendAppendAgain(u8),
    /// The database declines an attempt, for example because a lock took too long, and the process cuts the append anew.
    DeclineAppend(usize),
    /// The database locks and checks what an append needs, up to its writes.
    CheckAppend(usize),
    /// The database writes and commits an append, and the answer arrives.
    CommitAppend(usize),
    /// The database writes and commits an append, and the answer is lost.
    CommitAppendUnheard(usize),
    /// A heartbeat renews a process's lease, or learns that it is lost.
    Heartbeat(u8),
    /// A heartbeat of another process fences this lease.
    Fence(u8),
    /// The release of a whole lease is executed.
    Release(u8),
    /// A lease's time runs out.
    Expire(u8),
    /// A process gives its lease up, because it was not renewed in time or the process is to stop.
    GiveUp(u8),
    /// A process dies, and another one begins in its place.
    Crash(u8),
    /// The standby stops following.
    StandbyLags,
    /// The standby becomes the primary, and what it does not have is lost.
    Failover,
}

/// Lists what may happen. Some of it has to wait for a lock, and then changes nothing.
pub(super) fn offer(state: &State, steps: &mut Vec<Step>) {
    for process in (0u8..).take(state.processes.len()) {
        let each = [
            Step::SendClaim(process),
            Step::CutAppend(process),
            Step::CutHandOver(process),
            Step::SendAppendAgain(process),
            Step::Heartbeat(process),
            Step::GiveUp(process),
            Step::Crash(process),
        ];
        steps.extend(each);
    }
    for (call, append) in state.appends.iter().enumerate() {
        if append.checked {
            steps.extend([Step::CommitAppend(call), Step::CommitAppendUnheard(call)]);
        } else {
            steps.extend([Step::CheckAppend(call), Step::DeclineAppend(call)]);
        }
    }
    for call in 0..state.claims.len() {
        steps.extend([Step::ProceedWithClaim(call), Step::AnswerClaim(call)]);
    }
    for lease in (0u8..).take(state.database.leases.len()) {
        steps.extend([Step::Expire(lease), Step::Fence(lease)]);
    }
    steps.extend(state.releases.iter().map(|lease| Step::Release(*lease)));
    steps.extend([Step::StandbyLags, Step::Failover]);
}

impl Step {
    /// Takes the step. `None` if it cannot be taken now.
    pub(super) fn take(self, guards: &Guards<Guard>, state: &mut State) -> Option<()> {
        match self {
            Self::SendClaim(by) => state.send_claim(by),
            Self::ProceedWithClaim(call) => {
                let claim = state.claims[call].proceed(guards, state)?;
                state.claims[call] = claim;
                Some(())
            }
            Self::AnswerClaim(call) => state.answer_claim(guards, call),
            Self::CutAppend(by) => state.cut(by, false),
            Self::CutHandOver(by) => {
                spend(&mut state.left.hand_overs)?;
                state.cut(by, true)
            }
            Self::SendAppendAgain(by) => {
                let append = state.processes[usize::from(by)].in_flight?;
                spend(&mut state.left.resends)?;
                state.send(by, append)
            }
            Self::DeclineAppend(call) => state.decline(guards, call),
            Self::CheckAppend(call) => state.check(guards, call),
            Self::CommitAppend(call) => state.commit(guards, call, true),
            Self::CommitAppendUnheard(call) => state.commit(guards, call, false),
            Self::Heartbeat(by) => state.heartbeat(guards, by),
            Self::Fence(lease) => state.fence_expired(guards, lease),
            Self::Release(lease) => state.release(guards, lease),
            Self::Expire(lease) => state.expire(lease),
            Self::GiveUp(by) => state.give_up(by),
            Self::Crash(by) => state.crash(by),
            Self::StandbyLags => state.standby_lags(),
            Self::Failover => state.fail_over(),
        }
    }
}

impl Step {
    /// The step in words, by the state before it.
    pub(super) fn tell(self, before: &State) -> String {
        match self {
            Self::SendClaim(by) => format!("process {by} sends a claim"),
            Self::ProceedWithClaim(call) => {
                let claim = before.claims[call];
                let whose =
                    claim.by.map_or_else(|| "a dead process".to_owned(), |by| format!("process {by}"));
                let what = match claim.stage {
                    Stage::Sent => "looks for an expired lease, without a lock",
                    Stage::Looked { .. } => "locks leases, and sees whether the shard is free",
                    Stage::Locked { .. } => "takes what is free, and commits",
                    Stage::Committed { .. } | Stage::Answered { .. } => "reads where the log ends",
                };
                format!("the claim of {whose} {what}")
            }
            Self::AnswerClaim(call) => {
                let by = before.claims[call].by;
                by.map_or_else(
                    || "an answer finds nobody".to_owned(),
                    |by| format!("process {by} hears the answer to its claim"),
                )
            }
            Self::CutAppend(by) => format!("process {by} sends an append"),
            Self::CutHandOver(by) => format!("process {by} sends an append that hands the shard over"),
            Self::SendAppendAgain(by) => format!("process {by} sends its append again"),
            Self::DeclineAppend(call) => {
                format!("an append of process {} is declined, and cut anew", before.appends[call].by)
            }
            Self::CheckAppend(call) => format!("an append of process {} is checked", before.appends[call].by),
            Self::CommitAppend(call) => format!("the append of process {} commits", before.appends[call].by),
            Self::CommitAppendUnheard(call) => {
                format!("the append of process {} commits, but its answer is lost", before.appends[call].by)
            }
            Self::Heartbeat(by) => format!("a heartbeat of process {by} renews its lease"),
            Self::Fence(lease) => format!("a heartbeat fences lease {lease}"),
            Self::Release(lease) => format!("lease {lease} is released"),
            Self::Expire(lease) => format!("lease {lease} expires"),
            Self::GiveUp(by) => format!("process {by} gives its lease up"),
            Self::Crash(by) => format!("process {by} dies"),
            Self::StandbyLags => "the standby stops following".to_owned(),
            Self::Failover => "the standby becomes the primary".to_owned(),
        }
    }
}
