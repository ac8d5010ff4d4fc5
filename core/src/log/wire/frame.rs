//! The body of a frame: the events that one append writes for one run, as one array. It must not know what an event says.
//!
//! Each event takes three items: the code of its kind, the microseconds since the event before it, and its body as bytes.
//! The first event's time is the frame's own. So an event that cannot be read hides none of its neighbours, and a frame of
//! an activity's outcome and the end of its run takes some 20 bytes.

use std::ops::Range;

use bytes::Bytes;

use super::cbor::{Decoded, Fault, Reader, Writer};
use super::{WireError, append_event, decode_event_within};
use crate::data::id::{EventSeq, Position, RunId};
use crate::data::limits;
use crate::data::time::Timestamp;
use crate::log::event::{Event, EventKind};
use crate::log::past_event::{PastEvent, StoredEvent};
use crate::store::frame::Frame;
use crate::store::history::Bodies;

/// How many items an event takes.
const ITEMS: usize = 3;

/// How many bytes an event may take in a frame beyond its body: a code, a time, and the head of the body.
const BYTES_WITHOUT_BODY_MAX: usize = 2 + 9 + 9;

/// How many bytes are reserved for the body of an event: some more than most of them have.
const BODY_BYTES_USUAL: usize = 48;

/// Encoded events of one run, in order, that are not in a frame yet.
#[derive(Debug)]
pub(crate) struct EncodedEvents {
    /// The number of the first one.
    first: EventSeq,
    heads: Vec<Head>,
    bodies: Vec<u8>,
}

#[derive(Debug)]
struct Head {
    kind: EventKind,
    at: Timestamp,
    /// Where its body ends in the bodies.
    end: usize,
}

/// One encoded event.
struct Encoded<'e> {
    kind: EventKind,
    at: Timestamp,
    body: &'e [u8],
}

impl Encoded<'_> {
    fn bytes_max(&self) -> usize {
        BYTES_WITHOUT_BODY_MAX + self.body.len()
    }
}

impl EncodedEvents {
    pub(crate) fn new() -> Self {
        Self { first: EventSeq::FIRST, heads: Vec::new(), bodies: Vec::new() }
    }

    /// Makes room for that many events of usual size.
    pub(crate) fn with_capacity(events: usize) -> Self {
        Self {
            first: EventSeq::FIRST,
            heads: Vec::with_capacity(events),
            bodies: Vec::with_capacity(events * BODY_BYTES_USUAL),
        }
    }

    /// Encodes the next event. Returns its body.
    pub(crate) fn push(&mut self, seq: EventSeq, at: Timestamp, event: &Event) -> &[u8] {
        if self.heads.is_empty() {
            self.first = seq;
        }
        let start = self.bodies.len();
        append_event(&mut self.bodies, event);
        self.heads.push(Head { kind: event.kind(), at, end: self.bodies.len() });
        &self.bodies[start..]
    }

    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The size of the bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.bodies.len()
    }

    fn iter(&self) -> impl Iterator<Item = Encoded<'_>> + Clone {
        let mut start = 0;
        self.heads.iter().map(move |head| {
            let body = &self.bodies[start..head.end];
            start = head.end;
            Encoded { kind: head.kind, at: head.at, body }
        })
    }
}

/// Makes the frames of an append. Their bodies lie next to each other in memory.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    frames: Vec<Frame>,
    bodies: Bodies,
    /// The body that is written. It is kept for the next one, and copied when its size is known.
    body: Vec<u8>,
}

impl FrameWriter {
    /// Makes room for that many frames.
    pub(crate) fn with_capacity(frames: usize) -> Self {
        Self { frames: Vec::with_capacity(frames), ..Self::default() }
    }

    pub(crate) fn finish(self) -> Vec<Frame> {
        self.frames
    }

    /// Makes the frames of one run's events, which continue from one part to the next. `next` is the position of the first
    /// event, and becomes that of the first one after them.
    pub(crate) fn write<'e>(
        &mut self,
        run: RunId,
        parts: impl Iterator<Item = &'e EncodedEvents> + Clone,
        next: &mut Position,
    ) {
        let Some(mut seq) = parts.clone().find(|part| !part.is_empty()).map(|part| part.first) else {
            return;
        };
        let mut events = parts.flat_map(EncodedEvents::iter);
        loop {
            let count = fitting(events.clone());
            if count == 0 {
                break;
            }
            let (at, body) = self.write_body(events.by_ref().take(count), count);
            let position = Position::new(next.get() + count as u64 - 1);
            let frame = Frame { run, seq, count: count as u32, position, at, body };
            *next = position.next();
            seq = frame.next_seq();
            self.frames.push(frame);
        }
    }

    /// The body of a frame of these events, and the time of the first one.
    fn write_body<'e>(
        &mut self,
        events: impl Iterator<Item = Encoded<'e>>,
        count: usize,
    ) -> (Timestamp, Bytes) {
        self.body.clear();
        let mut to = Writer::after(std::mem::take(&mut self.body));
        to.array(ITEMS * count);
        let (mut first, mut before) = (None, Timestamp::MIN);
        for Encoded { kind, at, body } in events {
            if first.is_none() {
                (first, before) = (Some(at), at);
            }
            to.unsigned(kind.code().into());
            to.signed(at.as_micros().wrapping_sub(before.as_micros()));
            to.bytes(body);
            before = at;
        }
        self.body = to.finish();
        (first.unwrap_or_default(), self.bodies.keep(&self.body))
    }
}

/// How many of the next events make a frame. One event fits, whatever its size.
fn fitting<'e>(events: impl Iterator<Item = Encoded<'e>>) -> usize {
    let (mut count, mut bytes) = (0, 0);
    for event in events.take(limits::FRAME_EVENTS_MAX) {
        bytes += event.bytes_max();
        if count > 0 && bytes > limits::FRAME_BYTES_MAX {
            break;
        }
        count += 1;
    }
    count
}

/// The events of a frame, read one after the other. An error in the frame itself is the last item.
#[derive(Clone, Debug)]
pub(crate) struct FrameEvents {
    frame: Frame,
    /// How many were read.
    read: u32,
    /// Where the next one begins.
    at: usize,
    /// The time of the last one.
    time: Timestamp,
}

/// The place of an event in its frame.
struct Part {
    seq: EventSeq,
    kind: EventKind,
    at: Timestamp,
    body: Range<usize>,
}

impl FrameEvents {
    pub(crate) fn new(frame: Frame) -> Self {
        let time = frame.at;
        Self { frame, read: 0, at: 0, time }
    }

    /// How many items are still to be read, if the frame is right. One that claims to be empty has an error.
    pub(crate) fn left(&self) -> u32 {
        self.frame.count.max(1).saturating_sub(self.read)
    }

    /// Whether nothing is left to be read: neither an event nor the fault of a frame without one.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.left() == 0
    }

    /// The next event; `None` after the last one.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Result<PastEvent, String>> {
        if self.is_over() { None } else { Some(self.read()) }
    }

    /// The last event; `None` if it, or the place of one before it, cannot be read.
    pub(crate) fn last(mut self) -> Option<PastEvent> {
        while self.left() > 1 {
            self.read_part().ok()?;
        }
        self.next()?.ok()
    }

    /// As [`FrameEvents::next`], without decoding the event.
    pub(crate) fn next_stored(&mut self) -> Option<Result<StoredEvent, String>> {
        if self.is_over() {
            return None;
        }
        Some(self.read_part().map(|Part { seq, kind, at, body }| {
            let body = self.frame.body.slice(body);
            StoredEvent { seq, at, kind, body }
        }))
    }

    // A `PastEvent` is large: it is moved once less for each call that is inlined.
    #[inline(always)]
    fn read(&mut self) -> Result<PastEvent, String> {
        let Part { seq, kind, at, body } = self.read_part()?;
        match decode_event_within(kind, &self.frame.body[body], &self.frame.body) {
            Ok(event) => Ok(PastEvent { seq, at, event }),
            Err(error) => Err(unreadable(seq, &error)),
        }
    }

    fn read_part(&mut self) -> Result<Part, String> {
        self.try_read_part().map_err(|fault| self.damaged(&fault))
    }

    /// Describes the fault, after which nothing of the frame can be read.
    #[cold]
    fn damaged(&mut self, fault: &Fault) -> String {
        let Frame { seq, count, body, .. } = &self.frame;
        self.read = (*count).max(1);
        format!("the frame of {count} events at event {seq} ({} bytes): {fault}", body.len())
    }

    #[inline]
    fn try_read_part(&mut self) -> Decoded<Part> {
        let body = &self.frame.body;
        let mut from = Reader::starting_at(self.at, body);
        if self.read == 0 {
            let items = from.array()?;
            if self.frame.count == 0 || items != ITEMS * self.frame.count as usize {
                return Err(Fault::new(0, format!("it has {items} items, where each event takes {ITEMS}")));
            }
        }
        let kind = EventKind::from_code(from.small()?);
        let since = from.signed()?;
        let event = from.byte_slice()?;
        let end = from.at();
        let at = Timestamp::from_micros(self.time.as_micros().wrapping_add(since));
        let seq = EventSeq::new(self.frame.seq.get().wrapping_add(self.read));
        self.read += 1;
        if self.left() == 0 {
            from.end()?;
        }
        (self.at, self.time) = (end, at);
        Ok(Part { seq, kind, at, body: end - event.len()..end })
    }
}

#[cold]
fn unreadable(seq: EventSeq, error: &WireError) -> String {
    format!("event {seq}: {error}")
}
