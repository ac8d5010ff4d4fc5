//! The user's side of a run, as the engine sees it: it takes resolutions in and decides. It must not know how the user
//! writes it.

use crate::data::id::RunId;
use crate::data::name::Name;
use crate::data::outcome::Outcome;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::workflow::fault::Fault;
use crate::workflow::locals::Locals;
use crate::workflow::scope::PollOutput;
use crate::workflow::scope::call::Awaited;

/// Whatever knows workflows and makes their programs.
pub(crate) trait Programs {
    /// A program for that run; `None` if the workflow is unknown here.
    fn program(&self, workflow: &Name, run: RunId) -> Option<Box<dyn Program>>;
}

/// The user's side of a run. The engine sees only this: a workflow as an `async fn` is one implementation.
pub(crate) trait Program {
    /// Takes one resolution in and decides. With recorded locals it is a replay: then what was recorded stands, and
    /// nothing of it need be encoded. After an error the program is of no more use.
    fn apply(&mut self, at: Timestamp, resolution: &Event, locals: Locals) -> Result<Decisions, Fault>;

    /// What it waits for, for people: at most `limit` calls.
    fn waits(&self, limit: usize) -> Vec<Awaited>;
}

/// What a program decided when it took one resolution in.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    pub(crate) output: PollOutput,
    /// What the workflow returned, if it did.
    pub(crate) outcome: Option<Outcome>,
}

impl Decisions {
    /// About how many bytes they take in the log.
    pub(crate) fn size(&self) -> usize {
        let PollOutput { issued, locals, .. } = &self.output;
        issued.iter().map(|issued| issued.command.size()).sum::<usize>() + locals.size()
    }
}

pub(crate) fn join_or(items: &[String], none: &str) -> String {
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}
