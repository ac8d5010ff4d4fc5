//! Crashes and shutdowns: what is recorded stays, and what was in flight continues on another worker.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_tests::{
    ActivityFn, Env, Gate, Journal, KillableWorker, activity, count, history_text, logged, promises, workflow,
};

promises![
    finished_activity_never_runs_again_after_a_crash,
    every_crash_between_many_activities_repeats_none_that_is_recorded,
    runs_of_a_killed_worker_are_taken_over_after_its_lease,
    graceful_shutdown_hands_over_at_once,
    activity_that_ends_within_the_grace_is_recorded,
    activity_that_a_shutdown_interrupts_is_cancelled_and_uses_up_no_attempt,
    worker_that_lost_its_lease_writes_nothing,
    recorded_value_outlives_the_worker_that_made_it,
    time_and_random_values_are_the_same_in_every_replay,
    time_stands_still_between_awaits_and_never_goes_back,
    start_without_a_worker_waits_for_one,
];

activity!(Note, "note", String => ());
activity!(Hold, "hold", () => ());

const GO: Signal<()> = Signal::new("go");

workflow!(HoldInBetween, "hold-in-between", |ctx: Context, _input: ()| -> WorkflowResult<()> {
    ctx.activity::<Note>("before".to_owned()).await?;
    ctx.activity::<Hold>(()).await?;
    ctx.activity::<Note>("after".to_owned()).await
});

workflow!(WaitToGo, "wait-to-go", |ctx: Context, _input: ()| -> WorkflowResult<()> {
    ctx.wait_for(GO).await
});

/// A worker for all workflows here. Its `hold` notes that it begins, and waits at the gate.
fn equip(worker: WorkerBuilder, journal: &Journal, gate: &Gate) -> WorkerBuilder {
    let hold = ActivityFn::with((journal.clone(), gate.clone()), |(journal, gate), _, ()| async move {
        journal.note("hold");
        gate.pass().await;
        Ok(())
    });
    worker
        .workflow::<HoldInBetween>()
        .workflow::<WaitToGo>()
        .workflow::<Dice>()
        .workflow::<Steps>()
        .workflow::<Records>()
        .activity(Note(journal.noting()))
        .activity(Hold(hold))
}

async fn run_killable(env: &Env, journal: &Journal, gate: &Gate) -> KillableWorker {
    let (journal, gate) = (journal.clone(), gate.clone());
    env.run_killable(move |worker| equip(worker, &journal, &gate)).await
}

async fn finished_activity_never_runs_again_after_a_crash(env: Env) {
    // Given a worker that is killed after the first activity, during the second
    let (journal, gate) = (Journal::default(), Gate::closed());
    let worker = run_killable(&env, &journal, &gate).await;
    let run = env.client.start::<HoldInBetween>(()).await.unwrap();
    journal.has("hold", 1).await;
    worker.kill().await;

    // When another takes over
    gate.open();
    env.run(equip(env.worker(), &journal, &gate));
    run.result().await.unwrap();

    // Then only what was not recorded is repeated
    assert_eq!(journal.lines(), ["before", "hold", "hold", "after"]);
    assert_eq!(
        history_text(&run).await,
        [
            "run.started",
            "activity.scheduled note",
            "activity.completed",
            "activity.scheduled hold",
            "run.adopted",
            "activity.completed",
            "activity.scheduled note",
            "activity.completed",
            "run.completed",
        ]
    );
}

workflow!(Steps, "steps", |ctx: Context, count: u32| -> WorkflowResult<()> {
    for step in 0..count {
        ctx.activity::<Note>(step.to_string()).await?;
        ctx.wait_for(GO).await?;
    }
    Ok(())
});

async fn every_crash_between_many_activities_repeats_none_that_is_recorded(env: Env) {
    let (journal, gate) = (Journal::default(), Gate::closed());
    let run = env.client.start::<Steps>(4).await.unwrap();
    for step in 0..4 {
        // Each worker is killed as soon as one activity is recorded.
        let worker = run_killable(&env, &journal, &gate).await;
        logged(&run, "activity.completed", step + 1).await;
        worker.kill().await;
        run.signal(GO, ()).await.unwrap();
    }
    env.run(equip(env.worker(), &journal, &gate));
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["0", "1", "2", "3"]);
}

static MADE: AtomicU32 = AtomicU32::new(0);

workflow!(Records, "records", |ctx: Context, _input: ()| -> WorkflowResult<(u32, u32)> {
    let make = || MADE.fetch_add(1, Ordering::Relaxed);
    let first = ctx.record("number", make).await;
    ctx.activity::<Hold>(()).await?;
    Ok((first, ctx.record("number", make).await))
});

async fn recorded_value_outlives_the_worker_that_made_it(env: Env) {
    // Given a run that has recorded a value when its worker is killed
    let (journal, gate) = (Journal::default(), Gate::closed());
    let worker = run_killable(&env, &journal, &gate).await;
    let run = env.client.start::<Records>(()).await.unwrap();
    journal.has("hold", 1).await;
    let made = MADE.load(Ordering::Relaxed);
    worker.kill().await;
    // When another worker replays it
    gate.open();
    env.run(equip(env.worker(), &journal, &gate));
    let (first, second) = run.result().await.unwrap();
    // Then the code gets the recorded value, and makes only the next one
    assert!(first < made && second >= made, "{first} and {second}, and {made} were made before");
    logged(&run, "value.recorded", 2).await;
}

async fn runs_of_a_killed_worker_are_taken_over_after_its_lease(env: Env) {
    // Given two workers, the first of which owns all shards under a lease of one second
    let (journal, gate) = (Journal::default(), Gate::closed());
    let first = run_killable(&env, &journal, &gate).await;
    let busy = env.client.start::<HoldInBetween>(()).await.unwrap();
    let parked = env.client.start::<WaitToGo>(()).await.unwrap();
    journal.has("hold", 1).await;
    env.run(equip(env.worker(), &journal, &gate));

    // When the first is killed
    first.kill().await;
    let killed = Instant::now();
    gate.open();
    parked.signal(GO, ()).await.unwrap();

    // Then the second completes its runs after that lease
    parked.result().await.unwrap();
    busy.result().await.unwrap();
    assert!(killed.elapsed() < Duration::from_secs(10), "it took {:?}", killed.elapsed());
}

async fn graceful_shutdown_hands_over_at_once(env: Env) {
    // Given two workers, the first of which owns all shards under a lease of a minute
    let (journal, gate) = (Journal::default(), Gate::closed());
    gate.open();
    let first = env.run(equip(env.worker().lease_ttl(Duration::from_secs(60)), &journal, &gate));
    let run = env.client.start::<WaitToGo>(()).await.unwrap();
    logged(&run, "run.started", 1).await;
    env.run(equip(env.worker(), &journal, &gate));

    // When the first shuts down
    first.stop().await;
    let stopped = Instant::now();

    // Then the second continues long before that lease would expire
    run.signal(GO, ()).await.unwrap();
    run.result().await.unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(10), "it took {:?}", stopped.elapsed());
}

async fn activity_that_ends_within_the_grace_is_recorded(env: Env) {
    let (journal, gate) = (Journal::default(), Gate::closed());
    let worker = env.run(equip(env.worker(), &journal, &gate));
    let run = env.client.start::<HoldInBetween>(()).await.unwrap();
    journal.has("hold", 1).await;

    let opened = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.open();
    };
    futures::join!(worker.stop(), opened);

    // The next worker gets its outcome, and executes what follows.
    assert_eq!(journal.lines(), ["before", "hold"]);
    env.run(equip(env.worker(), &journal, &gate));
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["before", "hold", "after"]);
}

async fn activity_that_a_shutdown_interrupts_is_cancelled_and_uses_up_no_attempt(env: Env) {
    // Given an activity that runs until it is cancelled, and may be tried once
    let journal = Journal::default();
    let patient = || {
        Hold(ActivityFn::with(journal.clone(), |journal, ctx, ()| async move {
            journal.note(format!("attempt {}", ctx.attempt()));
            if journal.lines().len() == 1 {
                ctx.cancellation().cancelled().await;
                journal.note("cancelled");
            }
            Ok(())
        }))
    };
    let equip = |worker: WorkerBuilder| {
        worker
            .workflow::<HoldInBetween>()
            .activity(Note(ActivityFn::new(|_, _| async { Ok(()) })))
            .activity(patient())
    };
    let worker = env.run(equip(env.worker().shutdown_grace(Duration::from_millis(50))));
    let run = env.client.start::<HoldInBetween>(()).await.unwrap();
    journal.has("attempt 1", 1).await;

    // When its worker shuts down with a short grace
    worker.stop().await;
    journal.has("cancelled", 1).await;

    // Then its only attempt is made elsewhere
    env.run(equip(env.worker()));
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["attempt 1", "cancelled", "attempt 1"]);
    assert_eq!(count(&run, "activity.attempt-failed").await, 0);
    assert_eq!(count(&run, "activity.attempt-lost").await, 0);
}

async fn worker_that_lost_its_lease_writes_nothing(env: Env) {
    // Given a worker whose store is unavailable for longer than its lease, while an activity runs
    let (journal, gate) = (Journal::default(), Gate::closed());
    let (first, outage) = env.worker_with_outage();
    let first = first
        .lease_ttl(Duration::from_secs(1))
        .workflow::<HoldInBetween>()
        .activity(Note(journal.noting()))
        .activity(Hold(ActivityFn::with(journal.clone(), |journal, ctx, ()| async move {
            journal.note("first holds");
            ctx.cancellation().cancelled().await;
            journal.note("first is cancelled");
            Ok(())
        })));
    let first = env.run(first);
    let run = env.client.start::<HoldInBetween>(()).await.unwrap();
    journal.has("first holds", 1).await;
    outage.begin();

    // When another worker takes over, and the first can reach the store again
    gate.open();
    env.run(equip(env.worker(), &journal, &gate));
    run.result().await.unwrap();
    journal.has("first is cancelled", 1).await;
    outage.end();
    first.stop().await;

    // Then each activity has one outcome, and one lease adopted the run
    let history = history_text(&run).await;
    assert_eq!(count(&run, "activity.completed").await, 3, "{history:?}");
    assert_eq!(count(&run, "run.adopted").await, 1, "{history:?}");
    assert_eq!(journal.count("before"), 1);
    assert_eq!(journal.count("after"), 1);
}

/// A time in microseconds, a number and a UUID.
type Drawn = (i64, u64, String);

fn draw(ctx: &Context) -> Drawn {
    (ctx.now().timestamp_micros(), ctx.random(), ctx.uuid().to_string())
}

workflow!(Dice, "dice", |ctx: Context, _input: ()| -> WorkflowResult<(Drawn, Drawn)> {
    let first = draw(&ctx);
    ctx.activity::<Note>(format!("{first:?}")).await?;
    ctx.activity::<Hold>(()).await?;
    let second = draw(&ctx);
    ctx.activity::<Note>(format!("{second:?}")).await?;
    ctx.wait_for(GO).await?;
    Ok((first, second))
});

async fn time_and_random_values_are_the_same_in_every_replay(env: Env) {
    // Given a run that drew values under two workers, which were both killed
    let (journal, gate) = (Journal::default(), Gate::closed());
    let first = run_killable(&env, &journal, &gate).await;
    let run = env.client.start::<Dice>(()).await.unwrap();
    journal.has("hold", 1).await;
    first.kill().await;
    gate.open();
    let second = run_killable(&env, &journal, &gate).await;
    logged(&run, "activity.completed", 3).await;
    second.kill().await;

    // When a third worker replays it all
    env.run(equip(env.worker(), &journal, &gate));
    run.signal(GO, ()).await.unwrap();
    let (first, second) = run.result().await.unwrap();

    // Then it draws the same values
    assert_eq!(journal.lines(), [format!("{first:?}"), "hold".into(), "hold".into(), format!("{second:?}")]);
    assert_ne!(first.1, second.1);
    assert_ne!(first.2, second.2);
    assert!(first.0 < second.0);
}

async fn time_stands_still_between_awaits_and_never_goes_back(env: Env) {
    workflow!(Watch, "watch", |ctx: Context, _input: ()| -> WorkflowResult<Vec<i64>> {
        let mut times = vec![ctx.now().timestamp_micros()];
        assert_eq!(ctx.now().timestamp_micros(), times[0]);
        for _ in 0..3 {
            ctx.sleep(Duration::from_millis(20)).await?;
            times.push(ctx.now().timestamp_micros());
        }
        Ok(times)
    });

    env.run(env.worker().workflow::<Watch>());
    let run = env.client.start::<Watch>(()).await.unwrap();
    let times = run.result().await.unwrap();
    assert!(times.is_sorted(), "{times:?}");
    // Each time is that of the event to which the workflow reacted.
    let history = run.history().await.unwrap();
    let reacted_to = history
        .iter()
        .filter(|event| matches!(event.event, Event::RunStarted { .. } | Event::TimerFired { .. }));
    assert_eq!(times, reacted_to.map(|event| event.at.timestamp_micros()).collect::<Vec<_>>());
}

async fn start_without_a_worker_waits_for_one(env: Env) {
    let run = env.client.start::<WaitToGo>(()).await.unwrap();
    run.signal(GO, ()).await.unwrap();
    let early = run.result().timeout(Duration::from_millis(100)).await.unwrap_err();
    assert!(early.is_timeout(), "{early}");
    env.run(env.worker().workflow::<WaitToGo>());
    run.result().await.unwrap();
}
