//! What a processor reads back: histories, and parked runs by their deadlines. It must not know what to do
//! with them.

use std::collections::BTreeSet;
use std::ops::Bound;

use pgworkflows::store::{Due, DueMark, DueRuns, Load, RunHistory};
use pgworkflows::{Position, RunId, ShardId, Timestamp};

use super::State;
use super::merge::merge;

/// The greatest id there is, above every run that exists.
const LAST_RUN: u128 = u128::MAX;

impl State {
    /// Whole histories, ascending by run.
    pub(crate) fn load(&self, load: &Load) -> Vec<RunHistory> {
        match load {
            Load::Runs(runs) => {
                let runs: BTreeSet<RunId> = runs.iter().copied().collect();
                runs.into_iter().filter_map(|run| self.run_history(run)).collect()
            }
            Load::Unparked { shards, after, limit } => {
                let sequences = shards.iter().map(|shard| self.unparked_of_shard(*shard, *after));
                let runs = merge(sequences, *limit as usize);
                runs.into_iter().filter_map(|run| self.run_history(run)).collect()
            }
        }
    }

    fn run_history(&self, id: RunId) -> Option<RunHistory> {
        self.runs.get(&id).map(|run| RunHistory { run: id, events: run.events.clone() })
    }

    fn unparked_of_shard(&self, shard: ShardId, after: Option<RunId>) -> impl Iterator<Item = RunId> {
        let from = match after {
            Some(after) => Bound::Excluded((shard, after)),
            None => Bound::Included((shard, RunId::from_u128(0))),
        };
        let to = Bound::Included((shard, RunId::from_u128(LAST_RUN)));
        self.unparked.range((from, to)).map(|(_, run)| *run)
    }

    /// Parked runs by their deadlines.
    pub(crate) fn due_runs(&self, now: Timestamp, due: &Due) -> DueRuns {
        let sequences = due.shards.iter().map(|shard| self.due_of_shard(*shard, due.after, due.until));
        DueRuns { runs: merge(sequences, due.limit as usize), now }
    }

    /// How many events all shards have given positions to.
    pub(crate) fn event_count(&self) -> u64 {
        self.shards.iter().map(|shard| shard.next_position.get() - Position::FIRST.get()).sum()
    }

    /// The earliest deadline of a parked run, of whichever shard.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let shards = (0..self.shards.len() as u16).map(super::shard_id);
        let first = |shard| self.due_of_shard(shard, None, Timestamp::MAX_DEADLINE).next();
        shards.filter_map(first).map(|mark| mark.wake_at).min()
    }

    /// A shard's parked runs with a deadline behind `after`, up to `until`.
    pub(super) fn due_of_shard(
        &self,
        shard: ShardId,
        after: Option<DueMark>,
        until: Timestamp,
    ) -> impl Iterator<Item = DueMark> {
        let from = match after {
            Some(after) => Bound::Excluded((shard, after)),
            None => Bound::Included((shard, DueMark { wake_at: Timestamp::MIN, run: RunId::from_u128(0) })),
        };
        let marks = self.due.range((from, Bound::Unbounded));
        marks.take_while(move |(of, mark)| *of == shard && mark.wake_at <= until).map(|(_, mark)| *mark)
    }
}
