//! `ctx.on_failure`: registers an activity to execute if the run fails or is cancelled. It must not know when that is.

use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::id::CommandId;
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::retry::RetryPolicy;
use crate::workflow::command::{Command, Source};
use crate::workflow::scope::Scope;

/// A registered compensation. Its options may be set until the workflow's next `await`, and each overrides that of
/// [`Activity::options`](crate::workflow::activity::Activity::options):
///
/// ```
/// # use pgworkflows::prelude::*;
/// # async fn workflow<Refund: Activity<Input = u64>>(ctx: Context) -> WorkflowResult<()> {
/// ctx.on_failure::<Refund>(1_999)
///     .retry(RetryPolicy::exponential().max_attempts(10))
///     .start_to_close(Duration::from_secs(30));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// An option that is set after an `await` or is out of its range stalls the run.
#[derive(Debug)]
pub struct Compensation {
    scope: Rc<Scope>,
    source: Source,
    id: CommandId,
}

impl Compensation {
    pub(crate) fn register<I: Serialize + DeserializeOwned>(
        scope: &Rc<Scope>,
        name: &'static str,
        options: ActivityOptions,
        input: &I,
        source: Source,
    ) -> Self {
        let id = scope.next_id(source);
        if let Err(problem) = options.check() {
            scope.fault(format!("the compensation `{name}` at {source}: {problem}"));
        }
        if let Some(input) = scope.encode(&format_args!("the input of compensation `{name}`"), input) {
            let activity = Name::from_static(name);
            scope.issue(Command::RegisterCompensation { id, activity, input, options }, source);
            scope.register_compensation(id);
        }
        Self { scope: Rc::clone(scope), source, id }
    }

    /// Overrides the activity's retry policy; without one, there is one attempt. See the example [above](Compensation).
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.amend(|options| options.retry(policy))
    }

    /// Limits the time of one attempt, which then fails retryably and has its cancellation token cancelled. More than zero
    /// and at most 100 years; no limit by default. See the example [above](Compensation).
    pub fn start_to_close(self, limit: Duration) -> Self {
        self.amend(|options| options.start_to_close(limit))
    }

    /// Sends the activity to an activity queue, as [`ActivityFuture`](crate::workflow::ActivityFuture) can. See the example
    /// [above](Compensation).
    pub fn queue(self, name: impl Into<Name>) -> Self {
        let name = name.into();
        self.amend(|options| options.queue(name))
    }

    /// Gives the compensation up, because there is nothing left to undo: it is not executed, in no round and not at the end
    /// of the run. Returns false, and changes nothing, if a round has begun with it
    /// ([`Context::compensate`](crate::workflow::Context::compensate)).
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Reserve, Release, Sell>(ctx: Context) -> WorkflowResult<()>
    /// # where Reserve: Activity<Input = u64, Output = ()>, Release: Activity<Input = u64>,
    /// #     Sell: Activity<Input = u64, Output = ()> {
    /// let release = ctx.on_failure::<Release>(7);
    /// ctx.activity::<Reserve>(7).await?;
    /// ctx.activity::<Sell>(7).await?;
    /// release.discard(); // It is sold: from here on, nothing is released.
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn discard(self) -> bool {
        self.scope.discard_compensation(self.id, Location::caller())
    }

    fn amend(self, change: impl FnOnce(ActivityOptions) -> ActivityOptions) -> Self {
        let mut problem = None;
        let amended = self.scope.amend(self.id, |command| {
            if let Command::RegisterCompensation { options, .. } = command {
                *options = change(std::mem::take(options));
                problem = options.check().err();
            }
        });
        if !amended {
            problem = Some("its options are set after an await; set them where it is registered".to_owned());
        }
        if let Some(problem) = problem {
            self.scope.fault(format!("the compensation at {}: {problem}", self.source));
        }
        self
    }
}
