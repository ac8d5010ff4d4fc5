//! An open call: what it waits for and how it is resolved. It must not know what opened it.

use std::fmt;
use std::rc::Rc;
use std::task::Waker;

use super::arrivals::{Arrival, Kind};
use super::permits::Permits;
use crate::data::failure::Failure;
use crate::data::id::CommandId;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::workflow::command::{Command, Source};

/// A durable call whose future the workflow's code holds.
pub(super) struct OpenCall {
    pub(super) kind: CallKind,
    pub(super) source: Source,
    pub(super) waker: Option<Waker>,
    /// Whether it goes on after the run was asked to cancel itself.
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
    /// A condition of the run's own state.
    Condition,
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
            // A signal or an update stays buffered until something takes it.
            // A permit is passed on by the future that waits for it.
            Self::Arrival(..) | Self::Permit(_) | Self::Condition => CancelAction::Nothing,
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
            Self::Permit(permits) => permits.fmt(f),
            Self::Condition => f.write_str("a condition"),
        }
    }
}
