//! `crash_everywhere` at work: workflows that are right pass, and whatever a crash changes is named with the place
//! of the crash. It judges the tool; the main job is crashed in `examples/tests/`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{CrashMoment, Error, TestEnv, TestEnvBuilder, TestRun, crash_everywhere};

use crate::definitions::{Endless, HOUR, assert_says, starts};

/// Counts its executions, in the whole test.
struct Count(Arc<AtomicU64>);

#[async_trait]
impl Activity for Count {
    const NAME: &'static str = "count";
    type Input = u64;
    type Output = u64;

    async fn execute(&self, _: ActivityContext, _: u64) -> ActivityResult<u64> {
        Ok(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Fails, or not.
struct Try;

#[async_trait]
impl Activity for Try {
    const NAME: &'static str = "try";
    type Input = bool;
    type Output = ();

    async fn execute(&self, _: ActivityContext, succeeds: bool) -> ActivityResult<()> {
        if succeeds {
            Ok(())
        } else {
            Err(ActivityError::non_retryable(ActivityError::new("no", "it fails")))
        }
    }
}

fn definition<W: Workflow>() -> TestEnvBuilder {
    TestEnv::builder().workflow::<W>().activity(Try).activity(Count(Arc::default()))
}

const GO: Signal<u64> = Signal::new("go");

// A bit of everything: steps, concurrent activities, a timer, a signal, compensations.
workflow!(Everything, "everything", |ctx, succeeds: bool| -> u64 {
    let drawn = ctx.step("draw", || async { Ok(4) }).await?;
    let _ = ctx.on_failure::<Try>(true);
    ctx.when_all((ctx.activity::<Try>(true), ctx.activity::<Count>(drawn))).await?;
    ctx.sleep(HOUR).await?;
    let sent = ctx.wait_for(GO).timeout(HOUR).await?;
    ctx.activity::<Try>(succeeds).await?;
    Ok(drawn + sent)
});

async fn everything(env: TestEnv, succeeds: bool) -> Result<TestRun<Everything>, Error> {
    let run = env.start::<Everything>(succeeds).await?;
    env.advance(HOUR + HOUR / 2).await;
    run.signal(GO, 3).await?;
    Ok(run)
}

#[tokio::test]
async fn workflow_with_everything_in_it_is_crashed_everywhere_and_nobody_notices() {
    for succeeds in [true, false] {
        let script = async move |env| everything(env, succeeds).await;
        let crashed = crash_everywhere(&definition::<Everything>(), script).assert().await;
        assert!(crashed.crash_points >= 3 * 7, "{crashed}");
        assert_eq!(crashed.repeats.keys().collect::<Vec<_>>(), ["count", "draw", "try"]);
        assert!(crashed.repeats.values().all(|times| *times == 1), "{crashed}");
    }
}

// Records values that no other execution of its code would make, and holds them against what steps were given.
workflow!(Recorder, "recorder", |ctx, (): ()| -> bool {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let fresh = || MADE.fetch_add(1, Ordering::Relaxed);
    let mut same = true;
    for _ in 0..2 {
        let value = ctx.record("one after the other", fresh).await;
        same &= value == ctx.step("echo", move || async move { Ok(value) }).await?;
        ctx.sleep(HOUR).await?;
    }
    let branch = |hours: u32| {
        let ctx = ctx.clone();
        async move {
            ctx.sleep(hours * HOUR).await?;
            let value = ctx.record("at the same time", fresh).await;
            let echo = ctx.step("echo", move || async move { Ok(value) }).await?;
            ctx.activity::<Try>(true).await?;
            Ok(value == echo)
        }
    };
    let (one, other) = ctx.when_all((branch(1), branch(1))).await?;
    Ok(same && one && other)
});

#[tokio::test]
async fn recorded_values_are_the_same_after_a_crash_at_any_point() {
    let script = async |env: TestEnv| {
        let run = env.start::<Recorder>(()).await?;
        env.advance(4 * HOUR).await;
        // Without a crash it is true, and so it has to be with one.
        assert!(run.result().await?, "a value was made again after it was recorded");
        Ok::<_, Error>(run)
    };
    let crashed = crash_everywhere(&definition::<Recorder>(), script).assert().await;
    assert!(crashed.crash_points >= 3 * 7, "{crashed}");
}

// Sleeps, and works.
workflow!(Short, "short", |ctx, (): ()| -> () {
    ctx.sleep(HOUR).await?;
    ctx.activity::<Try>(true).await
});

async fn short(env: TestEnv) -> Result<TestRun<Short>, Error> {
    env.start::<Short>(()).await
}

#[tokio::test]
async fn worker_that_takes_over_crashes_as_well() {
    let once = crash_everywhere(&definition::<Short>(), short).assert().await;
    let twice = crash_everywhere(&definition::<Short>(), short).crashes(2).assert().await;
    assert!(twice.crash_points > 3 * once.crash_points, "{once}; {twice}");
    assert_eq!((once.repeats["try"], twice.repeats["try"]), (1, 2));
}

#[tokio::test]
async fn four_crashes_in_a_row_make_a_run_suspicious_and_change_nothing() {
    let crashed = crash_everywhere(&definition::<Short>(), short).crashes(4).assert().await;
    assert_eq!(crashed.repeats["try"], 4);
}

#[tokio::test]
async fn outage_only_makes_timers_late() {
    let crashed = crash_everywhere(&definition::<Short>(), short).outage(100 * HOUR).assert().await;
    assert!(crashed.crash_points > 0);
}

// Returns which execution it was.
workflow!(Telltale, "telltale", |ctx, (): ()| -> u64 { ctx.activity::<Count>(1).await });

#[tokio::test]
async fn result_that_tells_executions_apart_is_named_with_the_crash_and_the_history() {
    let script = starts::<Telltale>(());
    let failure = crash_everywhere(&definition::<Telltale>(), script).await.unwrap_err();
    let [crash] = failure.crashes() else { panic!("{failure}") };
    assert_eq!((crash.append, crash.moment), (1, CrashMoment::BeforeCommit));
    assert_eq!(crash.events, ["run.started", "activity.scheduled"]);
    assert_says(
        &failure,
        &[
            "and without a crash it ends with run.completed 0",
            "append 1 (run.started, activity.scheduled), never committed",
            "run.completed",
        ],
    );
}

#[tokio::test]
async fn repeats_that_are_not_allowed_are_named() {
    let failure = crash_everywhere(&definition::<Short>(), short).repeats(0).await.unwrap_err();
    let expected = "attempt 1 of `try` (call 2) was executed 2 times, and 1 are allowed";
    assert_says(&failure, &[expected]);
}

// Does its work at most once.
workflow!(Once, "once", |ctx, (): ()| -> () { ctx.activity::<Try>(true).at_most_once().await });

#[tokio::test]
async fn run_that_ends_otherwise_after_a_crash_is_named() {
    let script = starts::<Once>(());
    let failure = crash_everywhere(&definition::<Once>(), script).await.unwrap_err();
    assert_says(&failure, &["the run ends with run.failed", "the process died while it executed `try`"]);
}

#[tokio::test]
async fn what_cannot_crash_is_refused() {
    let failure = crash_everywhere(&definition::<Short>(), short).crashes(0).await.unwrap_err();
    assert!(failure.is_invalid());
    assert_eq!(failure.to_string(), "`crashes` is 0, and nothing would crash; give it 1 at least");

    let failure = crash_everywhere(&TestEnv::builder(), short).await.unwrap_err();
    assert!(failure.is_invalid());
    assert_says(&failure, &["workflow `short` is not registered"]);
}

#[tokio::test]
async fn script_whose_own_assertion_fails_after_a_crash_is_told_with_the_crash() {
    let count = Arc::<AtomicU64>::default();
    let definition = TestEnv::builder().workflow::<Telltale>().activity(Count(Arc::clone(&count)));
    let script = async |env: TestEnv| {
        let run = env.start::<Telltale>(()).await?;
        assert_eq!(run.result().await?, 0, "it was executed before");
        Ok(run)
    };
    let failure = crash_everywhere(&definition, script).await.unwrap_err();
    assert_says(
        &failure,
        &[
            "the script panicked: assertion `left == right` failed: it was executed before",
            "a worker died at append 1",
            "run.completed",
        ],
    );

    let failure = crash_everywhere(&definition, script).await.unwrap_err();
    assert!(failure.is_invalid(), "without a crash it fails as well, by now");
    assert!(failure.to_string().starts_with("without a crash, the script panicked"), "{failure}");
}

#[tokio::test]
async fn message_that_comes_too_late_is_no_failure_of_the_script() {
    let script = async |env: TestEnv| {
        let run = env.start::<Telltale>(()).await?;
        run.cancel().await?;
        Ok(run)
    };
    let definition = TestEnv::builder().workflow::<Telltale>().mock::<Count>(Ok);
    let crashed = crash_everywhere(&definition, script).assert().await;
    assert!(crashed.crash_points > 0);
}

#[tokio::test]
async fn run_that_goes_on_and_on_is_refused() {
    let definition = definition::<Endless>().worker(|worker| worker.history_events(8_000, 8_000));
    let script = starts::<Endless>(());
    let failure = crash_everywhere(&definition, script).await.unwrap_err();
    assert!(failure.is_invalid());
    assert_says(&failure, &["crash points, and more than 10000 take too long"]);
}
