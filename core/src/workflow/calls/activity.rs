//! `ctx.activity`: schedules an activity and waits for its outcome.

use std::rc::Rc;
use std::time::Duration;

use super::future::{Call, DurableFuture, Opened, Site};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::retry::RetryPolicy;
use crate::workflow::activity::Activity;
use crate::workflow::command::{Command, Source};
use crate::workflow::error::WorkflowResult;
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::Ticket;

/// A call of an activity: scheduled when it is first polled, cancelled when it is dropped before its outcome.
pub type ActivityFuture<A> = DurableFuture<ActivityCall<A>>;

/// What is to be scheduled.
#[derive(Debug)]
pub struct ActivityCall<A: Activity> {
    input: A::Input,
    options: ActivityOptions,
}

impl<A: Activity> DurableFuture<ActivityCall<A>> {
    pub(crate) fn activity(scope: &Rc<Scope>, input: A::Input, source: Source) -> Self {
        Self::new(scope, "activity", A::NAME, source, ActivityCall { input, options: A::options() })
    }

    /// Overrides the activity's retry policy.
    #[track_caller]
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.options(|options| options.retry(policy))
    }

    /// How long one attempt may take: then its token is cancelled and it fails, retryably.
    #[track_caller]
    pub fn start_to_close(self, limit: Duration) -> Self {
        self.options(|options| options.start_to_close(limit))
    }

    /// How long all attempts and the delays between them may take: then the activity fails.
    #[track_caller]
    pub fn schedule_to_close(self, limit: Duration) -> Self {
        self.options(|options| options.schedule_to_close(limit))
    }

    /// Executes the activity at most once: see [`ActivityOptions::at_most_once`].
    #[track_caller]
    pub fn at_most_once(self) -> Self {
        self.options(ActivityOptions::at_most_once)
    }

    #[track_caller]
    fn options(self, change: impl FnOnce(ActivityOptions) -> ActivityOptions) -> Self {
        self.set(|call| call.options = change(std::mem::take(&mut call.options)))
    }
}

impl<A: Activity> Call for ActivityCall<A> {
    type Output = WorkflowResult<A::Output>;

    fn open(self, site: &Site) -> Option<Opened<Self::Output>> {
        if let Err(problem) = self.options.check() {
            site.fault(problem);
            return None;
        }
        let input = site.scope.encode(&format_args!("the input of {}", site.label), &self.input)?;
        let activity = Name::from_static(A::NAME);
        let ticket = Ticket::open(&site.scope, CallKind::Activity(activity.clone()), site.source);
        let command = Command::ScheduleActivity { id: ticket.id(), activity, input, options: self.options };
        site.scope.issue(command, site.source);
        Some(Opened::Waits(ticket))
    }

    fn value(site: &Site, resolution: Resolution) -> Option<Self::Output> {
        site.outcome("result", resolution)
    }
}
