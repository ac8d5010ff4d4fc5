//! The processor's part that replays loaded histories, some events at a time, so that a long history does not block other
//! work. It must not know what happens to a run after its replay.

use std::collections::{BTreeSet, VecDeque};

use crate::data::id::{RunId, ShardId};
use crate::log::past_event::PastEvent;
use crate::log::wire::frame::FrameEvents;
use crate::processor::memory::{Held, Tally};
use crate::run::replay::Replay;
use crate::run::turn::Turn;
use crate::store::frame::Frame;
use crate::workflow::program::Programs;

/// How many events are replayed before other work has its turn.
const EVENTS_AT_ONCE: usize = 64;

/// The histories that arrived and are still to be replayed.
#[derive(Default)]
pub(super) struct Histories {
    arrived: VecDeque<Arrived>,
    /// The replay of the first of them, if it has begun.
    replaying: Option<Replay>,
}

/// A history that arrived, or a part of one.
pub(super) struct Arrived {
    run: RunId,
    /// The frames that are still to be replayed.
    frames: VecDeque<FrameEvents>,
    /// Whether no more frames follow them.
    whole: bool,
    /// Counts their bytes.
    _held: Held,
}

impl Arrived {
    pub(super) fn new(run: RunId, frames: Vec<Frame>, whole: bool, tally: &Tally) -> Self {
        let held = tally.hold(frames.iter().map(|frame| frame.body.len()).sum());
        Self { run, frames: frames.into_iter().map(FrameEvents::new).collect(), whole, _held: held }
    }

    /// The next event that is still to be replayed.
    fn next(&mut self) -> Option<Result<PastEvent, String>> {
        while self.frames.front()?.is_over() {
            self.frames.pop_front();
        }
        self.frames.front_mut()?.next()
    }

    /// Whether nothing is left to be replayed.
    fn is_empty(&self) -> bool {
        self.frames.iter().all(|frame| frame.left() == 0)
    }
}

/// The result of a replay.
pub(super) enum ReplayResult {
    /// It was replayed as far as it arrived, or until the turn ended.
    Partly,
    /// All of it was replayed.
    Wholly(Box<Replay>),
    /// The log holds no event of the run.
    Empty(RunId),
    /// The run is over, so its code is not run.
    Over(RunId),
    /// It is invalid. `over` says whether the run was over before the damage.
    Damaged { run: RunId, over: bool, problem: String },
}

impl Histories {
    /// Adds histories that arrived.
    pub(super) fn add(&mut self, arrived: impl IntoIterator<Item = Arrived>) {
        self.arrived.extend(arrived);
    }

    /// These shards go to another owner: their histories are dropped.
    pub(super) fn leave(&mut self, shards: &BTreeSet<ShardId>) {
        self.arrived.retain(|arrived| !shards.contains(&arrived.run.shard()));
        self.replaying.take_if(|replay| shards.contains(&replay.state().id.shard()));
    }

    /// Whether all of them were replayed.
    pub(super) fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    /// Replays some events of the first history, if there is one. `begin` makes the replay of a run.
    pub(super) fn replay(
        &mut self,
        turn: &Turn<'_>,
        programs: &dyn Programs,
        begin: impl FnOnce(RunId) -> Replay,
    ) -> Option<ReplayResult> {
        let first = self.arrived.front_mut()?;
        let (run, whole) = (first.run, first.whole);
        if self.replaying.is_none() && whole && first.frames.back().is_none_or(is_terminal) {
            let empty = first.frames.is_empty();
            self.arrived.pop_front();
            return Some(if empty { ReplayResult::Empty(run) } else { ReplayResult::Over(run) });
        }
        let replay = self.replaying.get_or_insert_with(|| begin(run));
        let mut taken = 0;
        while let Some(next) = first.next() {
            if let Err(problem) = next.and_then(|past| replay.take(past, programs)) {
                let over = replay.state().closed.is_some();
                self.replaying = None;
                self.arrived.pop_front();
                return Some(ReplayResult::Damaged { run, over, problem });
            }
            taken += 1;
            if taken == EVENTS_AT_ONCE || turn.is_over() {
                break;
            }
        }
        if !first.is_empty() {
            return Some(ReplayResult::Partly);
        }
        self.arrived.pop_front();
        let replay = if whole { self.replaying.take() } else { None };
        Some(replay.map_or(ReplayResult::Partly, |replay| ReplayResult::Wholly(Box::new(replay))))
    }
}

/// Whether the last event of a frame ends a run. If the frame cannot be decoded, the replay reports that.
fn is_terminal(last: &FrameEvents) -> bool {
    last.clone().last().is_some_and(|last| last.event.is_terminal())
}
