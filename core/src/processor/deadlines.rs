//! The processor's part that looks for parked runs whose deadline is near. It must not know the deadlines of runs in
//! memory.

use crate::data::id::{RunId, ShardId};
use crate::data::time::Timestamp;
use crate::store::history::{Due, DueMark, DueRuns};
use crate::store::lease::LeaseTick;

/// How many deadlines are read at once.
const PAGE: u32 = 500;

/// How far the deadlines of parked runs were looked at.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// All deadlines up to this mark were found.
    mark: Option<DueMark>,
    /// Whether there may be near ones after the mark.
    due: bool,
    /// Whether shards came after the last heartbeat was asked: its answer does not speak for them.
    claimed_since_tick: bool,
}

impl Deadlines {
    /// Shards came, whose deadlines nobody here has looked at.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { mark: None, due: true, claimed_since_tick: true };
    }

    /// A heartbeat is about to be sent: says after which mark the store is to look.
    pub(super) fn tick(&mut self) -> Option<DueMark> {
        self.claimed_since_tick = false;
        self.mark
    }

    /// The answer to that heartbeat: whether some are due after the mark.
    pub(super) fn ticked(&mut self, asked: &LeaseTick, due: bool) {
        if due {
            self.due = true;
        } else if self.mark == asked.due_after && !self.claimed_since_tick {
            self.mark = self.mark.max(Some(end_of(asked.due_until)));
        }
    }

    /// The next read, if there may be something to read.
    pub(super) fn ask(&mut self, shards: impl Iterator<Item = ShardId>, until: Timestamp) -> Option<Due> {
        let after = self.mark;
        std::mem::take(&mut self.due).then(|| Due { shards: shards.collect(), after, until, limit: PAGE })
    }

    /// The answer. `current` says whether it was asked for the shards that are served now.
    pub(super) fn found(&mut self, asked: &Due, found: &DueRuns, current: bool) {
        let full = found.runs.len() >= asked.limit as usize;
        if current {
            let mark = if full { found.runs.last().copied() } else { Some(end_of(asked.until)) };
            self.mark = self.mark.max(mark);
        }
        self.due |= full;
    }

    /// The read failed, and is to be made again.
    pub(super) fn failed(&mut self) {
        self.due = true;
    }
}

/// The last mark of a deadline.
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
    fn page_that_is_full_is_followed_by_the_next() {
        let mut deadlines = Deadlines::default();
        assert!(deadlines.ask(std::iter::empty(), BORN).is_none(), "nothing was claimed");
        deadlines.begin_anew();
        let asked = ask(&mut deadlines);
        let due = |number| DueMark { wake_at: BORN, run: run_id(u64::from(number)) };
        let runs = (0..PAGE).map(due).collect();
        deadlines.found(&asked, &DueRuns { runs, now: BORN }, true);
        let next = ask(&mut deadlines);
        assert_eq!(next.after, Some(due(PAGE - 1)));
        deadlines.found(&next, &DueRuns { runs: Vec::new(), now: BORN }, true);
        assert_eq!(deadlines.tick(), Some(end_of(BORN)));
    }

    #[test]
    fn answer_about_other_shards_moves_no_mark_and_a_failed_read_is_made_again() {
        let mut deadlines = Deadlines::default();
        deadlines.begin_anew();
        let asked = ask(&mut deadlines);
        deadlines.found(&asked, &DueRuns { runs: Vec::new(), now: BORN }, false);
        assert_eq!(deadlines.tick(), None);
        deadlines.failed();
        assert_eq!(ask(&mut deadlines).after, None);
    }
}
