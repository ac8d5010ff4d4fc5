//! Crashes and shutdowns: what is recorded stays, what was going on goes on elsewhere.

use std::time::Instant;

use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_tests::{Bed, Gate, Journal, activity, count, eventually, promises, story, workflow};

promises![
    finished_activity_never_runs_again_after_a_crash,
    every_crash_between_many_activities_repeats_none_that_is_recorded,
    runs_of_a_dead_worker_are_taken_over_after_its_lease,
    graceful_shutdown_hands_over_at_once,
    activity_that_ends_within_the_grace_is_recorded,
    activity_that_a_shutdown_interrupts_is_told_and_charged_nothing,
    worker_that_lost_its_lease_writes_nothing_more,
    time_and_chance_are_the_same_in_every_replay,
    time_stands_still_between_awaits_and_never_goes_back,
    start_without_any_worker_waits_for_one,
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

/// A worker for all workflows here, whose held activities note that they begin.
fn equip(worker: WorkerBuilder, journal: &Journal, gate: &Gate) -> WorkerBuilder {
    let (held, gate) = (journal.clone(), gate.clone());
    worker
        .workflow::<HoldInBetween>()
        .workflow::<WaitToGo>()
        .workflow::<Dice>()
        .workflow::<Steps>()
        .activity(Note::that(journal.noting()))
        .activity(Hold::that(move |ctx, ()| {
            held.note("hold");
            gate.holding()(ctx, ())
        }))
}

async fn finished_activity_never_runs_again_after_a_crash(bed: Bed) {
    // Given a worker that dies behind the first activity, in the middle of the second
    let (journal, gate) = (Journal::default(), Gate::shut());
    let worker = {
        let (journal, gate) = (journal.clone(), gate.clone());
        bed.work_until_killed(move |worker| equip(worker, &journal, &gate)).await
    };
    let run = bed.client.start::<HoldInBetween>(()).await.unwrap();
    journal.shows("hold", 1).await;
    worker.kill().await;

    // When another takes over
    gate.open();
    bed.work(equip(bed.worker(), &journal, &gate));
    run.result().await.unwrap();

    // Then only what was not recorded is repeated
    assert_eq!(journal.lines(), ["before", "hold", "hold", "after"]);
    assert_eq!(
        story(&run).await,
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

async fn every_crash_between_many_activities_repeats_none_that_is_recorded(bed: Bed) {
    let (journal, gate) = (Journal::default(), Gate::shut());
    let run = bed.client.start::<Steps>(4).await.unwrap();
    for step in 0..4 {
        // Each worker lives for one activity, until that is recorded
        let (equipped, gate) = (journal.clone(), gate.clone());
        let worker = bed.work_until_killed(move |worker| equip(worker, &equipped, &gate)).await;
        eventually("the activity is recorded", async || {
            (count(&run, "activity.completed").await == step + 1).then_some(())
        })
        .await;
        worker.kill().await;
        run.signal(GO, ()).await.unwrap();
    }
    bed.work(equip(bed.worker(), &journal, &gate));
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["0", "1", "2", "3"]);
}

async fn runs_of_a_dead_worker_are_taken_over_after_its_lease(bed: Bed) {
    // Given a second worker that finds everything taken, by a worker with a lease of one second
    let (journal, gate) = (Journal::default(), Gate::shut());
    let first = {
        let (journal, gate) = (journal.clone(), gate.clone());
        bed.work_until_killed(move |worker| equip(worker, &journal, &gate)).await
    };
    let busy = bed.client.start::<HoldInBetween>(()).await.unwrap();
    let parked = bed.client.start::<WaitToGo>(()).await.unwrap();
    journal.shows("hold", 1).await;
    bed.work(equip(bed.worker(), &journal, &gate));

    // When the first dies
    first.kill().await;
    let died = Instant::now();
    gate.open();
    parked.signal(GO, ()).await.unwrap();

    // Then the second does its work, some time after the lease
    parked.result().await.unwrap();
    busy.result().await.unwrap();
    assert!(died.elapsed() < Duration::from_secs(10), "it took {:?}", died.elapsed());
}

async fn graceful_shutdown_hands_over_at_once(bed: Bed) {
    // Given two workers, the first with everything, under a lease of a minute
    let (journal, gate) = (Journal::default(), Gate::shut());
    gate.open();
    let first = bed.work(equip(bed.worker().lease_ttl(Duration::from_secs(60)), &journal, &gate));
    let run = bed.client.start::<WaitToGo>(()).await.unwrap();
    eventually("the run is begun", async || (!story(&run).await.is_empty()).then_some(())).await;
    bed.work(equip(bed.worker(), &journal, &gate));

    // When the first shuts down
    first.stop().await;
    let stopped = Instant::now();

    // Then the second goes on long before that lease is over
    run.signal(GO, ()).await.unwrap();
    run.result().await.unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(10), "it took {:?}", stopped.elapsed());
}

async fn activity_that_ends_within_the_grace_is_recorded(bed: Bed) {
    let (journal, gate) = (Journal::default(), Gate::shut());
    let worker = bed.work(equip(bed.worker(), &journal, &gate));
    let run = bed.client.start::<HoldInBetween>(()).await.unwrap();
    journal.shows("hold", 1).await;

    let opened = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.open();
    };
    futures::join!(worker.stop(), opened);

    // What follows it is for the next worker.
    assert_eq!(count(&run, "activity.completed").await, 2);
    assert_eq!(journal.lines(), ["before", "hold"]);
    bed.work(equip(bed.worker(), &journal, &gate));
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["before", "hold", "after"]);
}

async fn activity_that_a_shutdown_interrupts_is_told_and_charged_nothing(bed: Bed) {
    // Given an activity that goes on until it is told to stop, and may be tried once
    let journal = Journal::default();
    let patient = || {
        let journal = journal.clone();
        Hold::that(move |ctx, ()| {
            let journal = journal.clone();
            async move {
                journal.note(format!("attempt {}", ctx.attempt()));
                if journal.lines().len() == 1 {
                    ctx.cancellation().cancelled().await;
                    journal.note("told to stop");
                }
                Ok(())
            }
        })
    };
    let equip = |worker: WorkerBuilder| {
        worker.workflow::<HoldInBetween>().activity(Note::that(|_, _| async { Ok(()) })).activity(patient())
    };
    let worker = bed.work(equip(bed.worker().shutdown_grace(Duration::from_millis(50))));
    let run = bed.client.start::<HoldInBetween>(()).await.unwrap();
    journal.shows("attempt 1", 1).await;

    // When its worker shuts down with a short grace
    worker.stop().await;
    journal.shows("told to stop", 1).await;

    // Then its only attempt is made elsewhere
    bed.work(equip(bed.worker()));
    run.result().await.unwrap();
    assert_eq!(journal.lines(), ["attempt 1", "told to stop", "attempt 1"]);
    assert_eq!(count(&run, "activity.attempt-failed").await, 0);
    assert_eq!(count(&run, "activity.attempt-lost").await, 0);
}

async fn worker_that_lost_its_lease_writes_nothing_more(bed: Bed) {
    // Given a worker whose store goes away for longer than its lease, while an activity runs
    let (journal, gate) = (Journal::default(), Gate::shut());
    let (first, outage) = bed.fragile_worker();
    let told = journal.clone();
    let first = first
        .lease_ttl(Duration::from_secs(1))
        .workflow::<HoldInBetween>()
        .activity(Note::that(journal.noting()))
        .activity(Hold::that(move |ctx, ()| {
            let told = told.clone();
            async move {
                told.note("first holds");
                ctx.cancellation().cancelled().await;
                told.note("first is told to stop");
                Ok(())
            }
        }));
    let first = bed.work(first);
    let run = bed.client.start::<HoldInBetween>(()).await.unwrap();
    journal.shows("first holds", 1).await;
    outage.begin();

    // When another takes over, and the store is back for the first
    gate.open();
    bed.work(equip(bed.worker(), &journal, &gate));
    run.result().await.unwrap();
    journal.shows("first is told to stop", 1).await;
    outage.end();
    first.stop().await;

    // Then the run has one outcome of each activity, all from the second on under its own lease
    let history = story(&run).await;
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

async fn time_and_chance_are_the_same_in_every_replay(bed: Bed) {
    // Given a run that drew before its first worker died, and again before its second died
    let (journal, gate) = (Journal::default(), Gate::shut());
    let mortal = async || {
        let (journal, gate) = (journal.clone(), gate.clone());
        bed.work_until_killed(move |worker| equip(worker, &journal, &gate)).await
    };
    let first = mortal().await;
    let run = bed.client.start::<Dice>(()).await.unwrap();
    journal.shows("hold", 1).await;
    first.kill().await;
    gate.open();
    let second = mortal().await;
    eventually("the second draw is recorded", async || {
        (count(&run, "activity.completed").await == 3).then_some(())
    })
    .await;
    second.kill().await;

    // When a third worker replays it all
    bed.work(equip(bed.worker(), &journal, &gate));
    run.signal(GO, ()).await.unwrap();
    let (first, second) = run.result().await.unwrap();

    // Then it draws what the others drew
    assert_eq!(journal.lines(), [format!("{first:?}"), "hold".into(), "hold".into(), format!("{second:?}")]);
    assert_ne!(first.1, second.1);
    assert_ne!(first.2, second.2);
    assert!(first.0 < second.0);
}

async fn time_stands_still_between_awaits_and_never_goes_back(bed: Bed) {
    workflow!(Watch, "watch", |ctx: Context, _input: ()| -> WorkflowResult<Vec<i64>> {
        let mut times = vec![ctx.now().timestamp_micros()];
        assert_eq!(ctx.now().timestamp_micros(), times[0]);
        for _ in 0..3 {
            ctx.sleep(Duration::from_millis(20)).await?;
            times.push(ctx.now().timestamp_micros());
        }
        Ok(times)
    });

    bed.work(bed.worker().workflow::<Watch>());
    let run = bed.client.start::<Watch>(()).await.unwrap();
    let times = run.result().await.unwrap();
    assert!(times.is_sorted(), "{times:?}");
    // It is the time of what the workflow reacted to.
    let history = run.history().await.unwrap();
    let reacted_to = history
        .iter()
        .filter(|event| matches!(event.event, Event::RunStarted { .. } | Event::TimerFired { .. }));
    assert_eq!(times, reacted_to.map(|event| event.at.timestamp_micros()).collect::<Vec<_>>());
}

async fn start_without_any_worker_waits_for_one(bed: Bed) {
    let run = bed.client.start::<WaitToGo>(()).await.unwrap();
    run.signal(GO, ()).await.unwrap();
    let early = run.result().timeout(Duration::from_millis(100)).await.unwrap_err();
    assert!(early.is_timeout(), "{early}");
    bed.work(bed.worker().workflow::<WaitToGo>());
    run.result().await.unwrap();
}
