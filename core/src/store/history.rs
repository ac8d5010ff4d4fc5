//! What a processor reads of the log: histories, and deadlines of parked runs.

use bytes::{Bytes, BytesMut};

use crate::data::id::{EventSeq, Position, RunId, ShardId};
use crate::data::name::EventName;
use crate::data::time::Timestamp;

/// Asks for the busy and stalled runs of some shards: what a new owner has to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unparked {
    /// The shards.
    pub shards: Vec<ShardId>,
    /// The last run of the page before.
    pub after: Option<RunId>,
    /// How many runs to return at most, at least 1.
    pub limit: u32,
}

/// Asks for histories, or for the rest of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The runs, ascending, over or not.
    pub runs: Vec<RunId>,
    /// Of the first of them, only the events after this one: its history was cut there.
    pub after: Option<EventSeq>,
    /// How many bytes of events to return at most, by [`EventRecord::bytes`]. One event is returned, however large it
    /// is.
    pub bytes: usize,
}

/// The histories that were asked for, or the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The histories, ascending by run. A run of which the store holds nothing is left out.
    pub histories: Vec<RunHistory>,
    /// The run at which the limit of bytes cut the answer: its history goes on after the events that are here, if
    /// any are, and nothing of the runs after it is here. `None` if everything is.
    pub cut: Option<RunId>,
}

/// What the log says of a run: all of it, or the part that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHistory {
    /// The run.
    pub run: RunId,
    /// Its events, by `seq`. None for a run whose start has not been logged. Whether one is missing is for the reader to
    /// notice: a store that refused a damaged history would keep back its neighbours.
    pub events: Vec<EventRecord>,
}

/// One event as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Its number within the run.
    pub seq: EventSeq,
    /// Its number within the shard.
    pub position: Position,
    /// Its stored name.
    pub name: EventName,
    /// When it happened.
    pub at: Timestamp,
    /// What it says.
    pub body: Bytes,
}

impl EventRecord {
    /// What an event counts beside its body where bytes are limited: a million empty ones take memory as well.
    pub const BYTES_WITHOUT_BODY: usize = 96;

    /// How many bytes it counts where bytes are limited.
    pub fn bytes(&self) -> usize {
        Self::BYTES_WITHOUT_BODY + self.body.len()
    }
}

/// Puts the bodies of events next to each other in memory, in the order in which a store reads them: a long history is
/// replayed in that order, and without this every event of it waits for memory twice.
///
/// What keeps one of them keeps its neighbours, [`Bodies::SHARED_BYTES`] at most.
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
    /// How many bytes share one piece of memory: that of some fifty usual events. A longer body has its own.
    pub const SHARED_BYTES: usize = 4096;

    /// Copies a body to the others.
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
    /// Only deadlines behind this one.
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
    fn small_bodies_stand_next_to_each_other_and_a_long_one_by_itself() {
        let mut bodies = Bodies::default();
        let long = vec![7; Bodies::SHARED_BYTES + 1];
        let (one, alone, other) = (bodies.keep(b"one"), bodies.keep(&long), bodies.keep(b"other"));
        assert_eq!(one.as_ptr().wrapping_add(one.len()), other.as_ptr());
        assert_eq!((&one[..], &alone[..], &other[..]), (&b"one"[..], &long[..], &b"other"[..]));
    }

    #[test]
    fn bodies_that_do_not_fit_any_more_begin_another_piece() {
        let mut bodies = Bodies::default();
        let body = [7; Bodies::SHARED_BYTES / 2 + 1];
        let (one, other) = (bodies.keep(&body), bodies.keep(&body));
        assert_ne!(one.as_ptr().wrapping_add(one.len()), other.as_ptr());
        assert_eq!(one, other);
    }
}
