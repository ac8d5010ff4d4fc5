//! Runs that a client pauses, and runs with deadlines.

use pgworkflows::RunHandle;
use pgworkflows::client::{RunStatus, Wait};
use pgworkflows::error::ErrorKind;
use pgworkflows::prelude::*;
use pgworkflows_tests::{
    ActivityFn, Env, Gate, Journal, activity, assert_contains, count, logged, promises, reached, workflow,
};

promises![
    paused_run_takes_no_step_and_goes_on_in_order_when_it_is_resumed,
    attempt_that_is_under_way_is_recorded_and_no_other_begins_during_a_pause,
    pause_outlives_its_worker,
    pause_is_seen_in_lists_and_waits,
    pause_of_a_run_that_is_paused_or_over_changes_nothing,
    resume_of_a_run_that_is_not_paused_changes_nothing,
    termination_ends_a_paused_run_and_a_cancellation_waits,
    run_that_was_not_begun_can_be_paused,
    run_is_cancelled_at_its_deadline_and_has_timed_out,
    deadline_passes_while_there_is_no_worker,
    grace_ends_a_run_that_does_not_heed_its_deadline,
    run_with_a_key_keeps_the_deadline_of_its_first_start,
    limits_of_a_start_are_checked,
];

const GO: Signal<u32> = Signal::new("go");

activity!(Charge, "charge", String => ());

workflow!(TwoSignals, "two-signals", |ctx: Context, _input: ()| -> WorkflowResult<(u32, u32)> {
    Ok((ctx.wait_for(GO).await?, ctx.wait_for(GO).await?))
});

workflow!(Pay, "pay", |ctx: Context, _input: ()| -> WorkflowResult<()> {
    ctx.activity::<Charge>("one".to_owned()).await?;
    let soon = RetryPolicy::exponential().initial(Duration::from_millis(1));
    ctx.activity::<Charge>("two".to_owned()).retry(soon).await
});

workflow!(Stubborn, "stubborn", |ctx: Context, _input: ()| -> WorkflowResult<()> {
    ctx.wait_for(GO).await.ok();
    ctx.wait_for(GO).await.map(|_| ())
});

async fn paused<W: Workflow>(run: &RunHandle<W>) {
    run.pause().reason("maintenance").await.unwrap();
    reached(run, RunStatus::Paused).await;
}

async fn paused_run_takes_no_step_and_goes_on_in_order_when_it_is_resumed(env: Env) {
    env.run(env.worker().workflow::<TwoSignals>());
    let run = env.client.start::<TwoSignals>(()).await.unwrap();
    reached(&run, RunStatus::Waiting).await;
    paused(&run).await;
    run.signal(GO, 1).await.unwrap();
    run.signal(GO, 2).await.unwrap();
    logged(&run, "signal.received", 2).await;
    assert_eq!(run.status().await.unwrap(), RunStatus::Paused);
    run.resume().await.unwrap();
    assert_eq!(run.result().await.unwrap(), (1, 2));
}

async fn attempt_that_is_under_way_is_recorded_and_no_other_begins_during_a_pause(env: Env) {
    // Given an attempt that is under way
    let (journal, gate) = (Journal::default(), Gate::closed());
    let state = (journal.clone(), gate.clone());
    let charge = Charge(ActivityFn::with(state, |(journal, gate), _, what| async move {
        journal.note(what);
        gate.pass().await;
        Ok(())
    }));
    env.run(env.worker().workflow::<Pay>().activity(charge));
    let run = env.client.start::<Pay>(()).await.unwrap();
    journal.has("one", 1).await;
    // When it ends during a pause
    paused(&run).await;
    gate.open();
    logged(&run, "activity.completed", 1).await;
    // Then the next one begins after the pause
    assert_eq!(count(&run, "activity.scheduled").await, 1);
    run.resume().await.unwrap();
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["one", "two"]);
}

async fn pause_outlives_its_worker(env: Env) {
    let journal = Journal::default();
    let gate = Gate::closed();
    let equip = || {
        let state = (journal.clone(), gate.clone());
        let charge = Charge(ActivityFn::with(state, |(journal, gate), _, what| async move {
            journal.note(what);
            gate.pass().await;
            Ok(())
        }));
        |worker: pgworkflows::worker::WorkerBuilder| worker.workflow::<Pay>().activity(charge)
    };
    // Given a paused run whose worker dies during its attempt
    let worker = env.run_killable(equip()).await;
    let run = env.client.start::<Pay>(()).await.unwrap();
    journal.has("one", 1).await;
    paused(&run).await;
    worker.kill().await;
    gate.open();
    // Then the next worker neither continues it nor begins the attempt again, until it is resumed
    env.run(equip()(env.worker().workflow::<TwoSignals>()));
    let other = env.client.start::<TwoSignals>(()).await.unwrap();
    other.signal(GO, 1).await.unwrap();
    other.signal(GO, 2).await.unwrap();
    other.result().await.unwrap();
    run.signal(GO, 7).await.unwrap();
    logged(&run, "signal.received", 1).await;
    assert_eq!((journal.lines(), run.status().await.unwrap()), (vec!["one".to_owned()], RunStatus::Paused));
    run.resume().await.unwrap();
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["one", "one", "two"]);
}

async fn pause_is_seen_in_lists_and_waits(env: Env) {
    env.run(env.worker().workflow::<TwoSignals>());
    let run = env.client.start::<TwoSignals>(()).await.unwrap();
    reached(&run, RunStatus::Waiting).await;
    paused(&run).await;
    let listed = env.client.list().status(RunStatus::Paused).await.unwrap();
    let [info] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!(info.run_id, run.run_id());
    let [Wait::Resume { reason: Some(reason), .. }, Wait::Signal { name, .. }] = &info.waits[..] else {
        panic!("{:?}", info.waits)
    };
    assert_eq!((reason.as_str(), name.as_str()), ("maintenance", "go"));
    assert_contains(info.waiting_on.as_deref().unwrap(), &["a resume (paused: maintenance), signal `go`"]);
    let json = serde_json::to_value(info).unwrap();
    assert_eq!((&json["status"], &json["waits"][0]["kind"]), (&"paused".into(), &"resume".into()));
}

async fn pause_of_a_run_that_is_paused_or_over_changes_nothing(env: Env) {
    env.run(env.worker().workflow::<TwoSignals>());
    let run = env.client.start::<TwoSignals>(()).await.unwrap();
    reached(&run, RunStatus::Waiting).await;
    paused(&run).await;
    run.pause().reason("again").await.unwrap();
    run.signal(GO, 1).await.unwrap();
    logged(&run, "signal.received", 1).await;
    assert_eq!(count(&run, "run.paused").await, 1);
    assert_contains(run.describe().await.unwrap().waiting_on.unwrap(), &["paused: maintenance"]);
    // One request to resume is enough
    env.client.resume(run.run_id()).await.unwrap();
    run.signal(GO, 2).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(run.pause().await.unwrap_err().kind(), ErrorKind::RunOver);
    assert_eq!(run.describe().await.unwrap().undelivered, []);
    let unknown = "0190b2c8-0000-7000-8000-000000000000".parse().unwrap();
    assert_eq!(env.client.pause(unknown).await.unwrap_err().kind(), ErrorKind::UnknownRun);
    let long = env.client.pause(unknown).reason("x".repeat(5_000)).await.unwrap_err();
    assert_eq!(long.kind(), ErrorKind::Invalid);
}

async fn resume_of_a_run_that_is_not_paused_changes_nothing(env: Env) {
    env.run(env.worker().workflow::<TwoSignals>());
    let run = env.client.start::<TwoSignals>(()).await.unwrap();
    reached(&run, RunStatus::Waiting).await;
    run.resume().await.unwrap();
    run.signal(GO, 1).await.unwrap();
    run.signal(GO, 2).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(count(&run, "run.unpaused").await + count(&run, "run.resumed").await, 0);
}

async fn termination_ends_a_paused_run_and_a_cancellation_waits(env: Env) {
    env.run(env.worker().workflow::<TwoSignals>());
    let [cancelled, terminated] = [(); 2].map(|()| env.client.start::<TwoSignals>(()));
    let (cancelled, terminated) = (cancelled.await.unwrap(), terminated.await.unwrap());
    for run in [&cancelled, &terminated] {
        reached(run, RunStatus::Waiting).await;
        paused(run).await;
        run.cancel().await.unwrap();
        logged(run, "cancel.requested", 1).await;
        assert_eq!(run.status().await.unwrap(), RunStatus::Paused);
    }
    terminated.terminate("enough").await.unwrap();
    assert!(terminated.result().await.unwrap_err().is_run_terminated());
    cancelled.resume().await.unwrap();
    assert!(cancelled.result().await.unwrap_err().is_run_cancelled());
}

async fn run_that_was_not_begun_can_be_paused(env: Env) {
    let run = env.client.start::<TwoSignals>(()).await.unwrap();
    run.pause().await.unwrap();
    run.signal(GO, 1).await.unwrap();
    run.signal(GO, 2).await.unwrap();
    env.run(env.worker().workflow::<TwoSignals>());
    logged(&run, "signal.received", 2).await;
    reached(&run, RunStatus::Paused).await;
    run.resume().await.unwrap();
    assert_eq!(run.result().await.unwrap(), (1, 2));
}

async fn run_is_cancelled_at_its_deadline_and_has_timed_out(env: Env) {
    env.run(env.worker().workflow::<TwoSignals>());
    let run = env.client.start::<TwoSignals>(()).deadline(Duration::from_millis(20)).await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_timed_out() && !error.is_run_cancelled() && !error.is_timeout(), "{error}");
    assert_eq!(error.run(), Some(run.run_id()));
    let listed = env.client.list().status(RunStatus::TimedOut).await.unwrap();
    assert_eq!(listed.iter().map(|info| info.run_id).collect::<Vec<_>>(), [run.run_id()]);
}

async fn deadline_passes_while_there_is_no_worker(env: Env) {
    let run = env.client.start::<TwoSignals>(()).deadline(Duration::from_micros(1)).await.unwrap();
    run.signal(GO, 1).await.unwrap();
    env.run(env.worker().workflow::<TwoSignals>());
    assert!(run.result().await.unwrap_err().is_run_timed_out());
}

async fn grace_ends_a_run_that_does_not_heed_its_deadline(env: Env) {
    env.run(env.worker().workflow::<Stubborn>());
    let limit = Duration::from_millis(20);
    let start = || env.client.start::<Stubborn>(()).deadline(limit).grace(limit);
    let (running, held) = (start().await.unwrap(), start().delay(limit).await.unwrap());
    held.pause().await.unwrap();
    for run in [&running, &held] {
        let error = run.result().await.unwrap_err();
        assert_contains(&error, &["was not over at its deadline", "nor when its grace ended"]);
    }
}

async fn run_with_a_key_keeps_the_deadline_of_its_first_start(env: Env) {
    env.run(env.worker().workflow::<TwoSignals>());
    let run = env.client.start::<TwoSignals>(()).key("one").await.unwrap();
    let again = env.client.start::<TwoSignals>(()).key("one").deadline(Duration::from_millis(1));
    assert!(again.await.unwrap().is_existing());
    run.signal(GO, 1).await.unwrap();
    run.signal(GO, 2).await.unwrap();
    assert_eq!(run.result().await.unwrap(), (1, 2));
}

async fn limits_of_a_start_are_checked(env: Env) {
    let (start, second) = (|| env.client.start::<TwoSignals>(()), Duration::from_secs(1));
    for refused in [
        start().grace(second),
        start().deadline(Duration::ZERO),
        start().deadline(second).grace(Duration::ZERO),
        start().deadline(Duration::MAX),
    ] {
        let error = refused.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_contains(&error, &["workflow `two-signals`"]);
    }
    assert!(env.client.list().await.unwrap().is_empty(), "nothing was started");
}
