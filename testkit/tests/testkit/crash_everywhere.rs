//! `crash_everywhere` at work: correct workflows pass, and a difference that a crash makes is reported with the crash.
//! This tests the tool; the example workflow is crashed in `examples/tests/`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pgworkflows_core::prelude::*;
use pgworkflows_core::{Recipient, select};
use pgworkflows_testkit::{CrashMoment, Error, TestEnv, TestEnvBuilder, TestRun, crash_everywhere};

use crate::definitions::{Endless, HOUR, assert_says, starts};

/// Counts its executions in the whole test.
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

/// Fails or succeeds, as its input says.
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

const ADD: Update<u64, u64> = Update::new("add");

// Updates that a handler answers, one that the main line takes, and one that is dropped.
workflow!(Serves, "serves", |ctx, _input: u64| -> u64 {
    let sum = Shared::new(0);
    let (inner, adding) = (ctx.clone(), sum.clone());
    let adds = ctx.serve(ADD, async move |number| {
        inner.activity::<Try>(true).await.ok();
        adding.with(|sum| {
            *sum += number;
            *sum
        })
    });
    ctx.until(|| sum.with(|sum| *sum >= 7)).await?;
    adds.drain().await?;
    drop(ctx.wait_for_update(ADD).await?);
    let (number, answer) = ctx.wait_for_update(ADD).await?;
    answer.send(number);
    Ok(sum.with(|sum| *sum))
});

#[tokio::test]
async fn crashes_make_no_difference_to_updates_and_their_handlers() {
    let script = async |env: TestEnv| {
        let run = env.start::<Serves>(0).await?;
        for (number, sum) in [(3, 3), (4, 7)] {
            assert_eq!(run.update(ADD, number).await?, sum);
        }
        assert!(run.update(ADD, 1).await.unwrap_err().to_string().contains("without an answer"));
        assert_eq!(run.update(ADD, 9).await?, 9);
        Ok(run)
    };
    let crashed = crash_everywhere(&definition::<Serves>(), script).assert().await;
    assert!(crashed.crash_points >= 3 * 6, "{crashed}");
}

async fn everything(env: TestEnv, succeeds: bool) -> Result<TestRun<Everything>, Error> {
    let run = env.start::<Everything>(succeeds).await?;
    env.advance(HOUR + HOUR / 2).await;
    run.signal(GO, 3).await?;
    Ok(run)
}

#[tokio::test]
async fn crashes_make_no_difference_to_a_workflow_with_everything() {
    for succeeds in [true, false] {
        let script = async move |env| everything(env, succeeds).await;
        let crashed = crash_everywhere(&definition::<Everything>(), script).assert().await;
        assert!(crashed.crash_points >= 3 * 7, "{crashed}");
        assert_eq!(crashed.repeats.keys().collect::<Vec<_>>(), ["count", "draw", "try"]);
        assert!(crashed.repeats.values().all(|times| *times == 1), "{crashed}");
    }
}

const STAGE: View<String> = View::new("stage");
const COUNT: View<u64> = View::new("count");

// Publishes in every poll: before and after steps, timers and signals, and before it returns.
workflow!(Publisher, "publisher", |ctx, succeeds: bool| -> u64 {
    ctx.publish(STAGE, &"begins".to_owned());
    let drawn = ctx.step("draw", || async { Ok(4) }).await?;
    ctx.publish(COUNT, &drawn);
    ctx.sleep(HOUR).await?;
    ctx.publish(STAGE, &"waits".to_owned());
    let sent = ctx.wait_for(GO).await?;
    ctx.publish(COUNT, &(drawn + sent));
    ctx.publish(STAGE, &"done".to_owned());
    if succeeds { Ok(sent) } else { Err(WorkflowError::new("planned", "as planned")) }
});

#[tokio::test]
async fn crashes_make_no_difference_to_what_a_workflow_publishes() {
    for succeeds in [true, false] {
        let script = async move |env: TestEnv| {
            let run = env.start::<Publisher>(succeeds).await?;
            env.advance(HOUR + HOUR / 2).await;
            assert_eq!(run.view(STAGE).await?.as_deref(), Some("waits"));
            run.signal(GO, 3).await?;
            let _ = run.result().await;
            // Each value was published once, wherever the worker died, and the last ones count.
            let events = run.events().await?;
            let published = events.iter().filter(|event| event.event.name() == "view.published").count();
            let views = (run.view(STAGE).await?, run.view(COUNT).await?);
            assert_eq!((published, views), (5, (Some("done".to_owned()), Some(7))));
            Ok(run)
        };
        let crashed = crash_everywhere(&definition::<Publisher>(), script).assert().await;
        assert!(crashed.crash_points >= 3 * 4, "{crashed}");
    }
}

// Records values that are different in each execution of the code, and compares them with the values that steps got.
workflow!(Recorder, "recorder", |ctx, (): ()| -> bool {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let fresh = || MADE.fetch_add(1, Ordering::Relaxed);
    let mut same = true;
    for _ in 0..2 {
        let value = ctx.record("one after another", fresh).await;
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

/// Fails at its first attempt.
struct Flaky;

#[async_trait]
impl Activity for Flaky {
    const NAME: &'static str = "flaky";
    type Input = ();
    type Output = u32;

    async fn execute(&self, ctx: ActivityContext, (): ()) -> ActivityResult<u32> {
        match ctx.attempt() {
            1 => Err(ActivityError::new("down", "come back tomorrow")),
            attempt => Ok(attempt),
        }
    }
}

workflow!(Patient, "patient", |ctx, (): ()| -> u32 {
    let patient = RetryPolicy::exponential().initial(24 * HOUR).delay_max(24 * HOUR);
    ctx.activity::<Flaky>(()).retry(patient).await
});

#[tokio::test]
async fn request_to_retry_is_in_force_after_a_crash_at_any_point() {
    let definition = TestEnv::builder().workflow::<Patient>().activity(Flaky);
    let script = async |env: TestEnv| {
        let run = env.start::<Patient>(()).await?;
        run.retry_now().await?;
        assert_eq!(run.result().await?, 2);
        Ok::<_, Error>(run)
    };
    crash_everywhere(&definition, script).assert().await;
}

#[tokio::test]
async fn recorded_values_are_the_same_after_a_crash_at_any_point() {
    let script = async |env: TestEnv| {
        let run = env.start::<Recorder>(()).await?;
        env.advance(4 * HOUR).await;
        // It is true without a crash, and has to be true with one.
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
async fn successor_crashes_as_well() {
    let once = crash_everywhere(&definition::<Short>(), short).assert().await;
    let twice = crash_everywhere(&definition::<Short>(), short).crashes(2).assert().await;
    assert!(twice.crash_points > 3 * once.crash_points, "{once}; {twice}");
    assert_eq!((once.repeats["try"], twice.repeats["try"]), (1, 2));
}

#[tokio::test]
async fn four_crashes_in_a_row_make_a_run_a_suspect_and_change_nothing() {
    let crashed = crash_everywhere(&definition::<Short>(), short).crashes(4).assert().await;
    assert_eq!(crashed.repeats["try"], 4);
}

#[tokio::test]
async fn outage_only_makes_timers_late() {
    let crashed = crash_everywhere(&definition::<Short>(), short).outage(100 * HOUR).assert().await;
    assert!(crashed.crash_points > 0);
}

// Returns the number of the execution.
workflow!(Numbered, "numbered", |ctx, (): ()| -> u64 { ctx.activity::<Count>(1).await });

#[tokio::test]
async fn result_that_depends_on_executions_is_reported_with_the_crash_and_the_history() {
    let script = starts::<Numbered>(());
    let failure = crash_everywhere(&definition::<Numbered>(), script).await.unwrap_err();
    let [crash] = failure.crashes() else { panic!("{failure}") };
    assert_eq!((crash.append, crash.moment), (1, CrashMoment::BeforeCommit));
    assert_eq!(crash.events, ["run.started", "activity.scheduled"]);
    assert_says(
        &failure,
        &[
            "without a crash, it ends with run.completed 0",
            "append 1 (run.started, activity.scheduled), never committed",
            "run.completed",
        ],
    );
}

#[tokio::test]
async fn repeats_beyond_the_limit_are_reported() {
    let failure = crash_everywhere(&definition::<Short>(), short).repeats(0).await.unwrap_err();
    let expected = "attempt 1 of `try` (call 2) was executed 2 times, and the limit is 1";
    assert_says(&failure, &[expected]);
}

// Does its work at most once.
workflow!(Once, "once", |ctx, (): ()| -> () { ctx.activity::<Try>(true).at_most_once().await });

#[tokio::test]
async fn run_that_ends_differently_after_a_crash_is_reported() {
    let script = starts::<Once>(());
    let failure = crash_everywhere(&definition::<Once>(), script).await.unwrap_err();
    assert_says(&failure, &["the run ends with run.failed", "the process died while it executed `try`"]);
}

#[tokio::test]
async fn script_that_cannot_crash_is_refused() {
    let failure = crash_everywhere(&definition::<Short>(), short).crashes(0).await.unwrap_err();
    assert!(failure.is_invalid());
    assert_eq!(failure.to_string(), "`crashes` is 0, so nothing would crash; set it to at least 1");

    let failure = crash_everywhere(&TestEnv::builder(), short).await.unwrap_err();
    assert!(failure.is_invalid());
    assert_says(&failure, &["workflow `short` is not registered"]);
}

#[tokio::test]
async fn assertion_of_a_script_that_fails_after_a_crash_is_reported_with_the_crash() {
    let count = Arc::<AtomicU64>::default();
    let definition = TestEnv::builder().workflow::<Numbered>().activity(Count(Arc::clone(&count)));
    let script = async |env: TestEnv| {
        let run = env.start::<Numbered>(()).await?;
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
    assert!(failure.is_invalid(), "by now, it fails without a crash as well");
    assert!(failure.to_string().starts_with("without a crash, the script panicked"), "{failure}");
}

#[tokio::test]
async fn message_that_arrives_too_late_is_no_failure_of_the_script() {
    let script = async |env: TestEnv| {
        let run = env.start::<Numbered>(()).await?;
        run.cancel().await?;
        Ok(run)
    };
    let definition = TestEnv::builder().workflow::<Numbered>().mock::<Count>(Ok);
    let crashed = crash_everywhere(&definition, script).assert().await;
    assert!(crashed.crash_points > 0);
}

#[tokio::test]
async fn endless_run_is_refused() {
    let definition = definition::<Endless>().worker(|worker| worker.history_events(8_000, 8_000));
    let script = starts::<Endless>(());
    let failure = crash_everywhere(&definition, script).await.unwrap_err();
    assert!(failure.is_invalid());
    assert_says(&failure, &["crash points, and the limit is 10000"]);
}

// Signals itself between two activities, and takes each signal.
workflow!(Echo, "echo", |ctx, number: u64| -> u64 {
    ctx.signal(ctx.run_id(), GO, number);
    ctx.activity::<Try>(true).await?;
    ctx.signal(ctx.run_id(), GO, number + 1);
    let first = ctx.wait_for(GO).await?;
    Ok(10 * first + ctx.wait_for(GO).await?)
});

#[tokio::test]
async fn crashes_neither_lose_nor_repeat_the_signals_of_a_run() {
    let crashed = crash_everywhere(&definition::<Echo>(), starts::<Echo>(1)).assert().await;
    assert!(crashed.crash_points >= 3 * 3, "{crashed}");
    let env = definition::<Echo>().build();
    let run = env.start::<Echo>(1).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 12);
}

// Signals in a branch that is cancelled, and in the poll that fails, before its compensations. Nobody has the key, so the run
// keeps what it sent as undelivered.
workflow!(Leaves, "leaves", |ctx, (): ()| -> u64 {
    let to = || Recipient::named("nobody", "nobody");
    let _ = ctx.on_failure::<Try>(true);
    let talk = async {
        ctx.signal(to(), GO, 1);
        ctx.sleep(2 * HOUR).await?;
        ctx.signal(to(), GO, 100);
        WorkflowResult::Ok(())
    };
    let talk = ctx.branch(talk);
    select! {
        talked = talk => talked?,
        slept = ctx.sleep(HOUR) => slept?,
    }
    ctx.signal(to(), GO, 2);
    ctx.signal(to(), GO, 3);
    Err(WorkflowError::new("planned", "as planned"))
});

#[tokio::test]
async fn crashes_make_no_difference_to_the_signals_of_a_cancelled_branch_and_of_the_last_poll() {
    let script = async |env: TestEnv| {
        let run = env.start::<Leaves>(()).await?;
        env.advance(3 * HOUR).await;
        assert!(run.result().await.is_err());
        env.advance(HOUR).await;
        let undelivered = run.describe().await?.undelivered.into_iter();
        let sent = undelivered.map(|message| message.payload.map(|content| content.decode::<u64>().unwrap()));
        assert_eq!(sent.collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
        Ok(run)
    };
    let crashed = crash_everywhere(&definition::<Leaves>(), script).assert().await;
    assert!(crashed.crash_points >= 3 * 3, "{crashed}");
}
