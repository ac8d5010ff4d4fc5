//! The processor's part that looks for parked runs whose deadline is near. It must not know the deadlines of runs in
//! memory.

use crate::data::id::{RunId, ShardId};
use crate::data::time::Timestamp;
use crate::store::history::{Due, DueMark, DueRuns};
use crate::store::lease::LeaseHeartbeat;

/// How many deadlines are read at once.
const PAGE: u32 = 500;

/// How far the deadlines of parked runs have been read.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// All deadlines up to this watermark have been found.
    mark: Option<DueMark>,
    /// Whether there may be near deadlines after the watermark.
    due: bool,
    /// Whether shards were claimed after the last heartbeat was prepared: its answer does not cover them.
    claimed_since_heartbeat: bool,
}

impl Deadlines {
    /// Shards were claimed: reads their deadlines from the beginning.
    pub(super) fn restart(&mut self) {
        *self = Self { mark: None, due: true, claimed_since_heartbeat: true };
    }

    /// A heartbeat is about to be sent: returns the watermark after which the store is to look.
    pub(super) fn heartbeat(&mut self) -> Option<DueMark> {
        self.claimed_since_heartbeat = false;
        self.mark
    }

    /// Takes the answer to that heartbeat: whether deadlines are due after the watermark.
    pub(super) fn heartbeat_answered(&mut self, asked: &LeaseHeartbeat, due: bool) {
        if due {
            self.due = true;
        } else if self.mark == asked.due_after && !self.claimed_since_heartbeat {
            self.mark = self.mark.max(Some(end_of(asked.due_until)));
        }
    }

    /// Returns the next read, if there may be something to read.
    pub(super) fn ask(&mut self, shards: impl Iterator<Item = ShardId>, until: Timestamp) -> Option<Due> {
        let after = self.mark;
        std::mem::take(&mut self.due).then(|| Due { shards: shards.collect(), after, until, limit: PAGE })
    }

    /// Takes the answer. `current` says whether it covers exactly the shards that are served now.
    pub(super) fn found(&mut self, asked: &Due, found: &DueRuns, current: bool) {
        let full = found.runs.len() >= asked.limit as usize;
        if current {
            let mark = if full { found.runs.last().copied() } else { Some(end_of(asked.until)) };
            self.mark = self.mark.max(mark);
        }
        self.due |= full;
    }

    /// The read failed, and must be repeated.
    pub(super) fn failed(&mut self) {
        self.due = true;
    }
}

/// The last possible watermark at this time.
fn end_of(wake_at: Timestamp) -> DueMark {
    DueMark { wake_at, run: RunId::from_u128(u128::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BORN, run_id};

    fn ask(deadlines: &mut Deadlines) -> Due {
        let shards = [run_id(0).shard()];
        deadlines.ask(shards.into_iter(), BORN).expect("there may be some")
    }

    #[test]
    fn full_page_is_followed_by_the_next() {
        let mut deadlines = Deadlines::default();
        assert!(deadlines.ask(std::iter::empty(), BORN).is_none(), "nothing was claimed");
        deadlines.restart();
        let asked = ask(&mut deadlines);
        let due = |number| DueMark { wake_at: BORN, run: run_id(u64::from(number)) };
        let runs = (0..PAGE).map(due).collect();
        deadlines.found(&asked, &DueRuns { runs, now: BORN }, true);
        let next = ask(&mut deadlines);
        assert_eq!(next.after, Some(due(PAGE - 1)));
        deadlines.found(&next, &DueRuns { runs: Vec::new(), now: BORN }, true);
        assert_eq!(deadlines.heartbeat(), Some(end_of(BORN)));
    }

    #[test]
    fn answer_about_other_shards_moves_no_watermark_and_a_failed_read_is_repeated() {
        let mut deadlines = Deadlines::default();
        deadlines.restart();
        let asked = ask(&mut deadlines);
        deadlines.found(&asked, &DueRuns { runs: Vec::new(), now: BORN }, false);
        assert_eq!(deadlines.heartbeat(), None);
        deadlines.failed();
        assert_eq!(ask(&mut deadlines).after, None);
    }
}
