//! Frames: the rows of the log. It must not know any kind of event.

use bytes::Bytes;

use crate::data::id::{EventSeq, Position, RunId};
use crate::data::time::Timestamp;

/// What one append writes for one run: its events in order, as one row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The run, which determines the shard.
    pub run: RunId,
    /// The number of its first event within the run. The others follow without a gap.
    pub seq: EventSeq,
    /// How many events it has, at least 1.
    pub count: u32,
    /// The position of its last event within the shard. The others precede it without a gap.
    pub position: Position,
    /// When its first event happened.
    pub at: Timestamp,
    /// The encoded events, which only core reads.
    pub body: Bytes,
}

impl Frame {
    /// How many bytes a frame without its body counts towards a byte limit, because it takes memory as well.
    pub const BYTES_WITHOUT_BODY: usize = 96;

    /// How many bytes the frame counts towards a byte limit.
    pub fn bytes(&self) -> usize {
        Self::BYTES_WITHOUT_BODY + self.body.len()
    }

    /// The number of the event that follows it within the run.
    pub fn next_seq(&self) -> EventSeq {
        EventSeq::new(self.seq.get().saturating_add(self.count))
    }

    /// The position of its first event within the shard.
    pub fn first_position(&self) -> Position {
        Position::new(self.position.get().saturating_sub(u64::from(self.count).saturating_sub(1)))
    }
}
