//! `ctx.sleep` and `ctx.sleep_until`: a deadline that survives the process. It must not know a clock.

use std::rc::Rc;
use std::time::Duration;

use super::future::{CallSite, DurableCall, DurableFuture, Opened};
use crate::data::time::Timestamp;
use crate::workflow::command::{Command, Source};
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::CallHandle;

/// A durable timer. The first poll starts it; dropping the future before the timer fires cancels it.
pub type TimerFuture = DurableFuture<TimerCall>;

/// When the timer fires.
#[derive(Debug)]
pub enum TimerCall {
    /// That long after its start.
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
    /// The deadline. One that no store can hold is an error that the workflow may handle.
    fn deadline(&self, now: Timestamp) -> WorkflowResult<Timestamp> {
        let beyond = |what: String| {
            let message = format!("{what} is beyond {}, the last possible deadline", Timestamp::MAX_DEADLINE);
            WorkflowError::new("invalid-deadline", message)
        };
        match *self {
            Self::After(delay) => {
                now.checked_add(delay).ok_or_else(|| beyond(format!("a timer of {delay:?}")))
            }
            Self::At(time) if time > Timestamp::MAX_DEADLINE => Err(beyond(format!("a timer until {time}"))),
            // Not every store can hold a time long past.
            Self::At(time) => Ok(time.max(now)),
        }
    }
}

impl DurableCall for TimerCall {
    type Output = WorkflowResult<()>;

    fn open(self, site: &CallSite) -> Option<Opened<Self::Output>> {
        let fire_at = match self.deadline(site.scope.now()) {
            Ok(fire_at) => fire_at,
            Err(refused) => return Some(Opened::Ready(Err(refused))),
        };
        let handle = CallHandle::open(&site.scope, CallKind::Timer(fire_at), site.source);
        site.scope.issue(Command::StartTimer { id: handle.id(), fire_at }, site.source);
        Some(Opened::Waits(handle))
    }

    fn is_immediate(&self, site: &CallSite) -> bool {
        self.deadline(site.scope.now()).is_err()
    }

    fn value(_: &CallSite, resolution: Resolution) -> Option<Self::Output> {
        Some(match resolution {
            Resolution::Fired => Ok(()),
            Resolution::Cancelled
            | Resolution::Value(_)
            | Resolution::Failed(_)
            | Resolution::Asked(_)
            | Resolution::Compensated(_) => Err(WorkflowError::cancelled()),
        })
    }
}
