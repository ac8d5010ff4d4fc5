//! Events: immutable facts about a run, in the past tense. They must not know how they are stored
//! ([`wire`](super::wire) does) or how they change a run (`run::state` does).

use std::fmt;

use super::table::events;
use crate::data::attributes::Attributes;
use crate::data::chain::{ChainLink, KnownMessages, LeftMessages, RunRetry};
use crate::data::child::{ChildPolicy, GivenUp};
use crate::data::failure::Failure;
use crate::data::id::{CommandId, ExecutorId, LeaseId, MessageId, RunId};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::Payload;
use crate::data::recipient::Recipient;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;
use crate::store::append::ClosedStatus;

/// The role of an event for its run's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It arrived from outside, and the program is polled for it.
    Resolution,
    /// The program decided it.
    Decision,
    /// The program resolved it itself, while it was polled for the previous resolution.
    Local,
    /// A note, which the program does not see: the engine's own, or what the run published for others.
    Note,
}

/// What follows from an event, whatever the values of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// Nothing but a change of the run's state.
    Nothing,
    /// The run begins: it has its first attributes.
    Begin,
    /// The activity of its durable call is executed.
    Dispatch,
    /// A task is inserted for the activity of its durable call.
    Enqueue,
    /// A message is sent to a run.
    Send,
    /// A run is started.
    StartChild,
    /// A reply to an update is written.
    Reply,
    /// Its durable call is over: this is the outcome.
    Outcome,
    /// Its durable call is over: the run gave it up.
    GiveUp,
    /// A view or an attribute of the run has a new value.
    Publish,
    /// The workflow is over: only its compensations follow.
    Ending,
    /// The run is over.
    Terminal(ClosedStatus),
}

/// Finds the durable call among an event's fields, which are given twice: as names to search, and as values.
macro_rules! call_of {
    ([id $($rest:ident)*] $id:ident $($value:ident)*) => {
        Some(*$id)
    };
    ([$($name:ident)*] $($value:ident)*) => {
        None
    };
}

/// Defines [`Event`], and everything that follows from its rows in the table.
macro_rules! make_event {
    (Event: $(
        $(#[$event_doc:meta])*
        $name:literal $version:literal => $variant:ident = $code:literal:
            $role:ident, $consequence:ident $(($status:ident))?
        {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        /// A fact about a run.
        ///
        /// *Decisions* are made by the run itself, *resolutions* arrive from outside, and *local resolutions* are values
        /// that the run recorded. The other events are notes of the engine, which workflow code does not see.
        ///
        /// Later versions may add events, and fields to events: give a `match` a `_` arm, and end its patterns in `..`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$event_doc])* #[non_exhaustive] $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }

        /// Every event's code, its name, its version, and its fields with their types.
        #[cfg(feature = "__testing")]
        #[doc(hidden)]
        pub const LAYOUTS: &[(u8, &str, u64, &[(&str, &str)])] =
            &[$(($code, $name, $version, &[$((stringify!($field), stringify!($type))),*])),*];

        /// The kinds of events that end a run, by its status.
        const TERMINAL: &[(ClosedStatus, EventKind)] = &[$($((ClosedStatus::$status, EventKind($code)),)?)*];

        impl EventKind {
            /// Every kind that this build knows.
            pub(crate) const ALL: &[Self] = &[$(Self($code)),*];

            /// The name of the kind; `None` if this build does not know the kind.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some($name),)*
                    _ => None,
                }
            }
        }

        impl Event {
            /// The event's kind.
            pub fn kind(&self) -> EventKind {
                match self {
                    $(Self::$variant { .. } => EventKind($code),)*
                }
            }

            /// The name of the event's kind, such as `timer.fired`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $name,)*
                }
            }

            pub(crate) fn role(&self) -> Role {
                match self {
                    $(Self::$variant { .. } => Role::$role,)*
                }
            }

            pub(crate) fn consequence(&self) -> Consequence {
                match self {
                    $(Self::$variant { .. } => Consequence::$consequence $((ClosedStatus::$status))?,)*
                }
            }

            /// The durable call that the event is about, if it is about one; 0 is the delay of the run's start.
            #[expect(unused_variables, reason = "all fields of an event are bound, to find the call among them")]
            pub fn call(&self) -> Option<CommandId> {
                match self {
                    $(Self::$variant { $($field),* } => call_of!([$($field)*] $($field)*),)*
                }
            }
        }

        /// Events with all their fields, for tests outside of core, which cannot construct the variants of [`Event`].
        #[cfg(feature = "__testing")]
        pub mod whole {
            use super::*;

            $(
                $(#[$event_doc])*
                #[derive(Clone, Debug)]
                pub struct $variant { $($(#[$field_doc])* pub $field: $type,)* }

                impl From<$variant> for Event {
                    fn from($variant { $($field),* }: $variant) -> Self {
                        Self::$variant { $($field),* }
                    }
                }
            )*
        }
    };
}

events!(make_event);

impl Event {
    /// The names of all kinds that this build knows.
    #[cfg(feature = "__testing")]
    pub fn names() -> impl Iterator<Item = &'static str> {
        EventKind::ALL.iter().filter_map(|kind| kind.name())
    }

    /// Whether the event is the outcome of its durable call: a value, a failure, or a deadline that passed.
    pub fn is_outcome(&self) -> bool {
        self.consequence() == Consequence::Outcome
    }

    /// Whether the run resolved something for itself with this event, such as a recorded value.
    pub fn is_local(&self) -> bool {
        self.role() == Role::Local
    }

    /// Whether the run gave up its durable call with this event.
    pub fn gives_up(&self) -> bool {
        self.consequence() == Consequence::GiveUp
    }

    /// Whether the event ends the run.
    pub fn is_terminal(&self) -> bool {
        self.closed_status().is_some()
    }

    /// How the event ends the run, if it does.
    pub(crate) fn closed_status(&self) -> Option<ClosedStatus> {
        match self.consequence() {
            Consequence::Terminal(status) => Some(status),
            Consequence::Nothing
            | Consequence::Dispatch
            | Consequence::Enqueue
            | Consequence::Send
            | Consequence::StartChild
            | Consequence::Reply
            | Consequence::Outcome
            | Consequence::GiveUp
            | Consequence::Begin
            | Consequence::Publish
            | Consequence::Ending => None,
        }
    }
}

/// The kind of an event, as the code under which it is stored. A newer build may have written kinds that this build does
/// not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventKind(u8);

impl EventKind {
    /// The kind with this stored code.
    pub(crate) const fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// The stored code.
    pub(crate) const fn code(self) -> u8 {
        self.0
    }

    /// The kind with this name, as [`Display`](fmt::Display) writes it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let known = Self::ALL.iter().find(|kind| kind.name() == Some(name)).copied();
        known.or_else(|| Some(Self(name.strip_prefix(UNKNOWN)?.parse().ok()?)))
    }

    /// The kind of the event that ends a run with this status.
    pub(crate) fn of_end(status: ClosedStatus) -> Self {
        let of_status = TERMINAL.iter().find(|(ends, _)| *ends == status);
        of_status.expect("every status has an event").1
    }
}

/// Precedes the code of a kind without a name.
const UNKNOWN: &str = "kind-";

/// Writes the name, such as `timer.fired`, or `kind-77` for a kind that this build does not know.
impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{UNKNOWN}{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_closed_status_has_its_event() {
        use ClosedStatus::{Cancelled, Completed, Continued, Failed, Retried, Terminated, TimedOut};
        let statuses = [Completed, Failed, Cancelled, Terminated, Continued, Retried, TimedOut];
        let kinds = statuses.map(EventKind::of_end);
        let expected = [
            "run.completed",
            "run.failed",
            "run.cancelled",
            "run.terminated",
            "run.continued",
            "run.retried",
            "run.timed-out",
        ];
        assert_eq!(kinds.map(|kind| kind.to_string()), expected);
    }

    #[test]
    fn kind_is_found_by_its_text_and_no_two_kinds_share_a_name_or_a_code() {
        for kind in EventKind::ALL.iter().copied().chain([EventKind(255)]) {
            assert_eq!(EventKind::named(&kind.to_string()), Some(kind));
        }
        assert_eq!(EventKind::named("timer.paused"), None);
        assert_eq!(EventKind(255).to_string(), "kind-255");
    }
}
