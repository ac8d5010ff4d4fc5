//! What a processor reads from the log: histories, and deadlines of parked runs. It must not know any kind of event.

use bytes::{Bytes, BytesMut};

use crate::data::id::{EventSeq, RunId, ShardId};
use crate::data::time::Timestamp;
use crate::store::frame::Frame;

/// Asks for the busy and stalled runs of some shards, which a new owner has to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unparked {
    /// The shards.
    pub shards: Vec<ShardId>,
    /// Where the previous page was cut.
    pub after: Option<RunId>,
    /// How many runs to look at, at least 1.
    pub limit: u32,
}

/// Busy and stalled runs, or the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnparkedRuns {
    /// The runs, by shard, those of one shard ascending: so a store reads no more of them than a page has.
    pub runs: Vec<RunId>,
    /// Where the next page begins: after this run. `None` if the answer is complete.
    pub cut: Option<RunId>,
}

/// Asks for histories, or for their remaining frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The runs, ascending, open or over.
    pub runs: Vec<RunId>,
    /// For the first run, only the frames that begin after this event, where the previous answer was cut.
    pub after: Option<EventSeq>,
    /// How many bytes of frames to return at most, counted by [`Frame::bytes`]. The first frame is returned whatever its
    /// size.
    pub bytes: usize,
}

/// The histories that were asked for, or the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The histories, ascending by run. Runs that the store does not have are left out.
    pub histories: Vec<RunHistory>,
    /// The run at which the byte limit cut the answer: its later frames and all runs after it are missing. `None` if the
    /// answer is complete.
    pub cut: Option<RunId>,
}

/// A run's frames: all of them, or the part that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHistory {
    /// The run.
    pub run: RunId,
    /// The run's frames, by `seq`; empty before its start is logged. The reader checks them and that none is missing: a
    /// store that refused a damaged history would withhold the other histories of the answer.
    pub frames: Vec<Frame>,
}

/// Stores the bodies of frames next to each other in memory, in the order in which a store reads them. A long history is
/// replayed in that order, and adjacent bodies save cache misses.
///
/// A body that is kept keeps its neighbours in memory, at most [`Bodies::SHARED_BYTES`].
///
/// ```
/// use pgworkflows::store::Bodies;
///
/// let mut bodies = Bodies::default();
/// let (one, other) = (bodies.keep(b"one"), bodies.keep(b"other"));
/// assert_eq!((&one[..], &other[..]), (&b"one"[..], &b"other"[..]));
/// ```
#[derive(Debug, Default)]
pub struct Bodies(BytesMut);

impl Bodies {
    /// How many bytes share one allocation: about fifty typical frames. A longer body has its own.
    pub const SHARED_BYTES: usize = 4096;

    /// Copies a body after the previous one.
    pub fn keep(&mut self, body: &[u8]) -> Bytes {
        if body.len() > Self::SHARED_BYTES {
            return Bytes::copy_from_slice(body);
        }
        if self.0.capacity() < body.len() {
            self.0 = BytesMut::with_capacity(Self::SHARED_BYTES);
        }
        self.0.extend_from_slice(body);
        self.0.split().freeze()
    }
}

/// A point in the order of deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueMark {
    /// The deadline.
    pub wake_at: Timestamp,
    /// The run.
    pub run: RunId,
}

/// Asks for parked runs by their deadlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The shards.
    pub shards: Vec<ShardId>,
    /// Only deadlines after this one.
    pub after: Option<DueMark>,
    /// Only deadlines up to this one.
    pub until: Timestamp,
    /// How many runs to return at most, at least 1.
    pub limit: u32,
}

/// Parked runs by their deadlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRuns {
    /// The runs, ascending.
    pub runs: Vec<DueMark>,
    /// The store's clock when it answered.
    pub now: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::Bodies;

    #[test]
    fn small_bodies_are_adjacent_and_a_long_one_is_separate() {
        let mut bodies = Bodies::default();
        let long = vec![7; Bodies::SHARED_BYTES + 1];
        let (one, alone, other) = (bodies.keep(b"one"), bodies.keep(&long), bodies.keep(b"other"));
        assert_eq!(one.as_ptr().wrapping_add(one.len()), other.as_ptr());
        assert_eq!((&one[..], &alone[..], &other[..]), (&b"one"[..], &long[..], &b"other"[..]));
    }

    #[test]
    fn body_that_does_not_fit_begins_another_allocation() {
        let mut bodies = Bodies::default();
        let body = [7; Bodies::SHARED_BYTES / 2 + 1];
        let (one, other) = (bodies.keep(&body), bodies.keep(&body));
        assert_ne!(one.as_ptr().wrapping_add(one.len()), other.as_ptr());
        assert_eq!(one, other);
    }
}
