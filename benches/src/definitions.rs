//! The workflows that are measured. They do nothing but make durable calls, so that what is measured is the engine.

use chrono::{DateTime, Utc};
use pgworkflows::prelude::*;

/// Sequential activities, as many as its input says.
#[derive(Debug)]
pub struct Activities;

impl Workflow for Activities {
    const NAME: &'static str = "activities";
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, count: u32) -> WorkflowResult<u64> {
        let mut sum = 0;
        for number in 0..count {
            sum += ctx.activity::<Double>(u64::from(number)).await?;
        }
        Ok(sum)
    }
}

/// Sequential steps, as many as its input says.
#[derive(Debug)]
pub struct Steps;

impl Workflow for Steps {
    const NAME: &'static str = "steps";
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, count: u32) -> WorkflowResult<u64> {
        let mut sum = 0;
        for number in 0..u64::from(count) {
            sum += ctx.step("double", move || async move { Ok(2 * number) }).await?;
        }
        Ok(sum)
    }
}

/// Activities at the same time, as many as its input says, in waves that respect the limits of one poll.
#[derive(Debug)]
pub struct FanOut;

/// The width of a wave: a poll may ask for 20,000 commands.
const WAVE: u32 = 10_000;

impl Workflow for FanOut {
    const NAME: &'static str = "fan-out";
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, width: u32) -> WorkflowResult<u64> {
        let mut sum = 0;
        for first in (0..width).step_by(WAVE as usize) {
            let wave = first..width.min(first + WAVE);
            let branches = wave.map(|number| ctx.activity::<Double>(u64::from(number)));
            sum += ctx.when_all(branches).await?.into_iter().sum::<u64>();
        }
        Ok(sum)
    }
}

/// The activity queue of [`Tasks`].
pub const TASKS: &str = "tasks";

/// Activities at the same time, all of which the workers of another activity queue execute.
#[derive(Debug)]
pub struct Tasks;

impl Workflow for Tasks {
    const NAME: &'static str = "tasks";
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, width: u32) -> WorkflowResult<u64> {
        let branches = (0..width).map(|number| ctx.activity::<Double>(u64::from(number)).queue(TASKS));
        Ok(ctx.when_all(branches).await?.into_iter().sum())
    }
}

/// Activities at the same time that take a while: how many, and how many milliseconds.
#[derive(Debug)]
pub struct Pauses;

impl Workflow for Pauses {
    const NAME: &'static str = "pauses";
    type Input = (u32, u64);
    type Output = ();

    async fn run(ctx: Context, (width, millis): (u32, u64)) -> WorkflowResult<()> {
        ctx.when_all((0..width).map(|_| ctx.activity::<Pause>(millis))).await.map(drop)
    }
}

/// One sleep until the time that its input says.
#[derive(Debug)]
pub struct Timers;

impl Workflow for Timers {
    const NAME: &'static str = "timers";
    /// Microseconds since 1970.
    type Input = i64;
    type Output = ();

    async fn run(ctx: Context, due: i64) -> WorkflowResult<()> {
        ctx.sleep_until(DateTime::<Utc>::from_timestamp_micros(due).unwrap_or_default()).await
    }
}

/// Sequential sleeps of no time, as many as its input says: for histories, not for load.
#[derive(Debug)]
pub struct Naps;

impl Workflow for Naps {
    const NAME: &'static str = "naps";
    type Input = u32;
    type Output = ();

    async fn run(ctx: Context, count: u32) -> WorkflowResult<()> {
        for _ in 0..count {
            ctx.sleep(Duration::ZERO).await?;
        }
        Ok(())
    }
}

/// Waits for signals, as many as its input says.
#[derive(Debug)]
pub struct Signals;

/// What [`Signals`] waits for.
pub const GO: Signal<u64> = Signal::new("go");

impl Workflow for Signals {
    const NAME: &'static str = "signals";
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, count: u32) -> WorkflowResult<u64> {
        let mut sum = 0;
        for _ in 0..count {
            sum += ctx.wait_for(GO).await?;
        }
        Ok(sum)
    }
}

/// Ends at once: what a start costs.
#[derive(Debug)]
pub struct Nothing;

impl Workflow for Nothing {
    const NAME: &'static str = "nothing";
    type Input = u64;
    type Output = u64;

    async fn run(_ctx: Context, number: u64) -> WorkflowResult<u64> {
        Ok(number)
    }
}

/// Children that end at once, all at the same time, as many as its input says.
#[derive(Debug)]
pub struct Family;

impl Workflow for Family {
    const NAME: &'static str = "family";
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, width: u32) -> WorkflowResult<u64> {
        let mut sum = 0;
        for first in (0..width).step_by(WAVE as usize) {
            let wave = first..width.min(first + WAVE);
            let children = wave.map(|number| ctx.child::<Nothing>(u64::from(number)));
            sum += ctx.when_all(children).await?.into_iter().sum::<u64>();
        }
        Ok(sum)
    }
}

/// Answers updates, as many as its input says.
#[derive(Debug)]
pub struct Answers;

/// What [`Answers`] answers.
pub const ADD: Update<u64, u64> = Update::new("add");

impl Workflow for Answers {
    const NAME: &'static str = "answers";
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, count: u32) -> WorkflowResult<u64> {
        let mut sum = 0;
        for _ in 0..count {
            let (number, answer) = ctx.wait_for_update(ADD).await?;
            sum += number;
            answer.send(sum);
        }
        Ok(sum)
    }
}

/// Continues as new, as often as its input says.
#[derive(Debug)]
pub struct Continues;

/// How far a chain of [`Continues`] is, and when it passed some of its runs, in microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ChainSoFar {
    /// How many runs the chain has in all.
    pub length: u32,
    /// How many it has had.
    pub done: u32,
    /// When the second thousand began and ended.
    pub second: (i64, i64),
    /// When the last thousand began and ended.
    pub last: (i64, i64),
}

impl ChainSoFar {
    /// How long the second and the last thousand took, in milliseconds, if the chain had two.
    pub fn thousands(&self) -> Option<(f64, f64)> {
        let millis = |(from, to): (i64, i64)| (to - from) as f64 / 1e3;
        (self.length >= 2_000).then(|| (millis(self.second), millis(self.last)))
    }
}

impl Workflow for Continues {
    const NAME: &'static str = "continues";
    type Input = ChainSoFar;
    type Output = ChainSoFar;

    async fn run(ctx: Context, mut so_far: ChainSoFar) -> WorkflowResult<ChainSoFar> {
        let now = ctx.now().timestamp_micros();
        let ChainSoFar { length, done, second, last } = &mut so_far;
        match *done {
            1_000 => second.0 = now,
            2_000 => second.1 = now,
            _ => {}
        }
        if *done + 1_000 == *length {
            last.0 = now;
        }
        if *done == *length {
            last.1 = now;
            return Ok(so_far);
        }
        *done += 1;
        ctx.continue_as_new::<Self>(so_far).await
    }
}

/// An activity that takes so many milliseconds, and no CPU.
#[derive(Debug)]
pub struct Pause;

#[async_trait]
impl Activity for Pause {
    const NAME: &'static str = "pause";
    type Input = u64;
    type Output = ();

    async fn execute(&self, _ctx: ActivityContext, millis: u64) -> ActivityResult<()> {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(())
    }
}

/// The activity: as cheap as can be.
#[derive(Debug)]
pub struct Double;

#[async_trait]
impl Activity for Double {
    const NAME: &'static str = "double";
    type Input = u64;
    type Output = u64;

    async fn execute(&self, _ctx: ActivityContext, number: u64) -> ActivityResult<u64> {
        Ok(2 * number)
    }
}
