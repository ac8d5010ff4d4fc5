//! An open call: what it waits for and how it is resolved. It must not know what opened it.

use std::fmt;
use std::rc::Rc;
use std::task::Waker;

use super::arrivals::{Arrival, Kind};
use super::cancellation::CancelScope;
use super::permits::Permits;
use crate::data::child::ChildPolicy;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::data::outcome::Uncompensated;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::workflow::command::{Command, Source};

/// A durable call whose future the workflow's code holds.
pub(super) struct OpenCall {
    pub(super) kind: CallKind,
    pub(super) source: Source,
    pub(super) waker: Option<Waker>,
    /// The part of the code that opened it.
    pub(super) within: Option<Rc<CancelScope>>,
    /// Whether no cancellation ends it.
    pub(super) outlives_cancellation: bool,
    pub(super) resolution: Option<Resolution>,
}

/// What an open call waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    Activity(Name),
    Step(Name),
    Timer(Timestamp),
    /// A signal or an update of that name.
    Arrival(Kind, Name),
    Permit(Rc<Permits>),
    /// Boxed, because it is large.
    Child(Box<OpenChild>),
    /// The end of a round of compensations.
    Round,
    /// A condition of the run's own state.
    Condition,
}

/// A child that the code waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenChild {
    pub(crate) child: RunId,
    pub(crate) workflow: Name,
    /// What becomes of it if the code gives it up.
    pub(crate) on_cancel: ChildPolicy,
    /// What becomes of it if the run ends.
    pub(crate) at_end: ChildPolicy,
}

/// How an open call is cancelled.
pub(super) enum CancelAction {
    Command(Command),
    Step(Name),
    Nothing,
}

impl CallKind {
    /// How the call is cancelled when its future is dropped or its run is cancelled.
    pub(super) fn cancel_action(&self, id: CommandId) -> CancelAction {
        match self {
            Self::Activity(activity) => {
                CancelAction::Command(Command::CancelActivity { id, activity: activity.clone() })
            }
            Self::Timer(_) => CancelAction::Command(Command::CancelTimer { id }),
            Self::Step(name) => CancelAction::Step(name.clone()),
            Self::Child(child) => {
                let OpenChild { workflow, on_cancel: policy, at_end, .. } = (**child).clone();
                CancelAction::Command(Command::CancelChild { id, workflow, policy, at_end })
            }
            // A signal or an update stays buffered until something takes it.
            // A permit is passed on by the future that waits for it.
            // A round that has begun goes on.
            Self::Arrival(..) | Self::Permit(_) | Self::Condition | Self::Round => CancelAction::Nothing,
        }
    }

    /// The command of a run that is to cancel itself, if the call goes on until what it waits for was cancelled as well.
    pub(super) fn cancel_request(&self, id: CommandId) -> Option<Command> {
        match self {
            Self::Child(child) if child.on_cancel == ChildPolicy::RequestAndWait => {
                Some(Command::RequestChildCancel { id, workflow: child.workflow.clone() })
            }
            Self::Child(_)
            | Self::Activity(_)
            | Self::Step(_)
            | Self::Timer(_)
            | Self::Arrival(..)
            | Self::Condition
            | Self::Permit(_)
            | Self::Round => None,
        }
    }

    /// Whether something outside of the code resolves the call, and not another branch or handler of the run.
    pub(super) fn is_external(&self) -> bool {
        !matches!(self, Self::Permit(_) | Self::Condition)
    }
}

/// An open call, to show to people.
#[derive(Clone, Debug)]
pub(crate) struct Awaited {
    pub(crate) id: CommandId,
    pub(crate) kind: CallKind,
    pub(crate) source: Source,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.kind, self.source)
    }
}

/// The resolution of a call.
#[derive(Debug)]
pub(crate) enum Resolution {
    Value(Payload),
    /// Boxed to make every open call smaller.
    Failed(Box<Failure>),
    Fired,
    Compensated(Vec<Uncompensated>),
    Cancelled,
    /// An update was taken. Boxed, as above.
    Asked(Box<Asked>),
}

/// An update that a call has taken.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The call.
    pub(crate) id: CommandId,
    pub(crate) arrival: Arrival,
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Activity(name) => write!(f, "activity `{name}`"),
            Self::Step(name) => write!(f, "step `{name}`"),
            Self::Timer(fire_at) => write!(f, "timer until {fire_at}"),
            Self::Arrival(kind, name) => write!(f, "{kind} `{name}`"),
            Self::Child(child) => write!(f, "child `{}` (run {})", child.workflow, child.child),
            Self::Permit(permits) => permits.fmt(f),
            Self::Condition => f.write_str("a condition"),
            Self::Round => f.write_str("compensations"),
        }
    }
}
