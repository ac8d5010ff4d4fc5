//! `TestEnv`: a world for one test of a user's workflows. It adds messages and errors to a
//! [`World`](crate::world::World), and must not do anything differently from production.

mod assert;
mod builder;
mod calls;
mod run;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use chrono::{DateTime, Utc};
use pgworkflows_core::activity::ActivityDef;
use pgworkflows_core::payload::Positional;
use pgworkflows_core::{Activity, Client};
use serde::de::DeserializeOwned;

pub use self::assert::Snapshot;
pub use self::builder::TestEnvBuilder;
pub use self::calls::ActivityCall;
pub use self::run::{TestRun, TestStart};
use crate::error::Error;
use crate::world::{Patience, Stuck, World};

/// The real engine, in memory and under virtual time, for one test. Clones share the environment.
///
/// The futures of an environment drive it while they are awaited, on the caller's thread and on any executor; otherwise
/// nothing happens. While a result is awaited and nothing else happens, time jumps to the next deadline.
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows_testkit::TestEnv;
///
/// struct SendWelcome;
///
/// #[async_trait]
/// impl Activity for SendWelcome {
///     const NAME: &'static str = "send-welcome";
///     type Input = String;
///     type Output = ();
///
///     async fn execute(&self, _: ActivityContext, email: String) -> ActivityResult<()> {
///         panic!("no test sends mail to {email}")
///     }
/// }
///
/// struct Trial;
///
/// impl Workflow for Trial {
///     const NAME: &'static str = "trial";
///     type Input = String;
///     type Output = String;
///
///     async fn run(ctx: Context, email: String) -> WorkflowResult<String> {
///         ctx.activity::<SendWelcome>(email).await?;
///         ctx.sleep(Duration::from_secs(11 * 24 * 3600)).await?;
///         Ok("The trial is over.".to_owned())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows_testkit::Error> {
/// let env = TestEnv::builder().workflow::<Trial>().mock::<SendWelcome>(|_email| Ok(())).build();
/// let run = env.start::<Trial>("ada@acme.example".to_owned()).await?;
/// assert_eq!(run.result().await?, "The trial is over.");
/// assert_eq!(env.elapsed(), Duration::from_secs(11 * 24 * 3600));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TestEnv {
    world: Rc<World>,
}

impl TestEnv {
    /// The client of this environment, as in production. Its futures make progress while the environment is driven:
    /// await them within [`TestEnv::drive`].
    pub fn client(&self) -> Client {
        self.world.client().clone()
    }

    /// Awaits any future that uses this environment's client. Time jumps while nothing else happens. If the future also
    /// waits for something real, use [`TestEnv::serve`].
    ///
    /// # Errors
    /// Returns [`Error::is_stuck`] if the future waits for something that can never happen. The error says what the
    /// open runs wait for.
    pub async fn drive<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        self.wait(future, || false, || "the future that was driven is not ready".to_owned()).await
    }

    /// Awaits a future that waits for something real, such as a request to an HTTP server of the test, while other
    /// tasks use this environment's client. No virtual time passes, and there is no limit on the real time.
    pub async fn serve<F: Future>(&self, future: F) -> F::Output {
        self.world.serve(future).await
    }

    /// Lets that much virtual time pass. Everything that is due meanwhile happens at its own time. Time stops at the
    /// end of the year 9999, the last moment that a store can hold.
    pub async fn advance(&self, time: Duration) {
        let time = time.min(self.world.time_left());
        let slept = self.world.drive(self.world.time().sleep(time)).await;
        slept.unwrap_or_else(|Stuck| unreachable!("time can always pass"));
    }

    /// Lets virtual time pass until `moment`.
    ///
    /// # Errors
    /// Returns [`Error::is_invalid`] if the moment is in the past, or after the year 9999, the last that a store can
    /// hold.
    pub async fn advance_until(&self, moment: DateTime<Utc>) -> Result<(), Error> {
        let ahead = (moment - self.now()).to_std().map_err(|_| {
            Error::invalid(format!(
                "time cannot go back: it is {}, and {moment} was requested; give a moment in the future",
                self.now()
            ))
        })?;
        let last = self.now() + self.world.time_left();
        if moment > last {
            return Err(Error::invalid(format!(
                "time ends at {last}, the last moment that a store can hold, and {moment} was requested; give an \
                 earlier moment"
            )));
        }
        self.advance(ahead).await;
        Ok(())
    }

    /// Lets time pass from one deadline to the next until the condition holds. It is checked whenever nothing else
    /// happens.
    ///
    /// # Errors
    /// Returns [`Error::is_stuck`] if the condition does not hold when nothing more can happen. The error says what the
    /// open runs wait for.
    pub async fn advance_until_true(&self, mut condition: impl FnMut() -> bool) -> Result<(), Error> {
        let holds = poll_fn(|_| if condition() { Poll::Ready(()) } else { Poll::Pending });
        self.wait(holds, || false, || "the condition does not hold".to_owned()).await
    }

    /// The time of the environment's clock. It begins at 2026-01-01 00:00 UTC by default, see
    /// [`TestEnvBuilder::start_at`].
    pub fn now(&self) -> DateTime<Utc> {
        self.world.now().into()
    }

    /// How much virtual time has passed since the environment was built.
    pub fn elapsed(&self) -> Duration {
        self.world.elapsed()
    }

    /// The attempts of an activity, real or mocked, in the order in which they began.
    ///
    /// # Panics
    /// Panics if an input cannot be decoded as the activity's: the workflow scheduled another type with the same name.
    #[track_caller]
    pub fn activity_calls<A: Activity>(&self) -> Vec<ActivityCall<A::Input>> {
        self.calls_named(A::NAME, |input: A::Input| input)
    }

    /// The attempts of an activity by its definition, as [`activity_calls`](Self::activity_calls) returns them. See
    /// [`TestEnvBuilder::mock_fn`] for an example.
    ///
    /// # Panics
    /// Panics if the arguments cannot be decoded as those of the definition.
    #[track_caller]
    pub fn calls_of<Args, O, E>(&self, activity: ActivityDef<Args, O, E>) -> Vec<ActivityCall<Args>>
    where
        Positional<Args>: DeserializeOwned,
    {
        self.calls_named(activity.name(), |Positional(arguments)| arguments)
    }

    #[track_caller]
    fn calls_named<S: DeserializeOwned, I>(&self, name: &str, take: fn(S) -> I) -> Vec<ActivityCall<I>> {
        self.world.settle();
        let begun = self.world.calls().begun_of(name);
        begun.iter().map(|call| ActivityCall::new(call, self.world.time_at(call.at), take)).collect()
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Drives the world for a future. The error says what was waited for, and why that cannot happen.
    async fn wait<F: Future>(
        &self,
        future: F,
        is_hopeless: impl Fn() -> bool,
        what: impl FnOnce() -> String,
    ) -> Result<F::Output, Error> {
        let patience = Patience::new(&self.world);
        let driven = self.world.drive_unless(future, || is_hopeless() || patience.ends()).await;
        driven.map_err(|Stuck| {
            let (what, now, report) = (what(), self.now(), self.world.report());
            let why = if patience.has_ended() { "continues without a result" } else { "stands still" };
            Error::stuck(format!("{what}, and at {now} everything {why}; {report}"))
        })
    }
}
