//! A program, as the engine sees it: it takes resolutions and returns decisions. It must not know how the user
//! writes it.

use std::collections::BTreeMap;

use crate::data::id::{CommandId, EventSeq, RunId};
use crate::data::name::Name;
use crate::data::outcome::Outcome;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;
use crate::log::event::Event;
use crate::observe::spans::Propagator;
use crate::workflow::command::Issued;
use crate::workflow::fault::Fault;
use crate::workflow::locals::Locals;
use crate::workflow::scope::PollOutput;
use crate::workflow::scope::call::Awaited;
use crate::workflow::scope::carried::CarriedChild;

/// Makes the programs of known workflows.
pub(crate) trait Programs {
    /// Makes the program of a run; `None` if the workflow is unknown here.
    fn program(&self, workflow: &Name, run: RunId) -> Option<Box<dyn Program>>;
}

/// The user's code of one run. An `async fn` is one implementation.
pub(crate) trait Program {
    /// Takes one resolution, which has that number and time, and returns what the program decides. Recorded locals mean a replay, in which the recorded
    /// values apply and nothing need be encoded. After an error the program cannot be used.
    fn apply(
        &mut self,
        seq: EventSeq,
        at: Timestamp,
        resolution: &Event,
        locals: Locals,
    ) -> Result<Decisions, Fault>;

    /// What continues traces in the spans of its passes.
    fn propagator(&self) -> Propagator;

    /// Why an update is not to be delivered, by the check of its definition, if the code has named that. It changes nothing,
    /// and needs no history.
    fn refusal(&self, update: &Name, request: &Payload) -> Option<String>;

    /// Gives back the room of commands that were taken, for those of the next poll.
    fn reuse(&mut self, room: Vec<Issued>);

    /// About how many bytes it takes, without what the code itself allocates.
    fn bytes(&self) -> usize;

    /// The calls that it waits for, at most `limit`, to show to people.
    fn waits(&self, limit: usize) -> Vec<Awaited>;
}

/// What a program decided after one resolution.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    pub(crate) output: PollOutput,
    /// The end, if the workflow is over. Boxed, because the decisions of every poll are moved, and only those of the last one
    /// have it.
    pub(crate) end: Option<Box<WorkflowEnd>>,
}

/// The end of a workflow's code.
#[derive(Debug)]
pub(crate) struct WorkflowEnd {
    pub(crate) how: How,
    /// The signals that it has not taken, in the order of their arrival.
    pub(crate) left: Vec<Event>,
    /// The children that it carries for a successor, by their calls.
    pub(crate) carried: BTreeMap<CommandId, CarriedChild>,
}

/// How a workflow's code ended.
#[derive(Debug)]
pub(crate) enum How {
    Returned(Outcome),
    /// It continues as new, with this input.
    Continued(Payload),
}

impl Decisions {
    /// Where the signals and updates were sent that the program took.
    pub(crate) fn links(&self) -> &[TraceContext] {
        self.output.links.as_ref().map_or(&[], |links| links.places())
    }

    /// Their approximate size in the log, in bytes.
    pub(crate) fn size(&self) -> usize {
        let PollOutput { issued, locals, published, .. } = &self.output;
        let published = published.as_ref().map_or(0, |published| published.size());
        issued.iter().map(|issued| issued.command.size()).sum::<usize>() + locals.size() + published
    }
}

pub(crate) fn join_or(items: &[String], none: &str) -> String {
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}
