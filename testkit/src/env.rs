//! `TestEnv`: a world of its own for one test of a user's workflows. It adds words and errors to a
//! [`World`](crate::world::World), and must not do anything that production does otherwise.

mod assert;
mod builder;
mod calls;
mod run;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use chrono::{DateTime, Utc};
use pgworkflows_core::{Activity, Client, Workflow};

pub use self::assert::Snapshot;
pub use self::builder::TestEnvBuilder;
pub use self::calls::ActivityCall;
pub use self::run::{TestRun, TestStart};
use crate::error::Error;
use crate::world::{Patience, Stuck, World};

/// The real engine, in memory and under virtual time, for one test. Clones are the same environment.
///
/// Nothing happens by itself: the futures of an environment drive it while they are awaited, on the caller's thread
/// and under any executor. While a result is awaited and nothing else happens, time jumps to the next deadline.
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
    /// Begins to put an environment together.
    pub fn builder() -> TestEnvBuilder {
        TestEnvBuilder::default()
    }

    /// Starts a run, when the returned builder is awaited.
    ///
    /// # Errors
    /// As [`Client::start`], and if the workflow was not given to the builder of this environment.
    pub fn start<W: Workflow>(&self, input: W::Input) -> TestStart<W> {
        TestStart::new(self.clone(), self.world.client().start::<W>(input))
    }

    /// A run that was started otherwise, by a handler that was given [`TestEnv::client`] for example.
    pub fn run<W: Workflow>(&self, run: pgworkflows_core::RunId) -> TestRun<W> {
        TestRun::new(self.clone(), self.world.client().handle(run))
    }

    /// The client of this environment, as production has it. What it does goes on while the environment is driven:
    /// await it within [`TestEnv::drive`].
    pub fn client(&self) -> Client {
        self.world.client().clone()
    }

    /// Awaits any future that uses this environment's client. Time jumps while nothing else happens. A future that
    /// waits for something real as well is one for [`TestEnv::serve`].
    ///
    /// # Errors
    /// [`Error::is_stuck`] if the future waits for something that can never happen; it says what the open runs wait
    /// on.
    pub async fn drive<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        self.wait(future, || false, || "the future that was driven is not ready".to_owned()).await
    }

    /// Awaits a future that waits for something real, a request to an HTTP server of the test for example, while
    /// others use this environment's client. No time passes, and it is waited for however long it takes.
    pub async fn serve<F: Future>(&self, future: F) -> F::Output {
        self.world.serve(future).await
    }

    /// Lets that much time pass. Everything that falls due meanwhile happens at its own time. Time ends with the year
    /// 9999, the last that a store can hold: no more passes than there is.
    pub async fn advance(&self, time: Duration) {
        let time = time.min(self.world.time_left());
        let slept = self.world.drive(self.world.time().sleep(time)).await;
        slept.unwrap_or_else(|Stuck| unreachable!("time can always pass"));
    }

    /// Lets time pass until that moment.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if it has passed, for time does not go backwards, or if it is after the year 9999, the
    /// last that a store can hold.
    pub async fn advance_until(&self, moment: DateTime<Utc>) -> Result<(), Error> {
        let ahead = (moment - self.now()).to_std().map_err(|_| {
            Error::invalid(format!(
                "time cannot go back: it is {}, and {moment} was asked for; give a moment that is yet to come",
                self.now()
            ))
        })?;
        let last = self.now() + self.world.time_left();
        if moment > last {
            return Err(Error::invalid(format!(
                "time ends at {last}, the last moment that a store can hold, and {moment} was asked for; give an \
                 earlier one"
            )));
        }
        self.advance(ahead).await;
        Ok(())
    }

    /// Lets time pass from one deadline to the next until the condition holds. It is looked at whenever nothing else
    /// happens.
    ///
    /// # Errors
    /// [`Error::is_stuck`] if it does not hold when nothing more can happen; it says what the open runs wait on.
    pub async fn advance_until_true(&self, mut condition: impl FnMut() -> bool) -> Result<(), Error> {
        let holds = poll_fn(|_| if condition() { Poll::Ready(()) } else { Poll::Pending });
        self.wait(holds, || false, || "the condition does not hold".to_owned()).await
    }

    /// The time by the environment's clock. It begins on 2026-01-01 unless the builder was told otherwise.
    pub fn now(&self) -> DateTime<Utc> {
        self.world.now().into()
    }

    /// How much virtual time has passed since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.world.elapsed()
    }

    /// The attempts of an activity that were begun, real or mocked, in the order in which they began.
    ///
    /// # Panics
    /// If an input cannot be read as the activity's: the workflow scheduled another type under its name.
    #[track_caller]
    pub fn activity_calls<A: Activity>(&self) -> Vec<ActivityCall<A>> {
        self.world.settle();
        let begun = self.world.calls().begun_of(A::NAME);
        begun.iter().map(|call| ActivityCall::new(call, self.world.time_at(call.at))).collect()
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Drives the world for a future. The error says what is not to be had, and why.
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
            let why = if patience.has_ended() { "goes on and on without a result" } else { "stands still" };
            Error::stuck(format!("{what}, and at {now} everything {why}; {report}"))
        })
    }
}
