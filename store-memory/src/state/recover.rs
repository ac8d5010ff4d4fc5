//! Reads what a processor needs to recover and wake runs: histories, and parked runs by their deadlines. It must not
//! know what an event says.

use std::ops::Bound;

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{Position, RunId, ShardId};
use pgworkflows_core::store::{
    Due, DueMark, DueRuns, Frame, Load, Loaded, RunHistory, Unparked, UnparkedRuns,
};

use super::State;
use super::merge::merge;

impl State {
    /// The busy and stalled runs of some shards, by shard.
    pub(crate) fn unparked(&self, unparked: &Unparked) -> UnparkedRuns {
        let Unparked { shards, after, limit } = unparked;
        let mut shards = shards.clone();
        shards.sort_unstable();
        let begins = after.map(RunId::shard);
        let later = shards.into_iter().filter(|shard| Some(*shard) >= begins);
        let runs =
            later.flat_map(|shard| self.unparked_of_shard(shard, after.filter(|run| run.shard() == shard)));
        let mut runs: Vec<RunId> = runs.take(*limit as usize).collect();
        let cut = runs.last().filter(|_| runs.len() == *limit as usize).copied();
        // Of a pending run, the log may have an event.
        runs.retain(|run| !self.runs[run].frames.is_empty());
        UnparkedRuns { runs, cut }
    }

    /// Histories, up to the first frame that exceeds the limit of bytes.
    pub(crate) fn load(&self, load: &Load) -> Loaded {
        let mut histories = Vec::new();
        let mut bytes = 0;
        for (index, id) in load.runs.iter().enumerate() {
            let Some(run) = self.runs.get(id) else { continue };
            let after = load.after.filter(|_| index == 0);
            let skip = run.frames.partition_point(|frame| Some(frame.seq) <= after);
            let rest = &run.frames[skip..];
            let fits = |frame: &&Frame| {
                let first = bytes == 0;
                bytes += frame.bytes();
                first || bytes <= load.bytes
            };
            let frames: Vec<Frame> = rest.iter().take_while(fits).cloned().collect();
            let cut = (frames.len() < rest.len()).then_some(*id);
            if cut.is_none() || !frames.is_empty() {
                histories.push(RunHistory { run: *id, frames });
            }
            if cut.is_some() {
                return Loaded { histories, cut };
            }
        }
        Loaded { histories, cut: None }
    }

    fn unparked_of_shard(&self, shard: ShardId, after: Option<RunId>) -> impl Iterator<Item = RunId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let of_shard = self.shard(shard).map(|shard| shard.unparked.range((from, Bound::Unbounded)));
        of_shard.into_iter().flatten().copied()
    }

    /// Parked runs by their deadlines.
    pub(crate) fn due_runs(&self, now: Timestamp, due: &Due) -> DueRuns {
        let sequences = due.shards.iter().map(|shard| self.due_of_shard(*shard, due.after, due.until));
        DueRuns { runs: merge(sequences, due.limit as usize), now }
    }

    /// How many events were ever appended, over all shards.
    pub(crate) fn event_count(&self) -> u64 {
        self.shards.iter().map(|shard| shard.next_position.get() - Position::FIRST.get()).sum()
    }

    /// The earliest deadline of a parked run in any shard.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let shards = (0..self.shards.len() as u16).map(super::shard_id);
        let first = |shard| self.due_of_shard(shard, None, Timestamp::MAX_DEADLINE).next();
        shards.filter_map(first).map(|mark| mark.wake_at).min()
    }

    /// A shard's parked runs with a deadline after `after` and up to `until`.
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
