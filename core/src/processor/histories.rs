//! The processor's part that replays the histories which came, each some events at a time, so that a long one holds
//! nothing up. It must not know what becomes of a run that came back.

use std::collections::VecDeque;

use crate::data::id::RunId;
use crate::log::past_event::decode_record;
use crate::log::wire;
use crate::run::replay::Replay;
use crate::run::turn::Turn;
use crate::store::history::EventRecord;
use crate::workflow::program::Programs;

/// How many events are replayed before something else has its turn.
const EVENTS_AT_ONCE: usize = 64;

/// The histories that came and were not replayed yet.
#[derive(Default)]
pub(super) struct Histories {
    arrived: VecDeque<Arrived>,
    /// The replay of the first of them, if it has begun.
    replaying: Option<Replay>,
}

/// A history that came, or a part of one.
pub(super) struct Arrived {
    pub(super) run: RunId,
    /// The events that were not replayed yet.
    pub(super) events: VecDeque<EventRecord>,
    /// Whether nothing comes after them.
    pub(super) whole: bool,
}

/// What became of a history.
pub(super) enum Replayed {
    /// It was replayed as far as it came, or as the turn lasted.
    Partly,
    /// The whole of it was replayed.
    Wholly(Box<Replay>),
    /// There is none: the log holds nothing of the run.
    Empty(RunId),
    /// Its run is over: nobody asks the code of such a run.
    Over(RunId),
    /// It cannot be. `over` says whether the run was over before the damage.
    Damaged { run: RunId, over: bool, problem: String },
}

impl Histories {
    /// These came.
    pub(super) fn add(&mut self, arrived: impl IntoIterator<Item = Arrived>) {
        self.arrived.extend(arrived);
    }

    /// Whether all that came were replayed.
    pub(super) fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    /// Replays some events of the first history, if there is one. `begin` gives the replay of a run.
    pub(super) fn replay(
        &mut self,
        turn: &Turn<'_>,
        programs: &dyn Programs,
        begin: impl FnOnce(RunId) -> Replay,
    ) -> Option<Replayed> {
        let first = self.arrived.front_mut()?;
        let (run, whole) = (first.run, first.whole);
        if self.replaying.is_none() && whole && first.events.back().is_none_or(is_terminal) {
            let empty = first.events.is_empty();
            self.arrived.pop_front();
            return Some(if empty { Replayed::Empty(run) } else { Replayed::Over(run) });
        }
        let replay = self.replaying.get_or_insert_with(|| begin(run));
        let mut taken = 0;
        while let Some(record) = first.events.pop_front() {
            if let Err(problem) = decode_record(&record).and_then(|past| replay.take(past, programs)) {
                let over = replay.state().closed.is_some();
                self.replaying = None;
                self.arrived.pop_front();
                return Some(Replayed::Damaged { run, over, problem });
            }
            taken += 1;
            if taken == EVENTS_AT_ONCE || turn.is_over() {
                break;
            }
        }
        if !first.events.is_empty() {
            return Some(Replayed::Partly);
        }
        self.arrived.pop_front();
        let replay = if whole { self.replaying.take() } else { None };
        Some(replay.map_or(Replayed::Partly, |replay| Replayed::Wholly(Box::new(replay))))
    }
}

/// Whether a history ends with this event: its run is over. What cannot be decoded is for the replay to report.
fn is_terminal(last: &EventRecord) -> bool {
    let last = wire::decode_event(last.name.as_str(), &last.body);
    last.is_ok_and(|last| last.is_terminal())
}
