//! Steps: executed by the worker, recorded once, and not before what led to them is safe.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use pgworkflows::prelude::*;
use pgworkflows_tests::{Bed, Gate, Journal, activity, count, eventually, promises, story, workflow};

promises![
    outcome_of_a_step_is_recorded_once_and_not_executed_again,
    failing_step_is_retried_by_its_policy_and_fails_with_its_last_error,
    step_that_was_under_way_in_a_crash_is_executed_again,
    step_does_not_begin_before_what_led_to_it_is_committed,
    step_that_loses_a_race_leaves_no_event,
    panic_in_a_step_is_a_failed_attempt,
];

activity!(Hold, "hold", () => ());

const GO: Signal<()> = Signal::new("go");

/// What the steps here do: the world outside of their workers. Each test has a line of its own in it.
fn world() -> &'static Journal {
    static WORLD: OnceLock<Journal> = OnceLock::new();
    WORLD.get_or_init(Journal::default)
}

workflow!(Charge, "charge", |ctx: Context, name: String| -> WorkflowResult<u32> {
    let noted = name.clone();
    let amount = ctx
        .step("charge", move || {
            world().note(noted.clone());
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

async fn outcome_of_a_step_is_recorded_once_and_not_executed_again(bed: Bed) {
    let name = unique("recorded");
    let worker = bed.work_until_killed(|worker| worker.workflow::<Charge>()).await;
    let run = bed.client.start::<Charge>(name.clone()).await.unwrap();
    eventually("the step is recorded", async || (count(&run, "step.completed").await == 1).then_some(()))
        .await;
    worker.kill().await;

    bed.work(bed.worker().workflow::<Charge>());
    run.signal(GO, ()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 42);
    assert_eq!(world().count(&name), 1);
    assert_eq!(
        story(&run).await,
        ["run.started", "step.completed charge", "run.adopted", "signal.received go", "run.completed"]
    );
}

async fn failing_step_is_retried_by_its_policy_and_fails_with_its_last_error(bed: Bed) {
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

    bed.work(bed.worker().workflow::<Stubborn>());
    let succeeds = bed.client.start::<Stubborn>(3).await.unwrap();
    assert_eq!(succeeds.result().await.unwrap(), 3);
    assert_eq!(story(&succeeds).await, ["run.started", "step.completed stubborn", "run.completed"]);
    let fails = bed.client.start::<Stubborn>(4).await.unwrap();
    let error = fails.result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().to_string(), "step `stubborn` failed (call-failed): 3 (busy)");
    assert!(error.failure().unwrap().is("busy"));
    assert_eq!(story(&fails).await, ["run.started", "step.failed stubborn", "run.failed"]);
}

async fn step_that_was_under_way_in_a_crash_is_executed_again(bed: Bed) {
    workflow!(Slow, "slow", |ctx: Context, name: String| -> WorkflowResult<()> {
        ctx.step("slow", move || {
            world().note(name.clone());
            let again = world().count(&name) > 1;
            async move {
                if !again {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        })
        .await
    });

    let name = unique("under way");
    let worker = bed.work_until_killed(|worker| worker.workflow::<Slow>()).await;
    let run = bed.client.start::<Slow>(name.clone()).await.unwrap();
    world().shows(&name, 1).await;
    worker.kill().await;
    bed.work(bed.worker().workflow::<Slow>());
    run.result().await.unwrap();
    assert_eq!(world().count(&name), 2);
    assert_eq!(count(&run, "step.completed").await, 1);
}

async fn step_does_not_begin_before_what_led_to_it_is_committed(bed: Bed) {
    workflow!(Follow, "follow", |ctx: Context, name: String| -> WorkflowResult<()> {
        ctx.activity::<Hold>(()).await?;
        ctx.step("follow", move || {
            world().note(name.clone());
            async { Ok(()) }
        })
        .await
    });

    // Given an activity that ends while the store is away
    let name = unique("follow");
    let (journal, gate) = (Journal::default(), Gate::shut());
    let (noted, held) = (journal.clone(), gate.clone());
    let hold = Hold::that(move |_, ()| {
        let (noted, held) = (noted.clone(), held.clone());
        async move {
            noted.note("begun");
            held.pass().await;
            Ok(())
        }
    });
    let (worker, outage) = bed.fragile_worker();
    bed.work(worker.workflow::<Follow>().activity(hold));
    let run = bed.client.start::<Follow>(name.clone()).await.unwrap();
    journal.shows("begun", 1).await;
    outage.begin();
    gate.open();

    // When its outcome cannot be recorded, the step that follows it does not begin
    eventually("the worker tries in vain", async || (outage.lost() > 8).then_some(())).await;
    assert_eq!(world().count(&name), 0);

    // Then it does, as soon as it can
    outage.end();
    run.result().await.unwrap();
    assert_eq!(world().count(&name), 1);
}

async fn step_that_loses_a_race_leaves_no_event(bed: Bed) {
    workflow!(Race, "race-of-steps", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let endless = ctx.step("endless", || async {
            std::future::pending::<()>().await;
            Ok(())
        });
        let error = endless.timeout(Duration::from_millis(30)).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        ctx.wait_for(GO).await
    });

    let worker = bed.work(bed.worker().workflow::<Race>());
    let run = bed.client.start::<Race>(()).await.unwrap();
    eventually("it timed out", async || (count(&run, "timer.fired").await == 1).then_some(())).await;
    worker.stop().await;
    // Another worker replays the race.
    bed.work(bed.worker().workflow::<Race>());
    run.signal(GO, ()).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(
        story(&run).await,
        ["run.started", "timer.started", "timer.fired", "run.adopted", "signal.received go", "run.completed"]
    );
}

async fn panic_in_a_step_is_a_failed_attempt(bed: Bed) {
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

    bed.work(bed.worker().workflow::<Clumsy>());
    let run = bed.client.start::<Clumsy>(()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 2);
}
