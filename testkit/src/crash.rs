//! Crashes at every point at which a process can die, each in a run of its own. It must not know what the workflow
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

/// Plays a script once per point at which its worker can die, each time in a new environment, when the returned
/// builder is awaited. Another worker takes over, and nobody may notice.
///
/// A process can die at each of its appends, which hold one event or several that belong together: before the
/// append is committed; when it is, and nobody has heard of that; and right after that was heard. So it dies after
/// each event, and while each activity, step and timer is under way.
///
/// Each time every run has to end as it does without a crash, or wait for the same; to have asked for the same
/// activities with the same inputs; to execute none again whose outcome was recorded; and to execute no attempt
/// more often than crashes explain. What a run's result holds must therefore not tell one execution from another.
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

/// How many points there may be at which the first worker can die: each is a life as long as all of them.
const CRASH_POINTS_MAX: usize = 10_000;

/// How often long work says how far it is, in crash points.
const PROGRESS_EVERY: usize = 500;

/// Crashes everywhere, made by [`crash_everywhere()`]: await it, or [`assert`](CrashEverywhere::assert) it.
#[must_use = "nothing crashes until it is awaited"]
pub struct CrashEverywhere<W, S> {
    definition: TestEnvBuilder,
    script: S,
    crashes: usize,
    repeats: usize,
    outage: Duration,
    workflow: PhantomData<fn() -> W>,
}

/// What was crashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crashed {
    /// How many crash points were tried; several crashes after one another count as one.
    pub crash_points: usize,
    /// By activity and step, how often an attempt was executed again, at most. Those that never were are left out.
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
    /// How many workers die one after the other, each at every point of its life; 1 unless told otherwise. Two
    /// crashes take the square of the time of one.
    pub fn crashes(mut self, crashes: usize) -> Self {
        self.crashes = crashes;
        self
    }

    /// How often an attempt that is under way may be executed again per crash; once unless told otherwise, for
    /// that is what a crash can cost. With 0 only those crashes pass which hit no attempt.
    pub fn repeats(mut self, times: usize) -> Self {
        self.repeats = times;
        self
    }

    /// How much time passes until another worker takes over; none unless told otherwise. Timers that are due
    /// meanwhile fire late, so a run whose end depends on the time may end otherwise.
    pub fn outage(mut self, time: Duration) -> Self {
        self.outage = time;
        self
    }

    /// Crashes everywhere, and panics with what a test's reader wants to see where a crash is noticed.
    ///
    /// # Panics
    /// Where awaiting it has an error.
    pub async fn assert(self) -> Crashed {
        self.run().await.unwrap_or_else(|failure| panic!("{failure}"))
    }

    async fn run(self) -> Result<Crashed, CrashFailure> {
        if self.crashes == 0 {
            let problem = "`crashes` is 0, and nothing would crash; give it 1 at least";
            return Err(CrashFailure::refused(Error::invalid(problem)));
        }
        let calm = self.live(&[]).await?;
        check_calm(&calm)?;
        let mut crashed = Crashed::default();
        let mut ahead = vec![(Vec::new(), calm.appends)];
        while let Some((before, appends)) = ahead.pop() {
            for append in 1..=appends {
                for moment in CrashMoment::ALL {
                    let mut points = before.clone();
                    points.push((append, moment));
                    let life = self.live(&points).await?;
                    self.compare(&calm, &life, &mut crashed)?;
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

    /// Demands that nobody noticed.
    fn compare(&self, calm: &Life, life: &Life, crashed: &mut Crashed) -> Result<(), CrashFailure> {
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
        match failure::noticed(calm, life, repeats_max) {
            Some(noticed) => Err(CrashFailure::noticed(life, noticed)),
            None => Ok(()),
        }
    }
}

/// Whether a life without a crash is worth to be crashed.
fn check_calm(calm: &Life) -> Result<(), CrashFailure> {
    let points = calm.appends * CrashMoment::ALL.len();
    let problem = match &calm.script {
        Err(problem) => format!("without a crash, {problem}"),
        Ok(()) if points > CRASH_POINTS_MAX => format!(
            "there are {points} crash points, and more than {CRASH_POINTS_MAX} take too long; have the script's \
             runs end earlier"
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
