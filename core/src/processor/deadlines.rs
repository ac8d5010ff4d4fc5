//! The processor's part that looks for parked runs whose deadline is near. It must not know the deadlines of runs in
//! memory.
//!
//! As in the inbox, shards that were claimed later have a watermark of their own until it has caught up with the others.

use std::collections::BTreeSet;

use crate::data::id::{RunId, ShardId};
use crate::data::time::Timestamp;
use crate::store::history::{Due, DueMark, DueRuns};
use crate::store::lease::LeaseHeartbeat;

/// How many deadlines are read at once.
const PAGE: u32 = 500;

/// How far the deadlines of parked runs have been read.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// Every shard is in one of them.
    sets: Vec<Set>,
    /// How many sets there have been.
    numbered: u64,
    /// The number of the set that is being read.
    asked: u64,
    /// Whether shards were claimed after the last heartbeat was prepared: its answer does not cover them.
    claimed_since_heartbeat: bool,
}

/// How far the deadlines of some shards have been read.
#[derive(Debug)]
struct Set {
    number: u64,
    shards: BTreeSet<ShardId>,
    /// All deadlines up to this watermark have been found.
    mark: Option<DueMark>,
    /// Whether there may be near deadlines after the watermark.
    due: bool,
    /// Whether all near deadlines have been found up to some time. One set is level, or none.
    level: bool,
}

impl Deadlines {
    /// Shards were claimed: reads their deadlines from the beginning.
    pub(super) fn claim(&mut self, shards: BTreeSet<ShardId>) {
        self.numbered += 1;
        self.sets.push(Set { number: self.numbered, shards, mark: None, due: true, level: false });
        self.claimed_since_heartbeat = true;
    }

    /// These shards go to another owner.
    pub(super) fn leave(&mut self, shards: &BTreeSet<ShardId>) {
        self.sets.iter_mut().for_each(|set| set.shards.retain(|shard| !shards.contains(shard)));
        self.sets.retain(|set| !set.shards.is_empty());
    }

    fn level(&mut self) -> Option<&mut Set> {
        self.sets.iter_mut().find(|set| set.level)
    }

    /// A heartbeat is about to be sent: returns the watermark after which the store is to look.
    pub(super) fn heartbeat(&mut self) -> Option<DueMark> {
        self.claimed_since_heartbeat = false;
        self.level().and_then(|set| set.mark)
    }

    /// Takes the answer to that heartbeat: whether deadlines are due after the watermark.
    pub(super) fn heartbeat_answered(&mut self, asked: &LeaseHeartbeat, due: bool) {
        let is_covered = !self.claimed_since_heartbeat;
        let Some(set) = self.level() else { return };
        if due {
            set.due = true;
        } else if set.mark == asked.due_after && is_covered {
            set.mark = set.mark.max(Some(end_of(asked.due_until)));
        }
    }

    /// Returns the next read, if there may be something to read.
    pub(super) fn ask(&mut self, until: Timestamp) -> Option<Due> {
        let set = self.sets.iter_mut().find(|set| set.due)?;
        set.due = false;
        self.asked = set.number;
        Some(Due { shards: set.shards.iter().copied().collect(), after: set.mark, until, limit: PAGE })
    }

    /// Takes the answer. It may cover shards that have left since.
    pub(super) fn found(&mut self, asked: &Due, found: &DueRuns) {
        let full = found.runs.len() >= asked.limit as usize;
        let Some(index) = self.sets.iter().position(|set| set.number == self.asked) else { return };
        let set = &mut self.sets[index];
        let mark = if full { found.runs.last().copied() } else { Some(end_of(asked.until)) };
        set.mark = set.mark.max(mark);
        set.due |= full;
        if full || set.level {
            return;
        }
        let mut set = self.sets.remove(index);
        if let Some(level) = self.level() {
            level.shards.append(&mut set.shards);
            level.mark = level.mark.min(set.mark);
            level.due |= set.due;
        } else {
            self.sets.push(Set { level: true, ..set });
        }
    }

    /// The read failed, and must be repeated.
    pub(super) fn failed(&mut self) {
        let asked = self.sets.iter_mut().find(|set| set.number == self.asked);
        asked.into_iter().for_each(|set| set.due = true);
    }
}

/// The last possible watermark at this time.
fn end_of(wake_at: Timestamp) -> DueMark {
    DueMark { wake_at, run: RunId::from_u128(u128::MAX) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{BORN, run_id};

    const NOTHING: DueRuns = DueRuns { runs: Vec::new(), now: BORN };

    fn shard(number: u16) -> BTreeSet<ShardId> {
        [ShardId::new(number).expect("the number is small")].into()
    }

    /// Deadlines of a shard that was just claimed.
    fn claimed() -> Deadlines {
        let mut deadlines = Deadlines::default();
        assert!(deadlines.ask(BORN).is_none(), "nothing was claimed");
        deadlines.claim(shard(3));
        deadlines
    }

    fn ask(deadlines: &mut Deadlines, until: Timestamp) -> Due {
        deadlines.ask(until).expect("there may be some")
    }

    #[test]
    fn full_page_is_followed_by_the_next() {
        let mut deadlines = claimed();
        let asked = ask(&mut deadlines, BORN);
        let due = |number| DueMark { wake_at: BORN, run: run_id(u64::from(number)) };
        let runs = (0..PAGE).map(due).collect();
        deadlines.found(&asked, &DueRuns { runs, now: BORN });
        let next = ask(&mut deadlines, BORN);
        assert_eq!(next.after, Some(due(PAGE - 1)));
        deadlines.found(&next, &NOTHING);
        assert_eq!(deadlines.heartbeat(), Some(end_of(BORN)));
    }

    #[test]
    fn failed_read_is_repeated() {
        let mut deadlines = claimed();
        assert_eq!(ask(&mut deadlines, BORN).after, None);
        deadlines.failed();
        assert_eq!(ask(&mut deadlines, BORN).after, None);
    }

    #[test]
    fn claimed_shard_has_a_watermark_of_its_own_until_it_has_caught_up() {
        // Given a shard that has been read up to some time, and another that was claimed later
        let mut deadlines = claimed();
        let asked = ask(&mut deadlines, BORN);
        deadlines.found(&asked, &NOTHING);
        deadlines.claim(shard(4));
        let later = BORN.saturating_add(Duration::from_secs(4));
        let asked = ask(&mut deadlines, later);
        assert_eq!((asked.shards.len(), asked.after), (1, None));
        assert_eq!(deadlines.heartbeat(), Some(end_of(BORN)), "that of the first shard");

        // When it was read, the earlier watermark serves both
        deadlines.found(&asked, &NOTHING);
        assert_eq!(deadlines.heartbeat(), Some(end_of(BORN)));
        assert!(deadlines.ask(later).is_none());
        deadlines.level().expect("both are level").due = true;
        assert_eq!(ask(&mut deadlines, later).shards.len(), 2);
    }

    #[test]
    fn answer_for_a_shard_that_left_and_came_back_moves_no_watermark() {
        let mut deadlines = claimed();
        let asked = ask(&mut deadlines, BORN);
        deadlines.leave(&shard(3));
        deadlines.claim(shard(3));
        deadlines.found(&asked, &NOTHING);
        assert_eq!(deadlines.heartbeat(), None);
        assert_eq!(ask(&mut deadlines, BORN).after, None);
    }
}
