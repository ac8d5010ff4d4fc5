//! A group: what one step of one run writes, atomically, and what it causes after its commit. It must not know when it
//! is appended.

use bytes::Bytes;

use crate::data::id::{EventSeq, RunId};
use crate::data::name::{EventName, Name};
use crate::data::time::Timestamp;
use crate::processor::effect::Effect;
use crate::processor::shards::Shards;
use crate::store::append::{ClosedRun, NewEvent, OpenRow, SentMessage};
use crate::store::inbox::MessageRef;
use crate::store::lease::Suspect;

/// What one step of a run writes, and what it causes after its commit.
pub(super) struct Group {
    pub(super) run: RunId,
    pub(super) events: Vec<Encoded>,
    /// How many of its events are in the append in flight.
    appended: usize,
    pub(super) consumed: Vec<MessageRef>,
    pub(super) undelivered: Vec<MessageRef>,
    /// Messages for other runs, which follow from its events.
    pub(super) sent: Vec<SentMessage>,
    pub(super) row: Option<RowChange>,
    pub(super) suspect: Option<SuspectChange>,
    pub(super) effects: Vec<Effect>,
    /// Whether the run was in memory when the group was queued, and counts it.
    pub(super) counted: bool,
}

/// An event that is encoded and has no position yet.
pub(super) struct Encoded {
    pub(super) seq: EventSeq,
    pub(super) at: Timestamp,
    pub(super) name: EventName,
    pub(super) body: Bytes,
}

/// A change of a run's row.
pub(super) enum RowChange {
    /// The run is open. `workflow` is there if the store has no row yet.
    Open { workflow: Option<Name>, row: OpenRow },
    /// The run is over.
    Closed(ClosedRun),
}

/// A change of what the store has on a suspect.
#[derive(Clone, Copy, Debug)]
pub(super) enum SuspectChange {
    /// The run is marked as this from now on.
    Mark(Suspect),
    /// The run is no suspect any more.
    Clear,
}

impl Group {
    /// A group that writes nothing yet.
    pub(super) fn new(run: RunId) -> Self {
        Self {
            run,
            events: Vec::new(),
            appended: 0,
            consumed: Vec::new(),
            undelivered: Vec::new(),
            sent: Vec::new(),
            row: None,
            suspect: None,
            effects: Vec::new(),
            counted: false,
        }
    }

    /// A group that changes the row of an open run, which the store has.
    pub(super) fn of_row(run: RunId, row: OpenRow) -> Self {
        Self { row: Some(RowChange::Open { workflow: None, row }), ..Self::new(run) }
    }

    /// A group that changes what the store has on a suspect.
    pub(super) fn of_suspect(run: RunId, change: SuspectChange) -> Self {
        Self { suspect: Some(change), ..Self::new(run) }
    }

    /// How many bytes its events and messages have.
    pub(super) fn bytes(&self) -> usize {
        let events = self.events.iter().map(|event| event.body.len());
        events.chain(self.sent.iter().map(|message| message.body.len())).sum()
    }

    pub(super) fn writes_nothing(&self) -> bool {
        self.events.is_empty()
            && self.consumed.is_empty()
            && self.undelivered.is_empty()
            && self.sent.is_empty()
            && self.row.is_none()
            && self.suspect.is_none()
    }

    /// Moves its events to an append, with their positions.
    pub(super) fn place(&mut self, shards: &mut Shards, append: &mut Vec<NewEvent>) {
        self.appended = self.events.len();
        if self.events.is_empty() {
            return;
        }
        let position = shards.next_position(self.run);
        for Encoded { seq, at, name, body } in self.events.drain(..) {
            append.push(NewEvent { run: self.run, seq, position: *position, name, at, body });
            *position = position.next();
        }
    }

    /// Takes its events back, the last of those in an append that was refused.
    pub(super) fn take_back(&mut self, append: &mut Vec<NewEvent>) {
        let own = append.drain(append.len() - self.appended..);
        self.events =
            own.map(|NewEvent { seq, at, name, body, .. }| Encoded { seq, at, name, body }).collect();
    }
}
