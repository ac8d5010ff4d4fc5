//! Runs that continue others: each begins with the group that ends its predecessor, and is worked on once that is committed.
//! Messages that were read for the predecessor go to it. It must not know why a run is continued.

use tokio::sync::oneshot;

use crate::data::id::RunId;
use crate::log::wire::frame::EncodedEvents;
use crate::processor::Processor;
use crate::processor::attributes::first_attributes;
use crate::processor::live::Live;
use crate::processor::received::Received;
use crate::processor::record::Recorder;
use crate::processor::runs::RunEntry;
use crate::run::Run;
use crate::run::succession::Successor;
use crate::store::append::{AttributeChange, OpenRow, OpenedRun, RunLink};
use crate::store::watch::Notice;

/// A run that begins with the end of its predecessor, as the group of that end has it.
pub(super) struct BegunSuccessor {
    /// Its first events, as they are written.
    pub(super) events: EncodedEvents,
    successor: Successor,
    /// Tells a client of this process how the chain ended.
    on_closed: Option<oneshot::Sender<Notice>>,
}

impl BegunSuccessor {
    pub(super) fn new(successor: Successor, on_closed: Option<oneshot::Sender<Notice>>) -> Self {
        let mut events = EncodedEvents::with_capacity(successor.events.len());
        for past in &successor.events {
            events.push(past.seq, past.at, &past.event);
        }
        Self { events, successor, on_closed }
    }

    pub(super) fn run(&self) -> RunId {
        self.successor.run
    }

    /// The row with which it begins. It is busy, so that a new owner loads it at once.
    pub(super) fn opened(&self) -> OpenedRun {
        let Successor { run, workflow, key, parent, .. } = &self.successor;
        let (workflow, key, row) = (workflow.clone(), key.clone(), OpenRow::default());
        OpenedRun { run: *run, workflow, key, parent: *parent, row }
    }

    /// The attributes with which it begins.
    pub(super) fn attributes(&self) -> Vec<AttributeChange> {
        let first = self.successor.events.first();
        first.map(|first| first_attributes(self.successor.run, &first.event)).unwrap_or_default()
    }

    pub(super) fn link(&self) -> RunLink {
        RunLink { run: self.successor.run, link: self.successor.link }
    }
}

impl Recorder<'_> {
    /// A run is continued by another: messages that were read for it, now and later, wait for its successor.
    pub(super) fn hand_on(&mut self, run: RunId, successor: RunId) {
        let arrived = self.runs.continue_with(run, successor);
        self.hold_for(run, successor, arrived);
    }

    /// Messages were read for a run before it was in memory. It may have been continued as soon as it was.
    pub(super) fn receive(&mut self, run: RunId, messages: Vec<Received>) {
        let current = self.runs.current(run);
        if current == run { self.runs.receive(run, messages) } else { self.hold_for(run, current, messages) }
    }

    fn hold_for(&mut self, run: RunId, successor: RunId, messages: impl IntoIterator<Item = Received>) {
        let (for_successor, late): (Vec<Received>, Vec<Received>) =
            messages.into_iter().partition(|received| received.message.follows_chain());
        self.loads.hold(successor, for_successor);
        late.into_iter().for_each(|late| self.too_late(run, late));
    }
}

impl Processor {
    /// A group that ended a run is committed, and with it the beginning of its successor, which is worked on from now on.
    pub(super) fn begin_successor(&mut self, begun: BegunSuccessor) {
        let BegunSuccessor { successor: Successor { run: id, link, events, .. }, on_closed, .. } = begun;
        self.runs.settle_continued(link.predecessor, self.inbox.is_reading());
        if !self.shards.serves(id.shard()) {
            // The next owner of the shard finds it in the log.
            return;
        }
        if self.suspects.is_suspicious(id) {
            let waiting = self.loads.unhold(id);
            return self.admission().want(id, waiting);
        }
        let run = Run::take_up(id, &events, &self.setup.registry);
        let waiting = self.loads.unhold(id);
        self.runs.insert(Live::continuing(run, on_closed));
        // Its predecessor may not have heard whether those that it carried along exist.
        self.recorder().start_children(id);
        self.runs.receive(id, waiting);
        self.runs.entry(id).into_iter().for_each(RunEntry::update_order);
    }
}
