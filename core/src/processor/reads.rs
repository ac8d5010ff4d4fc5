//! What a processor asks the store, and what becomes of the answers.

use crate::data::id::RunId;
use crate::processor::Processor;
use crate::store::history::{Due, DueRuns, Load, Loaded, Unparked};
use crate::store::inbox::{InboxPage, InboxRead};

/// What the driver is to read next.
#[derive(Debug)]
pub(crate) enum Read {
    List(Unparked),
    Load(Load),
    Due(Due),
    Inbox(InboxRead),
}

impl Processor {
    /// There may be messages.
    pub(crate) fn has_mail(&mut self) {
        self.inbox.has_mail(true);
    }

    /// What to read next, if anything. The answer must be handed back before the next call.
    pub(crate) fn next_read(&mut self) -> Option<Read> {
        const KINDS: usize = 4;
        (0..KINDS).find_map(|_| {
            self.read_turn = (self.read_turn + 1) % KINDS;
            match self.read_turn {
                0 => self.ask_due().map(Read::Due),
                1 => self.loads.ask_list().map(Read::List),
                2 if !self.histories.is_empty() => None,
                2 => self.loads.ask().map(Read::Load),
                _ => self.ask_inbox().map(Read::Inbox),
            }
        })
    }

    fn ask_inbox(&mut self) -> Option<InboxRead> {
        (!self.is_crowded()).then(|| self.inbox.ask(|| self.shards.ids().collect())).flatten()
    }

    fn ask_due(&mut self) -> Option<Due> {
        let until = self.runs.kept_until().filter(|_| !self.is_crowded())?;
        self.deadlines.ask(self.shards.ids(), until)
    }

    /// Whether memory has no room for more runs, or there is no shard to take them from.
    fn is_crowded(&self) -> bool {
        self.runs.len() >= self.setup.config.runs_max || self.shards.len() == 0
    }

    /// A read failed: it is to be made again.
    pub(crate) fn read_failed(&mut self, read: Read) {
        match read {
            Read::List(unparked) => self.loads.list_failed(unparked),
            Read::Load(load) => self.loads.failed(load),
            Read::Inbox(_) => self.inbox.failed(),
            Read::Due(_) => self.deadlines.failed(),
        }
    }

    /// Messages that were asked for.
    pub(crate) fn messages(&mut self, asked: &InboxRead, page: InboxPage) {
        self.inbox.answer(page, self.shards.are(&asked.shards));
    }

    /// Parked runs whose deadline is near.
    pub(crate) fn due_runs(&mut self, asked: &Due, found: &DueRuns) {
        self.deadlines.found(asked, found, self.shards.are(&asked.shards));
        found.runs.iter().for_each(|due| self.admission().want_due(due.run));
    }

    /// Busy and stalled runs that were asked for. Those that are in memory have gone on since, or will: only what is not
    /// there is loaded.
    pub(crate) fn listed(&mut self, asked: Unparked, found: &[RunId]) {
        found.iter().for_each(|run| self.admission().want_recovered(*run));
        self.loads.listed(asked, found);
        self.tell_recovery();
    }

    /// Histories that were asked for.
    pub(crate) fn loaded(&mut self, asked: Load, loaded: Loaded) {
        self.histories.add(self.loads.answer(asked, loaded));
    }
}
