//! An open call: what it waits for, and what it comes back with. It must not know who opened it.

use std::fmt;
use std::task::Waker;

use crate::data::failure::Failure;
use crate::data::id::CommandId;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::workflow::command::{Command, Source};

/// A durable call that the workflow's code holds a future of.
pub(super) struct OpenCall {
    pub(super) kind: CallKind,
    pub(super) source: Source,
    pub(super) waker: Option<Waker>,
    pub(super) resolution: Option<Resolution>,
}

/// What an open call waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    Activity(Name),
    Step(Name),
    Timer(Timestamp),
    Signal(Name),
}

/// What giving an open call up asks for.
pub(super) enum CancelAction {
    Command(Command),
    Step(Name),
    Nothing,
}

impl CallKind {
    /// What dropping the call's future, or a cancellation of the run, asks for.
    pub(super) fn cancel_action(&self, id: CommandId) -> CancelAction {
        match self {
            Self::Activity(activity) => {
                CancelAction::Command(Command::CancelActivity { id, activity: activity.clone() })
            }
            Self::Timer(_) => CancelAction::Command(Command::CancelTimer { id }),
            Self::Step(name) => CancelAction::Step(name.clone()),
            // A signal stays buffered until somebody takes it.
            Self::Signal(_) => CancelAction::Nothing,
        }
    }
}

/// An open call as people see it.
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

/// What a call comes back with.
#[derive(Debug)]
pub(crate) enum Resolution {
    Value(Payload),
    /// Boxed, so that every open call is smaller.
    Failed(Box<Failure>),
    Fired,
    Cancelled,
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Activity(name) => write!(f, "activity `{name}`"),
            Self::Step(name) => write!(f, "step `{name}`"),
            Self::Timer(fire_at) => write!(f, "timer until {fire_at}"),
            Self::Signal(name) => write!(f, "signal `{name}`"),
        }
    }
}
