//! `ctx.on_failure`: an activity to execute should the run fail or be cancelled.

use std::rc::Rc;
use std::time::Duration;

use crate::data::id::CommandId;
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::retry::RetryPolicy;
use crate::workflow::activity::Activity;
use crate::workflow::command::{Command, Source};
use crate::workflow::scope::Scope;

/// A compensation that was just registered. It is registered already; its options may be set until the
/// workflow awaits anything.
#[derive(Debug)]
pub struct Compensation {
    scope: Rc<Scope>,
    source: Source,
    id: CommandId,
}

impl Compensation {
    pub(crate) fn register<A: Activity>(scope: &Rc<Scope>, input: &A::Input, source: Source) -> Self {
        let id = scope.next_id(source);
        let options = A::options();
        if let Err(problem) = options.check() {
            scope.fault(format!("the compensation `{}` at {source}: {problem}", A::NAME));
        }
        if let Some(input) = scope.encode(&format_args!("the input of compensation `{}`", A::NAME), input) {
            let activity = Name::from_static(A::NAME);
            scope.issue(Command::RegisterCompensation { id, activity, input, options }, source);
        }
        Self { scope: Rc::clone(scope), source, id }
    }

    /// Which failed attempts are followed by another; instead of the activity's own policy.
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.amend(|options| options.retry(policy))
    }

    /// How long one attempt may take: then its token is cancelled and it fails, retryably.
    pub fn start_to_close(self, limit: Duration) -> Self {
        self.amend(|options| options.start_to_close(limit))
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
            problem = Some("its options came after an await; set them where it is registered".to_owned());
        }
        if let Some(problem) = problem {
            self.scope.fault(format!("the compensation at {}: {problem}", self.source));
        }
        self
    }
}
