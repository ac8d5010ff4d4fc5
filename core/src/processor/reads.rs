//! The reads that a processor makes, and its handling of their answers. It must not know how a read is sent.

use crate::processor::Processor;
use crate::store::history::{Due, DueRuns, Load, Loaded, Unparked, UnparkedRuns};
use crate::store::inbox::{InboxPage, InboxRead};

/// A read that the driver must make.
#[derive(Debug)]
pub(crate) enum StoreRead {
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

    /// Returns the next read, if any. Its answer must be handed back before the next call.
    pub(crate) fn next_read(&mut self) -> Option<StoreRead> {
        const KINDS: usize = 4;
        (0..KINDS).find_map(|_| {
            self.read_turn = (self.read_turn + 1) % KINDS;
            match self.read_turn {
                0 => self.ask_due().map(StoreRead::Due),
                1 => self.loads.ask_list().map(StoreRead::List),
                2 if !self.histories.is_empty() => None,
                2 => self.loads.ask().map(StoreRead::Load),
                _ => self.ask_inbox().map(StoreRead::Inbox),
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

    /// Whether memory has no room for more runs, or no shard is owned.
    fn is_crowded(&self) -> bool {
        self.runs.len() >= self.setup.config.runs_max || self.shards.len() == 0
    }

    /// A read failed, and must be repeated.
    pub(crate) fn read_failed(&mut self, read: StoreRead) {
        match read {
            StoreRead::List(unparked) => self.loads.list_failed(unparked),
            StoreRead::Load(load) => self.loads.failed(load),
            StoreRead::Inbox(_) => self.inbox.failed(),
            StoreRead::Due(_) => self.deadlines.failed(),
        }
    }

    /// Takes the messages of a read.
    pub(crate) fn messages(&mut self, asked: &InboxRead, page: InboxPage) {
        self.inbox.answer(page, self.shards.are(&asked.shards));
    }

    /// Takes the parked runs with a near deadline.
    pub(crate) fn due_runs(&mut self, asked: &Due, found: &DueRuns) {
        self.deadlines.found(asked, found, self.shards.are(&asked.shards));
        found.runs.iter().for_each(|due| self.admission().want_due(due.run));
    }

    /// Takes a list of busy and stalled runs, and loads those that are not in memory.
    pub(crate) fn listed(&mut self, asked: Unparked, found: &UnparkedRuns) {
        found.runs.iter().for_each(|run| self.admission().want_recovered(*run));
        self.loads.listed(asked, found.cut);
        self.log_recovery();
    }

    /// Takes the histories of a read.
    pub(crate) fn loaded(&mut self, asked: Load, loaded: Loaded) {
        self.histories.add(self.loads.answer(asked, loaded));
    }
}
