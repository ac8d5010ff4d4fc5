//! The steps of the model.

use crate::check::Guards;
use crate::inbox::{Guard, State};

/// What can happen next. Clients, processes and shards are named by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A client's transaction writes its next message, and stays open.
    Write(u8),
    /// A client's transaction commits: its message is accepted.
    Commit(u8),
    /// A client sends its last message again, because it did not hear that it was accepted.
    Repeat(u8),
    /// A process claims a free shard.
    Claim(u8, u8),
    /// A process hands a shard over. Its messages that wait for the next append wait for the next owner instead.
    HandOver(u8, u8),
    /// The lease of a process is fenced, which it does not know yet.
    Fence(u8),
    /// The database executes a read that a process sends with the cursor of this place.
    Read(u8, usize),
    /// The answer to a read arrives.
    AnswerRead(u8),
    /// A process takes the next message of its page.
    Take(u8),
    /// A process logs what it has taken.
    Append(u8),
    /// A process merges its cursors.
    Merge(u8),
    /// The standby stops following.
    StandbyLags,
    /// The standby becomes the primary, and what it does not have is lost. Every connection breaks.
    Failover,
}

/// Lists what may happen. Some of it is not possible, and then changes nothing.
pub(super) fn offer(state: &State, steps: &mut Vec<Step>) {
    for one in [0, 1] {
        steps.extend([Step::Write(one), Step::Commit(one), Step::Repeat(one), Step::Fence(one)]);
        for shard in [0, 1] {
            steps.extend([Step::Claim(one, shard), Step::HandOver(one, shard)]);
        }
        let cursors = state.processes[usize::from(one)].cursors.len();
        steps.extend((0..cursors).map(|cursor| Step::Read(one, cursor)));
        let each = [Step::AnswerRead(one), Step::Take(one), Step::Append(one), Step::Merge(one)];
        steps.extend(each);
    }
    steps.extend([Step::StandbyLags, Step::Failover]);
}

impl Step {
    /// Takes the step. `None` if it cannot be taken now.
    pub(super) fn take(self, guards: &Guards<Guard>, state: &mut State) -> Option<()> {
        match self {
            Self::Write(client) => state.write(client),
            Self::Commit(client) => state.commit(client),
            Self::Repeat(client) => state.repeat(client),
            Self::Claim(by, shard) => state.claim(guards, by, shard),
            Self::HandOver(by, shard) => state.hand_over(guards, by, shard),
            Self::Fence(by) => state.fence(by),
            Self::Read(by, cursor) => state.read(guards, by, cursor),
            Self::AnswerRead(by) => state.answer_read(guards, by),
            Self::Take(by) => state.process(by).take(guards),
            Self::Append(by) => state.append(guards, by),
            Self::Merge(by) => state.merge(guards, by),
            Self::StandbyLags => state.standby_lags(),
            Self::Failover => state.fail_over(guards),
        }
    }
}

impl Step {
    /// The step in words.
    pub(super) fn tell(self) -> String {
        match self {
            Self::Write(client) => format!("client {client} writes a message for shard {client}"),
            Self::Commit(client) => format!("client {client} commits"),
            Self::Repeat(client) => format!("client {client} writes its last message again"),
            Self::Claim(by, shard) => format!("process {by} claims shard {shard}"),
            Self::HandOver(by, shard) => format!("process {by} hands shard {shard} over"),
            Self::Fence(by) => format!("the lease of process {by} is fenced"),
            Self::Read(by, cursor) => format!("a read of process {by} is executed, from its cursor {cursor}"),
            Self::AnswerRead(by) => format!("process {by} hears the answer"),
            Self::Take(by) => format!("process {by} takes the next message of its page"),
            Self::Append(by) => format!("process {by} logs what it has taken"),
            Self::Merge(by) => format!("process {by} merges its cursors"),
            Self::StandbyLags => "the standby stops following".to_owned(),
            Self::Failover => "the standby becomes the primary".to_owned(),
        }
    }
}
