//! Replay as a tool: compares a recorded history with today's code, without a store, a worker or a clock. It must not
//! change either.

use crate::run::replay::{Examined, examine};
use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;

use crate::data::id::CommandId;
use crate::error::Error;
use crate::log::event::Event;
use crate::log::past_event::{PastEvent, StoredEvent};
use crate::log::stored_history::StoredHistory;
use crate::workflow::Workflow;
use crate::workflow::child_ids::ChildIds;
use crate::workflow::mark::PollMark;
use crate::workflow::registry::{Definitions, Registry};

/// The result of a replay: today's code follows the history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// How many events the history has.
    pub events: usize,
    /// Whether the run is over.
    pub over: bool,
    /// What the run waits on, in words; `None` if it is over.
    pub waiting_on: Option<String>,
    /// Every durable call that the code waits for, in words, with its source line.
    pub waits: Vec<String>,
    /// The source line of every durable call that the code made.
    pub sources: BTreeMap<CommandId, &'static Location<'static>>,
}

/// See [`history::replay`](super::replay()).
pub(super) fn replay<W: Workflow>(history: &StoredHistory) -> Result<Replayed, Error> {
    let problem = |problem: String| Error::invalid(format!("run {}: {problem}", history.run));
    let past: Vec<PastEvent> =
        history.events.iter().map(StoredEvent::decode).collect::<Result<_, _>>().map_err(problem)?;
    let Some(last) = past.last() else { return Err(problem("its history is empty".to_owned())) };
    let mut definitions = Definitions::default();
    definitions.workflow::<W>()?;
    let children = past.iter().filter_map(|past| match past.event {
        Event::ChildStarted { id, child, .. } => Some((id, child)),
        _ => None,
    });
    let child_ids = ChildIds::Recorded(children.collect());
    let registry =
        Registry::new(Arc::new(definitions), Arc::new(PollMark::default())).with_child_ids(child_ids);
    let examined = examine(history.run, &past, &registry, last.at).map_err(problem)?;
    let Examined { run, divergence, sources } = examined;
    let over = run.state.closed.is_some();
    match (run.diagnosis(), divergence) {
        (Some(diagnosis), Some(divergence)) => Err(Error::diverged(diagnosis, divergence)),
        (Some(diagnosis), None) => Err(Error::invalid(diagnosis)),
        // The code of a run that is over is not polled any more, so the run itself has no diagnosis.
        (None, Some(divergence)) => {
            let message = format!(
                "run {} of workflow `{}` cannot be replayed: {divergence}. Change the workflow in a way that old \
                 histories can follow",
                history.run, run.state.workflow
            );
            Err(Error::diverged(message, divergence))
        }
        (None, None) => {
            let (waiting_on, waits) = (run.waiting_on(), run.waits(usize::MAX));
            Ok(Replayed { events: past.len(), over, waiting_on, waits, sources })
        }
    }
}
