//! Crashes at every point at which a process can die, each in its own environment. It must not know what the workflow
//! does.

mod failure;
mod life;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use pgworkflows_core::Workflow;

pub use self::failure::CrashFailure;
use self::life::{Life, live};
pub use self::plan::{CrashMoment, CrashPoint};
use crate::env::{TestEnv, TestEnvBuilder, TestRun};
use crate::error::Error;

/// Plays a script once for each point at which its worker can die, each time in a new environment, when the returned
/// builder is awaited. Another worker takes over, and the crash must make no difference.
///
/// A process can die at each of its appends, which hold one event or several that belong together: before the append is
/// committed; after the commit but before the acknowledgement; and right after the acknowledgement. So it dies after
/// each event, and while each activity, step and timer is in flight.
///
/// Every run has to end as it does without a crash, or to wait for the same things. It has to schedule the same
/// activities with the same inputs, execute no activity again whose outcome was recorded, and execute no attempt more
/// often than the crashes explain. So a run's result must not depend on how often an activity was executed.
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows_testkit::{TestEnv, crash_everywhere};
///
/// struct Charge;
///
/// #[async_trait]
/// impl Activity for Charge {
///     const NAME: &'static str = "charge";
///     type Input = u64;
///     type Output = String;
///
///     async fn execute(&self, ctx: ActivityContext, cents: u64) -> ActivityResult<String> {
///         Ok(format!("{cents} under key {}", ctx.idempotency_key()))
///     }
/// }
///
/// struct Order;
///
/// impl Workflow for Order {
///     const NAME: &'static str = "order";
///     type Input = u64;
///     type Output = String;
///
///     async fn run(ctx: Context, cents: u64) -> WorkflowResult<String> {
///         ctx.sleep(Duration::from_secs(3600)).await?;
///         ctx.activity::<Charge>(cents).await
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let definition = TestEnv::builder().workflow::<Order>().activity(Charge);
/// let crashed = crash_everywhere(&definition, async |env: TestEnv| env.start::<Order>(500).await).await?;
/// assert_eq!(crashed.repeats["charge"], 1);
/// # Ok(())
/// # }
/// ```
pub fn crash_everywhere<W, S>(definition: &TestEnvBuilder, script: S) -> CrashEverywhere<W, S>
where
    W: Workflow,
    S: AsyncFn(TestEnv) -> Result<TestRun<W>, Error>,
{
    CrashEverywhere {
        definition: definition.clone(),
        script,
        crashes: 1,
        repeats: 1,
        outage: Duration::ZERO,
        workflow: PhantomData,
    }
}

/// How many crash points the first worker may have: each point takes a whole life of the script's runs.
const CRASH_POINTS_MAX: usize = 10_000;

/// After how many crash points a line of progress is printed.
const PROGRESS_EVERY: usize = 500;

/// A builder made by [`crash_everywhere()`]: await it, or call [`assert`](CrashEverywhere::assert).
#[must_use = "nothing crashes until it is awaited"]
pub struct CrashEverywhere<W, S> {
    definition: TestEnvBuilder,
    script: S,
    crashes: usize,
    repeats: usize,
    outage: Duration,
    workflow: PhantomData<fn() -> W>,
}

/// The result of [`crash_everywhere()`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crashed {
    /// How many crash points were tried. Several crashes in a row count as one point.
    pub crash_points: usize,
    /// How often an attempt was executed again at most, by activity and step. Those that never were are left out.
    pub repeats: BTreeMap<String, usize>,
}

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} crash points", self.crash_points)?;
        for (name, times) in &self.repeats {
            write!(f, "; `{name}` was executed again, {times}x at most")?;
        }
        Ok(())
    }
}

impl<W: Workflow, S: AsyncFn(TestEnv) -> Result<TestRun<W>, Error>> CrashEverywhere<W, S> {
    /// How many workers die one after another, each at every point of its life; 1 by default. Two crashes take the
    /// square of the time of one.
    pub fn crashes(mut self, crashes: usize) -> Self {
        self.crashes = crashes;
        self
    }

    /// How often an attempt in flight may be executed again per crash; 1 by default, because a crash can cost that.
    /// With 0, only crashes that hit no attempt pass.
    pub fn repeats(mut self, times: usize) -> Self {
        self.repeats = times;
        self
    }

    /// How much virtual time passes until another worker takes over; zero by default. Timers that are due meanwhile
    /// fire late, so a run whose result depends on the time may end differently.
    pub fn outage(mut self, time: Duration) -> Self {
        self.outage = time;
        self
    }

    /// Crashes everywhere, and panics with a report if a crash makes a difference.
    ///
    /// # Panics
    /// Panics if awaiting the builder returns an error.
    pub async fn assert(self) -> Crashed {
        self.run().await.unwrap_or_else(|failure| panic!("{failure}"))
    }

    async fn run(self) -> Result<Crashed, CrashFailure> {
        if self.crashes == 0 {
            let problem = "`crashes` is 0, so nothing would crash; set it to at least 1";
            return Err(CrashFailure::refused(Error::invalid(problem)));
        }
        let baseline = self.live(&[]).await?;
        check_baseline(&baseline)?;
        let mut crashed = Crashed::default();
        let mut ahead = vec![(Vec::new(), baseline.appends)];
        while let Some((before, appends)) = ahead.pop() {
            for append in 1..=appends {
                for moment in CrashMoment::ALL {
                    let mut points = before.clone();
                    points.push((append, moment));
                    let life = self.live(&points).await?;
                    self.compare(&baseline, &life, &mut crashed)?;
                    if points.len() < self.crashes {
                        ahead.push((points, life.appends));
                    }
                }
            }
        }
        Ok(crashed)
    }

    async fn live(&self, points: &[(usize, CrashMoment)]) -> Result<Life, CrashFailure> {
        let life = live(&self.definition, &self.script, points, self.outage).await;
        life.map_err(CrashFailure::refused)
    }

    /// Checks that the crashes made no difference.
    fn compare(&self, baseline: &Life, life: &Life, crashed: &mut Crashed) -> Result<(), CrashFailure> {
        crashed.crash_points += 1;
        if crashed.crash_points.is_multiple_of(PROGRESS_EVERY) {
            eprintln!("crash_everywhere: {} crash points so far, no failure", crashed.crash_points);
        }
        for (attempt, times) in &life.executions {
            if *times > 1 {
                let most = crashed.repeats.entry(attempt.name.clone()).or_default();
                *most = (*most).max(times - 1);
            }
        }
        let repeats_max = self.repeats * life.crashes.len();
        match failure::noticed(baseline, life, repeats_max) {
            Some(noticed) => Err(CrashFailure::noticed(life, noticed)),
            None => Ok(()),
        }
    }
}

/// Checks that the life without a crash succeeds and is not too long.
fn check_baseline(baseline: &Life) -> Result<(), CrashFailure> {
    let points = baseline.appends * CrashMoment::ALL.len();
    let problem = match &baseline.script {
        Err(problem) => format!("without a crash, {problem}"),
        Ok(()) if points > CRASH_POINTS_MAX => format!(
            "there are {points} crash points, and the limit is {CRASH_POINTS_MAX}; have the script's runs end \
             earlier"
        ),
        Ok(()) => return Ok(()),
    };
    Err(CrashFailure::refused(Error::invalid(problem)))
}

impl<W, S> IntoFuture for CrashEverywhere<W, S>
where
    W: Workflow,
    S: AsyncFn(TestEnv) -> Result<TestRun<W>, Error> + 'static,
{
    type Output = Result<Crashed, CrashFailure>;
    type IntoFuture = LocalBoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<W: Workflow, S> fmt::Debug for CrashEverywhere<W, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashEverywhere")
            .field("workflow", &W::NAME)
            .field("crashes", &self.crashes)
            .field("repeats", &self.repeats)
            .field("outage", &self.outage)
            .finish_non_exhaustive()
    }
}
