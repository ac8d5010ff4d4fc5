//! Parts of the engine for benchmarks, which could otherwise measure only whole workers. It must not compute anything
//! itself, and nothing else in the library uses it.

mod processor;

use std::hint::black_box;
use std::sync::Arc;

pub use self::processor::{ProcessorFixture, StartMessages, Written};
use crate::data::id::{Position, RunId};
use crate::error::Error;
use crate::log::past_event::PastEvent;
use crate::log::stored_history::decode;
use crate::log::wire::frame::{EncodedEvents, FrameWriter};
use crate::run::Run;
use crate::run::replay::{Replay, Takeover, replay};
use crate::run::state::RunState;
use crate::run::turn::Turn;
use crate::store::history::RunHistory;
use crate::workflow::Workflow;
use crate::workflow::mark::PollMark;
use crate::workflow::registry::{Definitions, Registry};

/// The code of one workflow, ready to replay histories.
pub struct Code {
    registry: Registry,
}

impl Code {
    /// The code of a workflow.
    ///
    /// # Errors
    /// Returns an error if the workflow's name is invalid.
    pub fn of<W: Workflow>() -> Result<Self, Error> {
        let mut definitions = Definitions::default();
        definitions.workflow::<W>()?;
        Ok(Self { registry: Registry::new(Arc::new(definitions), Arc::new(PollMark::default())) })
    }

    /// Replays a run from its stored history, as a worker that takes over a shard does.
    ///
    /// # Errors
    /// Returns an error if the history cannot be decoded, or if the code does not follow it.
    pub fn replay(&self, history: &RunHistory) -> Result<ReplayedRun, Error> {
        let now = history.frames.last().map(|last| last.at).unwrap_or_default();
        let mut replay = Replay::new(history.run, now);
        for past in decode(history) {
            replay.take(past.map_err(Error::invalid)?, &self.registry).map_err(Error::invalid)?;
        }
        ReplayedRun::new(replay.finish(Takeover::default(), &Turn::endless(now)).0)
    }

    /// Replays a run from decoded events.
    ///
    /// # Errors
    /// Returns an error if the code does not follow the history.
    pub fn replay_decoded(&self, history: &Decoded) -> Result<ReplayedRun, Error> {
        let now = history.events.last().map(|past| past.at).unwrap_or_default();
        let (run, _) = replay(history.run, &history.events, &self.registry, Takeover::default(), now);
        ReplayedRun::new(run)
    }
}

/// A replayed run.
pub struct ReplayedRun {
    run: Run,
}

impl ReplayedRun {
    fn new(run: Run) -> Result<Self, Error> {
        match run.diagnosis() {
            Some(diagnosis) => Err(Error::invalid(diagnosis)),
            None => Ok(Self { run }),
        }
    }

    /// The number of events of its history.
    pub fn events(&self) -> u32 {
        self.run.state.event_count()
    }
}

/// The first events of a history, in frames like its own.
///
/// # Errors
/// Returns an error if its bytes cannot be decoded.
pub fn first_events(history: &RunHistory, count: u32) -> Result<RunHistory, Error> {
    let (run, mut left, mut position) = (history.run, count, Position::FIRST);
    let mut frames = FrameWriter::default();
    for frame in &history.frames {
        let whole = RunHistory { run, frames: vec![frame.clone()] };
        let mut encoded = EncodedEvents::new();
        for past in decode(&whole).take(left as usize) {
            let PastEvent { seq, at, event } = past.map_err(Error::invalid)?;
            encoded.push(seq, at, &event);
        }
        left -= encoded.len() as u32;
        frames.write(run, std::iter::once(&encoded), &mut position);
    }
    Ok(RunHistory { run, frames: frames.finish() })
}

/// A decoded history.
pub struct Decoded {
    run: RunId,
    events: Vec<PastEvent>,
}

impl Decoded {
    /// Decodes a history.
    ///
    /// # Errors
    /// Returns an error if its bytes cannot be decoded.
    pub fn new(history: &RunHistory) -> Result<Self, Error> {
        let count = history.frames.iter().map(|frame| frame.count as usize).sum();
        let mut events = Vec::with_capacity(count);
        for past in decode(history) {
            events.push(past.map_err(Error::invalid)?);
        }
        Ok(Self { run: history.run, events })
    }

    /// The number of its events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether it has no events.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Encodes every event and returns the number of bytes.
    pub fn encode(&self) -> usize {
        let mut encoded = EncodedEvents::new();
        for past in &self.events {
            encoded.push(past.seq, past.at, black_box(&past.event));
        }
        encoded.bytes()
    }

    /// Folds all events without any workflow code, and returns their number.
    pub fn fold(&self) -> u32 {
        let mut state = RunState::new(self.run);
        for past in &self.events {
            state.apply(past.at, black_box(&past.event));
        }
        black_box(state).event_count()
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code")
    }
}

impl std::fmt::Debug for ReplayedRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplayedRun({})", self.run.state.id)
    }
}

impl std::fmt::Debug for Decoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decoded({} events)", self.events.len())
    }
}
