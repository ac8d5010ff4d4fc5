//! `ctx.sleep` and `ctx.sleep_until`: a deadline that outlives the process.

use std::rc::Rc;
use std::time::Duration;

use super::future::{Call, DurableFuture, Opened, Site};
use crate::data::time::Timestamp;
use crate::workflow::command::{Command, Source};
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::Ticket;

/// A durable timer: started when it is first polled, cancelled when it is dropped before it fires.
pub type TimerFuture = DurableFuture<TimerCall>;

/// When the timer is to fire.
#[derive(Debug)]
pub enum TimerCall {
    /// So long after its start.
    After(Duration),
    /// At that time.
    At(Timestamp),
}

impl DurableFuture<TimerCall> {
    pub(crate) fn timer(scope: &Rc<Scope>, call: TimerCall, source: Source) -> Self {
        Self::new(scope, "the timer", "", source, call)
    }
}

impl TimerCall {
    /// The deadline. One that no store can hold is the caller's error, and the workflow may handle it.
    fn deadline(self, now: Timestamp) -> WorkflowResult<Timestamp> {
        let beyond = |what: String| {
            let message = format!("{what} is beyond {}, the last deadline there is", Timestamp::MAX_DEADLINE);
            WorkflowError::new("invalid-deadline", message)
        };
        match self {
            Self::After(delay) => {
                now.checked_add(delay).ok_or_else(|| beyond(format!("a timer of {delay:?}")))
            }
            Self::At(time) if time > Timestamp::MAX_DEADLINE => Err(beyond(format!("a timer until {time}"))),
            // A deadline long past need not be one that every store can hold.
            Self::At(time) => Ok(time.max(now)),
        }
    }
}

impl Call for TimerCall {
    type Output = WorkflowResult<()>;

    fn open(self, site: &Site) -> Option<Opened<Self::Output>> {
        let fire_at = match self.deadline(site.scope.now()) {
            Ok(fire_at) => fire_at,
            Err(refused) => return Some(Opened::Ready(Err(refused))),
        };
        let ticket = Ticket::open(&site.scope, CallKind::Timer(fire_at), site.source);
        site.scope.issue(Command::StartTimer { id: ticket.id(), fire_at }, site.source);
        Some(Opened::Waits(ticket))
    }

    fn value(_: &Site, resolution: Resolution) -> Option<Self::Output> {
        Some(match resolution {
            Resolution::Fired => Ok(()),
            Resolution::Cancelled | Resolution::Value(_) | Resolution::Failed(_) => {
                Err(WorkflowError::cancelled())
            }
        })
    }
}
