//! The processor's output: groups for the log, and effects that may begin. It must not know what a group says.

use std::collections::{BTreeSet, VecDeque};

use crate::data::id::{RunId, ShardId};
use crate::data::limits;
use crate::observe::line_limit::LineLimit;
use crate::processor::effect::Effect;
use crate::processor::group::{Group, QueuedGroup};
use crate::processor::memory::{GROUP_BYTES, Tally};
use crate::store::inbox::MessageRef;

/// The output of a processor.
pub(super) struct Outbox {
    tally: Tally,
    /// How many bytes may wait before no more input is taken.
    bytes_max: usize,
    /// The groups to append, in order.
    groups: VecDeque<QueuedGroup>,
    /// The size of these groups in bytes.
    bytes: usize,
    effects: Vec<Effect>,
    /// Limits the lines of the worker's log.
    line_limit: LineLimit,
}

impl Outbox {
    pub(super) fn new(tally: Tally, bytes_max: usize) -> Self {
        let (groups, effects, line_limit) = (VecDeque::new(), Vec::new(), LineLimit::default());
        Self { tally, bytes_max, groups, bytes: 0, effects, line_limit }
    }

    /// Limits the lines of the worker's log about runs.
    pub(super) fn line_limit(&mut self) -> &mut LineLimit {
        &mut self.line_limit
    }

    /// Whether a line of this kind may be written now.
    pub(super) fn allows_line(&mut self, kind: &'static str) -> bool {
        self.line_limit.allows(kind)
    }

    /// Adds a group after all others.
    pub(super) fn push(&mut self, mut group: QueuedGroup) {
        let bytes = group.bytes();
        // Twice, because an append has a copy.
        group.held = Some(self.tally.hold(GROUP_BYTES + 2 * bytes));
        self.bytes += bytes;
        self.groups.push_back(group);
    }

    /// Makes room for that many effects that may begin.
    pub(super) fn make_room(&mut self, effects: usize) {
        self.effects.reserve(effects);
    }

    /// Adds effects that may begin.
    pub(super) fn cause(&mut self, effects: impl IntoIterator<Item = Effect>) {
        self.effects.extend(effects);
    }

    /// The last group, if it belongs to this run.
    pub(super) fn last_of(&mut self, run: RunId) -> Option<&mut Group> {
        self.groups.back_mut().map(|last| &mut **last).filter(|last| last.run == run)
    }

    /// Takes the effects that may begin.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Puts groups back in their order, before all others.
    pub(super) fn put_back(&mut self, groups: Vec<QueuedGroup>) {
        for group in groups.into_iter().rev() {
            self.bytes += group.bytes();
            self.groups.push_front(group);
        }
    }

    /// Takes the first groups of the `wanted` runs: as many as an append may hold, but at most `count`.
    pub(super) fn take(&mut self, count: usize, wanted: impl Fn(RunId) -> bool) -> Vec<QueuedGroup> {
        let (mut size, mut bytes) = (0, 0);
        let mut taken = Vec::with_capacity(count.min(self.groups.len()));
        let mut passed_over = Vec::new();
        while taken.len() < count
            && let Some(group) = self.groups.pop_front()
        {
            if !wanted(group.run) {
                passed_over.push(group);
                continue;
            }
            size += group.size();
            bytes += group.bytes();
            let full = size > limits::APPEND_EVENTS_MAX || bytes > limits::APPEND_BYTES_MAX;
            if full && !taken.is_empty() {
                self.groups.push_front(group);
                break;
            }
            self.bytes -= group.bytes();
            taken.push(group);
        }
        passed_over.into_iter().rev().for_each(|group| self.groups.push_front(group));
        taken
    }

    /// Drops all groups of a run. Returns the messages that they would have taken from the inbox.
    pub(super) fn drop_run(&mut self, run: RunId) -> Vec<MessageRef> {
        let dropped = self.groups.iter().filter(|group| group.run == run);
        let messages = dropped.flat_map(|group| group.consumed.iter().chain(&group.undelivered)).copied();
        let messages = messages.collect();
        self.groups.retain(|group| group.run != run);
        self.bytes = self.groups.iter().map(|group| group.bytes()).sum();
        messages
    }

    /// The shards of all groups that wait.
    pub(super) fn shards(&self) -> BTreeSet<ShardId> {
        self.groups.iter().map(|group| group.run.shard()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether so many bytes wait for an append that no more input should be taken.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::id::{InboxNo, MessageId};
    use crate::testing::run_id;

    #[test]
    fn append_holds_as_many_messages_that_become_no_events_as_events() {
        // Given many messages that came too late
        let mut outbox = Outbox::new(Tally::unlimited(), usize::MAX);
        let messages = 2 * limits::APPEND_EVENTS_MAX + 1;
        for number in (0..).take(messages) {
            let mut group = Group::new(run_id(1));
            let (number, message) = (InboxNo::new(number), MessageId::from_u128(number.into()));
            group.undelivered.push(MessageRef { shard: group.run.shard(), number, message });
            outbox.push(group);
        }
        // Then they leave in several appends, so that their neighbours do not wait for all of them
        let mut next = || outbox.take(usize::MAX, |_| true).len();
        assert_eq!([next(), next(), next()], [limits::APPEND_EVENTS_MAX, limits::APPEND_EVENTS_MAX, 1]);
    }
}
