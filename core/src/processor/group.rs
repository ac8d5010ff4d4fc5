//! A group: what one run writes atomically, and the effects of its commit. It must not know when it is appended.

use crate::data::id::RunId;
use crate::data::name::Name;
use crate::log::wire::frame::EncodedEvents;
use crate::processor::counts::RunCounts;
use crate::processor::effect::Effect;
use crate::processor::memory::Held;
use crate::processor::report::Line;
use crate::processor::succession::BegunSuccessor;
use crate::store::append::{AttributeChange, ClosedRun, OpenRow, PublishedView, Reply, SentMessage};
use crate::store::inbox::MessageRef;
use crate::store::lease::Suspect;
use crate::store::tasks::NewTask;

/// A group on its way to an append. Boxed, because groups are large and move from queue to queue.
pub(super) type QueuedGroup = Box<Group>;

/// What one run writes atomically, and the effects of its commit.
pub(super) struct Group {
    pub(super) run: RunId,
    pub(super) events: EncodedEvents,
    pub(super) consumed: Vec<MessageRef>,
    pub(super) undelivered: Vec<MessageRef>,
    /// Messages to other runs that its events cause.
    pub(super) sent: Vec<SentMessage>,
    /// Tasks that its events enqueue.
    pub(super) tasks: Vec<NewTask>,
    /// Views of which its events publish values.
    pub(super) views: Vec<PublishedView>,
    /// Attributes that its events set or remove.
    pub(super) attributes: Vec<AttributeChange>,
    /// Replies to updates.
    pub(super) replies: Vec<Reply>,
    pub(super) row: Option<RowChange>,
    /// The run that continues this one: it begins with this group.
    pub(super) successor: Option<Box<BegunSuccessor>>,
    pub(super) suspect: Option<SuspectChange>,
    pub(super) effects: Vec<Effect>,
    /// What the worker's log says of its events, once they are committed.
    pub(super) lines: Vec<Line>,
    /// What its events add to the worker's metrics, likewise.
    pub(super) counts: RunCounts,
    /// Whether the run was in memory when the group was queued, and counts it.
    pub(super) counted: bool,
    /// Counts its bytes, once it is queued.
    pub(super) held: Option<Held>,
}

/// A change of a run's row.
pub(super) enum RowChange {
    /// The run is open. `workflow` is set if the store has no row yet.
    Open { workflow: Option<Name>, row: OpenRow },
    /// The run is over.
    Closed(ClosedRun),
}

/// A change to a suspect in the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum SuspectChange {
    /// The run gets this mark.
    Mark(Suspect),
    /// The run is no longer a suspect.
    Clear,
}

impl Group {
    /// Makes an empty group.
    pub(super) fn new(run: RunId) -> QueuedGroup {
        Box::new(Self {
            run,
            events: EncodedEvents::new(),
            consumed: Vec::new(),
            undelivered: Vec::new(),
            sent: Vec::new(),
            tasks: Vec::new(),
            views: Vec::new(),
            attributes: Vec::new(),
            replies: Vec::new(),
            row: None,
            successor: None,
            suspect: None,
            effects: Vec::new(),
            lines: Vec::new(),
            counts: RunCounts::default(),
            counted: false,
            held: None,
        })
    }

    /// Makes a group that updates the existing row of an open run.
    pub(super) fn of_row(run: RunId, row: OpenRow) -> QueuedGroup {
        let mut group = Self::new(run);
        group.row = Some(RowChange::Open { workflow: None, row });
        group
    }

    /// Makes a group that changes a suspect in the store.
    pub(super) fn of_suspect(run: RunId, change: SuspectChange) -> QueuedGroup {
        let mut group = Self::new(run);
        group.suspect = Some(change);
        group
    }

    /// The size of its events, messages, tasks and replies, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let sent = self.sent.iter().map(|message| message.body.len());
        let tasks = self.tasks.iter().map(|task| task.body.len() + task.lost.len());
        let replies = self.replies.iter().map(|reply| reply.body.len());
        let successor = self.successor.as_ref().map_or(0, |successor| successor.events.bytes());
        self.events.bytes() + successor + sent.chain(tasks).chain(replies).sum::<usize>()
    }

    /// How many events it has.
    pub(super) fn event_count(&self) -> usize {
        self.events.len() + self.successor.as_ref().map_or(0, |successor| successor.events.len())
    }

    /// How much it counts towards an append: by its events, or if those are more, by the messages that it takes from the inbox,
    /// or by the rows that it writes beside them.
    pub(super) fn size(&self) -> usize {
        let taken = self.consumed.len() + self.undelivered.len();
        let written = self.sent.len() + self.tasks.len() + self.replies.len() + self.attributes.len();
        self.event_count().max(taken).max(written)
    }

    pub(super) fn writes_nothing(&self) -> bool {
        self.events.is_empty()
            && self.consumed.is_empty()
            && self.undelivered.is_empty()
            && self.sent.is_empty()
            && self.tasks.is_empty()
            && self.replies.is_empty()
            && self.row.is_none()
            && self.suspect.is_none()
    }
}
