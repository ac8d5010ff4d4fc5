//! The reads that a processor makes, and its handling of their answers. It must not know how a read is sent.

use crate::data::id::{RunId, ShardId};
use crate::data::time::Timestamp;
use crate::processor::Processor;
use crate::processor::loads::Starts;
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
    /// There may be messages for any shard.
    pub(crate) fn has_mail(&mut self) {
        self.inbox.has_mail(true);
    }

    /// There may be messages for this shard.
    pub(crate) fn has_mail_of(&mut self, shard: ShardId) {
        self.inbox.has_mail_of(shard);
    }

    /// Returns the next read, if any. Its answer must be handed back before the next call.
    pub(crate) fn next_read(&mut self) -> Option<StoreRead> {
        self.left_since_read.clear();
        const KINDS: usize = 4;
        (0..KINDS).find_map(|_| {
            self.read_turn = (self.read_turn + 1) % KINDS;
            match self.read_turn {
                0 => self.ask_due().map(StoreRead::Due),
                1 => self.loads.ask_list().map(StoreRead::List),
                2 => self.ask_load().map(StoreRead::Load),
                _ => self.ask_inbox().map(StoreRead::Inbox),
            }
        })
    }

    fn ask_inbox(&mut self) -> Option<InboxRead> {
        if self.memory.is_full() && self.has_to_take_in() {
            return None;
        }
        let passes_over = self.loads.has_starts() || self.starts() == Starts::HeldBack;
        let read = self.inbox.ask(!passes_over, self.setup.config.page_bytes_max);
        if read.is_some() {
            self.runs.forget_continued();
        }
        read
    }

    fn ask_due(&mut self) -> Option<Due> {
        let until = self.runs.kept_until().filter(|_| !self.loads.has_due())?;
        self.deadlines.ask(until)
    }

    fn ask_load(&mut self) -> Option<Load> {
        if !self.histories.is_empty() {
            return None;
        }
        let page = self.setup.config.page_bytes_max;
        if !self.memory.is_full() {
            return self.loads.ask(page, None);
        }
        // The runs that were loaded last must have been written before they can leave memory.
        let (append, is_written) = (Some(self.appends.committed()), self.is_flushed());
        if self.runs.has_received() || (self.loaded_after == append && !is_written) {
            return None;
        }
        self.loaded_after = append;
        // Runs that would wait in memory for their deadlines have no place: only what was due at the last heartbeat is loaded.
        let until = self.runs.kept_until().unwrap_or(Timestamp::MIN);
        self.loads.ask(page, Some(until.saturating_sub(self.setup.config.horizon)))
    }

    /// A read failed, and must be repeated.
    pub(crate) fn read_failed(&mut self, read: StoreRead) {
        match read {
            StoreRead::List(unparked) => self.loads.list_failed(self.still_wanted(unparked)),
            StoreRead::Load(mut load) => {
                load.runs.retain(|run| !self.has_left(*run));
                self.loads.failed(load);
            }
            StoreRead::Inbox(_) => self.inbox.failed(),
            StoreRead::Due(_) => self.deadlines.failed(),
        }
    }

    /// Takes the messages of a read.
    pub(crate) fn messages(&mut self, page: InboxPage) {
        self.inbox.answer(page);
    }

    /// Takes the parked runs with a near deadline.
    pub(crate) fn due_runs(&mut self, asked: &Due, found: &DueRuns) {
        self.deadlines.found(asked, found);
        for due in &found.runs {
            if !self.has_left(due.run) {
                self.admission().want_due(*due);
            }
        }
    }

    /// Takes a list of busy and stalled runs, and loads those that are not in memory.
    pub(crate) fn listed(&mut self, asked: Unparked, found: &UnparkedRuns) {
        for run in &found.runs {
            if !self.has_left(*run) {
                self.admission().want_recovered(*run);
            }
        }
        self.loads.listed(self.still_wanted(asked), found.cut);
        self.log_recovery();
    }

    /// Takes the histories of a read.
    pub(crate) fn loaded(&mut self, mut asked: Load, mut loaded: Loaded) {
        asked.runs.retain(|run| !self.has_left(*run));
        loaded.histories.retain(|history| !self.has_left(history.run));
        self.histories.add(self.loads.answer(asked, loaded));
    }

    /// Whether the shard of a run left while the read was in flight. Even if it was claimed again, its answer is about the
    /// time before that.
    fn has_left(&self, run: RunId) -> bool {
        self.left_since_read.contains(&run.shard())
    }

    fn still_wanted(&self, mut asked: Unparked) -> Unparked {
        asked.shards.retain(|shard| !self.left_since_read.contains(shard));
        asked
    }
}
