//! The requests of a poll: commands, which become decisions, and steps, whose outcome is their only event. It must not
//! know which calls make them.

use std::fmt;
use std::panic::Location;

use futures::future::BoxFuture;

use crate::data::child::ChildPolicy;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, MessageId, RunId};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::payload::Payload;
use crate::data::recipient::Recipient;
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;
use crate::guard::Guarded;
use crate::log::event::Event;

/// A source line of the user's code.
pub(crate) type Source = &'static Location<'static>;

/// The approximate size of an event in the log without its payload, in bytes.
pub(crate) const EVENT_BYTES: usize = 64;

/// A command that becomes a decision event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    ScheduleActivity {
        id: CommandId,
        activity: Name,
        input: Payload,
        options: ActivityOptions,
    },
    CancelActivity {
        id: CommandId,
        activity: Name,
    },
    StartTimer {
        id: CommandId,
        fire_at: Timestamp,
    },
    CancelTimer {
        id: CommandId,
    },
    RegisterCompensation {
        id: CommandId,
        activity: Name,
        input: Payload,
        options: ActivityOptions,
    },
    DiscardCompensation {
        id: CommandId,
    },
    BeginCompensations {
        id: CommandId,
    },
    /// Boxed, because it is large and every command has its size.
    SendSignal(Box<SendSignal>),
    /// Boxed as well.
    StartChild(Box<StartChild>),
    RequestChildCancel {
        id: CommandId,
        workflow: Name,
    },
    CancelChild {
        id: CommandId,
        workflow: Name,
        /// What becomes of the child.
        policy: ChildPolicy,
        /// The same, if the workflow returns in this poll.
        at_end: ChildPolicy,
    },
    /// Boxed, as above.
    ReplyToUpdate(Box<ReplyToUpdate>),
}

/// A run for another run's workflow to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartChild {
    pub(crate) id: CommandId,
    pub(crate) child: RunId,
    pub(crate) workflow: Name,
    pub(crate) input: Payload,
    pub(crate) key: Option<String>,
    pub(crate) at_end: ChildPolicy,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) grace_until: Option<Timestamp>,
}

/// The answer to an update, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplyToUpdate {
    /// The call that took the update.
    pub(crate) id: CommandId,
    pub(crate) message: MessageId,
    pub(crate) update: Name,
    pub(crate) answer: Option<Payload>,
}

/// A signal for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SendSignal {
    pub(crate) id: CommandId,
    pub(crate) to: Recipient,
    pub(crate) signal: Name,
    pub(crate) payload: Payload,
}

/// A command with the source line that issued it, which is shown to people and never compared.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) command: Command,
    pub(crate) source: Source,
}

/// Makes one attempt of a step.
pub(crate) type StepTask = Box<dyn FnMut() -> BoxFuture<'static, Result<Payload, Failure>> + Send>;

/// A step that the run asks its worker to execute.
pub(crate) struct StepRequest {
    pub(crate) id: CommandId,
    pub(crate) name: Name,
    pub(crate) source: Source,
    pub(crate) retry: RetryPolicy,
    pub(crate) task: Guarded<StepTask>,
}

impl fmt::Debug for StepRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StepRequest({} {:?})", self.id, self.name)
    }
}

impl Command {
    pub(crate) fn id(&self) -> CommandId {
        match self {
            Self::ScheduleActivity { id, .. }
            | Self::CancelActivity { id, .. }
            | Self::StartTimer { id, .. }
            | Self::CancelTimer { id }
            | Self::RequestChildCancel { id, .. }
            | Self::CancelChild { id, .. }
            | Self::RegisterCompensation { id, .. }
            | Self::DiscardCompensation { id }
            | Self::BeginCompensations { id } => *id,
            Self::SendSignal(send) => send.id,
            Self::StartChild(start) => start.id,
            Self::ReplyToUpdate(reply) => reply.id,
        }
    }

    /// Its approximate size in the log, in bytes.
    pub(crate) fn size(&self) -> usize {
        EVENT_BYTES
            + match self {
                Self::ScheduleActivity { input, .. } | Self::RegisterCompensation { input, .. } => {
                    input.bytes().len()
                }
                // The event has the content, and so has the message.
                Self::SendSignal(send) => EVENT_BYTES + 2 * send.payload.bytes().len(),
                // The event has the input, and so has the message.
                Self::StartChild(start) => EVENT_BYTES + 2 * start.input.bytes().len(),
                // A message to the child follows from it.
                Self::RequestChildCancel { .. } | Self::CancelChild { .. } => EVENT_BYTES,
                // The event has the answer, and so has the reply.
                Self::ReplyToUpdate(reply) => {
                    EVENT_BYTES + reply.answer.as_ref().map_or(0, |answer| 2 * answer.bytes().len())
                }
                Self::CancelActivity { .. }
                | Self::StartTimer { .. }
                | Self::CancelTimer { .. }
                | Self::DiscardCompensation { .. }
                | Self::BeginCompensations { .. } => 0,
            }
    }

    /// Converts it into the decision that is logged.
    pub(crate) fn into_event(self) -> Event {
        match self {
            Self::ScheduleActivity { id, activity, input, options } => {
                Event::ActivityScheduled { id, activity, input, options }
            }
            Self::CancelActivity { id, .. } => Event::ActivityCancelled { id },
            Self::StartTimer { id, fire_at } => Event::TimerStarted { id, fire_at },
            Self::CancelTimer { id } => Event::TimerCancelled { id },
            Self::RegisterCompensation { id, activity, input, options } => {
                Event::CompensationRegistered { id, activity, input, options }
            }
            Self::DiscardCompensation { id } => Event::CompensationDiscarded { id },
            Self::BeginCompensations { id } => Event::CompensationsBegun { id },
            Self::SendSignal(send) => {
                let SendSignal { id, to, signal, payload } = *send;
                Event::SignalSent { id, to, signal, payload }
            }
            Self::ReplyToUpdate(reply) => {
                let ReplyToUpdate { id, message, update, answer } = *reply;
                match answer {
                    Some(answer) => Event::UpdateReplied { id, message, update, answer },
                    None => Event::UpdateDropped { id, message, update },
                }
            }
            Self::StartChild(start) => {
                let StartChild { id, child, workflow, input, key, at_end, deadline, grace_until } = *start;
                Event::ChildStarted { id, child, workflow, input, key, at_end, deadline, grace_until }
            }
            Self::RequestChildCancel { id, .. } => Event::ChildCancelRequested { id },
            Self::CancelChild { id, policy, .. } => Event::ChildCancelled { id, policy },
        }
    }

    /// The workflow returns in the poll that issued it.
    pub(crate) fn at_end(&mut self) {
        if let Self::CancelChild { policy, at_end, .. } = self {
            *policy = *at_end;
        }
    }

    /// Whether the recorded decision has the same kind, id and name as this command. Inputs,
    /// deadlines, options, recipients and answers may differ: the recorded ones apply.
    pub(crate) fn matches(&self, recorded: &Event) -> bool {
        match (self, recorded) {
            (
                Self::ScheduleActivity { id, activity, .. },
                Event::ActivityScheduled { id: recorded_id, activity: recorded_name, .. },
            )
            | (
                Self::RegisterCompensation { id, activity, .. },
                Event::CompensationRegistered { id: recorded_id, activity: recorded_name, .. },
            ) => id == recorded_id && activity == recorded_name,
            (Self::CancelActivity { id, .. }, Event::ActivityCancelled { id: recorded_id })
            | (Self::StartTimer { id, .. }, Event::TimerStarted { id: recorded_id, .. })
            | (Self::CancelTimer { id }, Event::TimerCancelled { id: recorded_id })
            | (Self::RequestChildCancel { id, .. }, Event::ChildCancelRequested { id: recorded_id })
            | (Self::CancelChild { id, .. }, Event::ChildCancelled { id: recorded_id, .. })
            | (Self::DiscardCompensation { id }, Event::CompensationDiscarded { id: recorded_id })
            | (Self::BeginCompensations { id }, Event::CompensationsBegun { id: recorded_id }) => {
                id == recorded_id
            }
            (Self::StartChild(start), Event::ChildStarted { id, workflow, .. }) => {
                start.id == *id && start.workflow == *workflow
            }
            (Self::SendSignal(send), Event::SignalSent { id, signal, .. }) => {
                send.id == *id && send.signal == *signal
            }
            (Self::ReplyToUpdate(reply), Event::UpdateReplied { id, message, update, .. }) => {
                reply.answer.is_some() && reply.is_to(*id, *message, update)
            }
            (Self::ReplyToUpdate(reply), Event::UpdateDropped { id, message, update }) => {
                reply.answer.is_none() && reply.is_to(*id, *message, update)
            }
            (
                Self::ScheduleActivity { .. }
                | Self::CancelActivity { .. }
                | Self::StartTimer { .. }
                | Self::CancelTimer { .. }
                | Self::RegisterCompensation { .. }
                | Self::DiscardCompensation { .. }
                | Self::BeginCompensations { .. }
                | Self::SendSignal(_)
                | Self::ReplyToUpdate(_)
                | Self::StartChild(_)
                | Self::RequestChildCancel { .. }
                | Self::CancelChild { .. },
                _,
            ) => false,
        }
    }
}

impl ReplyToUpdate {
    fn is_to(&self, id: CommandId, message: MessageId, update: &Name) -> bool {
        self.id == id && self.message == message && self.update == *update
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ScheduleActivity { id, activity, .. } => {
                write!(f, "schedules activity `{activity}` (call {id})")
            }
            Self::CancelActivity { id, activity } => write!(f, "cancels activity `{activity}` (call {id})"),
            Self::StartTimer { id, .. } => write!(f, "starts a timer (call {id})"),
            Self::CancelTimer { id } => write!(f, "cancels a timer (call {id})"),
            Self::RegisterCompensation { id, activity, .. } => {
                write!(f, "registers compensation `{activity}` (call {id})")
            }
            Self::DiscardCompensation { id } => write!(f, "discards the compensation of call {id}"),
            Self::BeginCompensations { id } => write!(f, "begins to compensate (call {id})"),
            Self::SendSignal(send) => {
                let SendSignal { id, to, signal, payload: _ } = &**send;
                write!(f, "sends signal `{signal}` to {to} (call {id})")
            }
            Self::StartChild(start) => write!(f, "starts child `{}` (call {})", start.workflow, start.id),
            Self::RequestChildCancel { id, workflow } => {
                write!(f, "asks child `{workflow}` to cancel itself (call {id})")
            }
            Self::CancelChild { id, workflow, .. } => write!(f, "cancels child `{workflow}` (call {id})"),
            Self::ReplyToUpdate(reply) => {
                let does = if reply.answer.is_some() { "answers" } else { "drops" };
                write!(f, "{does} update `{}` (call {})", reply.update, reply.id)
            }
        }
    }
}
