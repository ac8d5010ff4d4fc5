//! Steps: the worker executes them after the events that led to them are committed, and records their outcome once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use pgworkflows::prelude::*;
use pgworkflows_tests::{
    ActivityFn, Env, Gate, Journal, activity, count, eventually, history_text, logged, promises, workflow,
};

promises![
    recorded_step_is_not_executed_again,
    failing_step_is_retried_by_its_policy_and_fails_with_its_last_error,
    step_that_was_in_flight_in_a_crash_is_executed_again,
    step_does_not_begin_before_what_led_to_it_is_committed,
    step_that_loses_a_race_leaves_no_event,
    panic_in_a_step_is_a_failed_attempt,
];

activity!(Hold, "hold", () => ());

const GO: Signal<()> = Signal::new("go");

/// The effects of all steps here, which get no state. Each test notes a name of its own.
fn journal() -> &'static Journal {
    static JOURNAL: OnceLock<Journal> = OnceLock::new();
    JOURNAL.get_or_init(Journal::default)
}

workflow!(Charge, "charge", |ctx: Context, name: String| -> WorkflowResult<u32> {
    let noted = name.clone();
    let amount = ctx
        .step("charge", move || {
            journal().note(noted.clone());
            async { Ok(42_u32) }
        })
        .await?;
    ctx.wait_for(GO).await?;
    Ok(amount)
});

/// A name that no other test uses, on any store.
fn unique(name: &str) -> String {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    format!("{name} {}", NAMES.fetch_add(1, Ordering::Relaxed))
}

async fn recorded_step_is_not_executed_again(env: Env) {
    let name = unique("recorded");
    let worker = env.run_killable(|worker| worker.workflow::<Charge>()).await;
    let run = env.client.start::<Charge>(name.clone()).await.unwrap();
    logged(&run, "step.completed", 1).await;
    worker.kill().await;

    env.run(env.worker().workflow::<Charge>());
    run.signal(GO, ()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 42);
    assert_eq!(journal().count(&name), 1);
    assert_eq!(
        history_text(&run).await,
        ["run.started", "step.completed charge", "run.adopted", "signal.received go", "run.completed"]
    );
}

async fn failing_step_is_retried_by_its_policy_and_fails_with_its_last_error(env: Env) {
    workflow!(Stubborn, "stubborn", |ctx: Context, succeed_at: u32| -> WorkflowResult<u32> {
        let mut attempt = 0;
        let policy = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(3);
        ctx.step("stubborn", move || {
            attempt += 1;
            let result = if attempt < succeed_at {
                Err(ActivityError::new("busy", attempt.to_string()))
            } else {
                Ok(attempt)
            };
            async { result }
        })
        .retry(policy)
        .await
    });

    env.run(env.worker().workflow::<Stubborn>());
    let succeeds = env.client.start::<Stubborn>(3).await.unwrap();
    assert_eq!(succeeds.result().await.unwrap(), 3);
    assert_eq!(history_text(&succeeds).await, ["run.started", "step.completed stubborn", "run.completed"]);
    let fails = env.client.start::<Stubborn>(4).await.unwrap();
    let error = fails.result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().to_string(), "step `stubborn` failed: 3 (busy)");
    assert!(error.failure().unwrap().is("busy"));
    assert_eq!(history_text(&fails).await, ["run.started", "step.failed stubborn", "run.failed"]);
}

async fn step_that_was_in_flight_in_a_crash_is_executed_again(env: Env) {
    workflow!(Slow, "slow", |ctx: Context, name: String| -> WorkflowResult<()> {
        ctx.step("slow", move || {
            journal().note(name.clone());
            let again = journal().count(&name) > 1;
            async move {
                if !again {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        })
        .await
    });

    let name = unique("in flight");
    let worker = env.run_killable(|worker| worker.workflow::<Slow>()).await;
    let run = env.client.start::<Slow>(name.clone()).await.unwrap();
    journal().has(&name, 1).await;
    worker.kill().await;
    env.run(env.worker().workflow::<Slow>());
    run.result().await.unwrap();
    assert_eq!(journal().count(&name), 2);
    assert_eq!(count(&run, "step.completed").await, 1);
}

async fn step_does_not_begin_before_what_led_to_it_is_committed(env: Env) {
    workflow!(Follow, "follow", |ctx: Context, name: String| -> WorkflowResult<()> {
        ctx.activity::<Hold>(()).await?;
        ctx.step("follow", move || {
            journal().note(name.clone());
            async { Ok(()) }
        })
        .await
    });

    // Given an activity that ends while the store is unavailable
    let name = unique("follow");
    let gate = Gate::closed();
    let state = (name.clone(), gate.clone());
    let hold = Hold(ActivityFn::with(state, |(name, gate), _, ()| async move {
        journal().note(format!("{name} begun"));
        gate.pass().await;
        Ok(())
    }));
    let (worker, outage) = env.worker_with_outage();
    env.run(worker.workflow::<Follow>().activity(hold));
    let run = env.client.start::<Follow>(name.clone()).await.unwrap();
    journal().has(&format!("{name} begun"), 1).await;
    outage.begin();
    gate.open();

    // Then the step that follows it does not begin
    eventually("the worker tries to reach the store", async || (outage.lost() > 8).then_some(())).await;
    assert_eq!(journal().count(&name), 0);

    // When the store is back, then it does
    outage.end();
    run.result().await.unwrap();
    assert_eq!(journal().count(&name), 1);
}

async fn step_that_loses_a_race_leaves_no_event(env: Env) {
    workflow!(Race, "race-of-steps", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let endless = ctx.step("endless", || async {
            std::future::pending::<()>().await;
            Ok(())
        });
        let error = endless.timeout(Duration::from_millis(30)).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        ctx.wait_for(GO).await
    });

    let worker = env.run(env.worker().workflow::<Race>());
    let run = env.client.start::<Race>(()).await.unwrap();
    logged(&run, "timer.fired", 1).await;
    worker.stop().await;
    // Another worker replays the race.
    env.run(env.worker().workflow::<Race>());
    run.signal(GO, ()).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(
        history_text(&run).await,
        ["run.started", "timer.started", "timer.fired", "run.adopted", "signal.received go", "run.completed"]
    );
}

async fn panic_in_a_step_is_a_failed_attempt(env: Env) {
    workflow!(Clumsy, "clumsy", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
        let mut attempt = 0;
        let policy = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(2);
        ctx.step("clumsy", move || {
            attempt += 1;
            assert!(attempt > 1, "the cup fell");
            async move { Ok(attempt) }
        })
        .retry(policy)
        .await
    });

    env.run(env.worker().workflow::<Clumsy>());
    let run = env.client.start::<Clumsy>(()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 2);
}
