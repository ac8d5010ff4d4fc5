//! Sleeping: deadlines outlive workers, and none fires early.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use pgworkflows::RunHandle;
use pgworkflows::client::RunStatus;
use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows_tests::{Bed, count, eventually, promises, story, workflow};

promises![
    deadline_is_kept_over_a_change_of_workers,
    deadline_that_passed_while_nobody_worked_is_not_slept_again,
    timers_of_an_idle_worker_are_precise_and_never_early,
    sleeping_run_shows_when_it_wakes,
    sleep_until_a_time_that_has_passed_ends_at_once,
    timer_that_lost_a_race_is_cancelled_and_never_fires,
    many_timers_fire_in_the_order_of_their_deadlines,
];

workflow!(Sleep, "sleep", |ctx: Context, time: Duration| -> WorkflowResult<()> { ctx.sleep(time).await });

/// When the run's only timer was to fire, and when it did.
async fn timer(run: &RunHandle<Sleep>) -> (DateTime<Utc>, Option<DateTime<Utc>>) {
    let history = run.history().await.unwrap();
    let fire_at = history.iter().find_map(|event| match event.event {
        Event::TimerStarted { fire_at, .. } => Some(fire_at.into()),
        _ => None,
    });
    let fired = history.iter().find(|event| matches!(event.event, Event::TimerFired { .. }));
    (fire_at.unwrap(), fired.map(|event| event.at))
}

async fn begins_to_sleep(run: &RunHandle<Sleep>) {
    eventually("it sleeps", async || (count(run, "timer.started").await == 1).then_some(())).await;
}

async fn deadline_is_kept_over_a_change_of_workers(bed: Bed) {
    // Given a run whose worker dies while it sleeps
    let worker = bed.work_until_killed(|worker| worker.workflow::<Sleep>()).await;
    let run = bed.client.start::<Sleep>(Duration::from_millis(2500)).await.unwrap();
    begins_to_sleep(&run).await;
    worker.kill().await;

    // When another takes over before the deadline
    bed.work(bed.worker().workflow::<Sleep>());
    run.result().await.unwrap();

    // Then it wakes at that deadline: not before, and not a whole sleep after the takeover
    let (fire_at, fired) = timer(&run).await;
    let late = fired.unwrap() - fire_at;
    assert!(late >= TimeDelta::zero() && late < TimeDelta::milliseconds(2000), "{late}");
    assert_eq!(count(&run, "timer.started").await, 1);
}

async fn deadline_that_passed_while_nobody_worked_is_not_slept_again(bed: Bed) {
    // Given a run whose deadline passes while there is no worker
    let sleep = Duration::from_secs(3);
    let worker = bed.work(bed.worker().workflow::<Sleep>());
    let run = bed.client.start::<Sleep>(sleep).await.unwrap();
    begins_to_sleep(&run).await;
    worker.stop().await;
    let (fire_at, _) = timer(&run).await;
    eventually("the deadline is over", async || (Utc::now() > fire_at).then_some(())).await;

    // When a worker comes
    let came = Instant::now();
    bed.work(bed.worker().workflow::<Sleep>());
    run.result().await.unwrap();

    // Then the run wakes without sleeping again
    assert!(came.elapsed() < sleep, "it took {:?}", came.elapsed());
    assert_eq!(
        story(&run).await,
        ["run.started", "timer.started", "run.adopted", "timer.fired", "run.completed"]
    );
}

async fn timers_of_an_idle_worker_are_precise_and_never_early(bed: Bed) {
    bed.work(bed.worker().workflow::<Sleep>());
    let mut late = Vec::new();
    for _ in 0..10 {
        let run = bed.client.start::<Sleep>(Duration::from_millis(40)).await.unwrap();
        run.result().await.unwrap();
        let (fire_at, fired) = timer(&run).await;
        late.push(fired.unwrap() - fire_at);
    }
    late.sort();
    assert!(late[0] >= TimeDelta::zero(), "{late:?}");
    // Other tests share the machine: a quarter of the timers had it for themselves.
    assert!(late[2] < TimeDelta::milliseconds(50), "{late:?}");
}

async fn sleeping_run_shows_when_it_wakes(bed: Bed) {
    bed.work(bed.worker().workflow::<Sleep>());
    let run = bed.client.start::<Sleep>(Duration::from_secs(11 * 24 * 3600)).await.unwrap();
    begins_to_sleep(&run).await;

    let info = run.describe().await.unwrap();
    assert_eq!(info.status, RunStatus::Waiting);
    assert_eq!(info.wake_at, Some(timer(&run).await.0));
    let waiting_on = info.waiting_on.unwrap();
    assert!(waiting_on.starts_with("timer until ") && waiting_on.contains("timers.rs:"), "{waiting_on}");
}

async fn sleep_until_a_time_that_has_passed_ends_at_once(bed: Bed) {
    workflow!(SleepUntil, "sleep-until", |ctx: Context, micros: i64| -> WorkflowResult<()> {
        ctx.sleep_until(DateTime::from_timestamp_micros(micros).unwrap()).await
    });

    bed.work(bed.worker().workflow::<SleepUntil>());
    bed.client.start::<SleepUntil>(0).await.unwrap().result().await.unwrap();
    let soon = Utc::now() + TimeDelta::milliseconds(100);
    let run = bed.client.start::<SleepUntil>(soon.timestamp_micros()).await.unwrap();
    run.result().await.unwrap();
    assert!(run.describe().await.unwrap().closed_at.unwrap().timestamp_micros() >= soon.timestamp_micros());
}

async fn timer_that_lost_a_race_is_cancelled_and_never_fires(bed: Bed) {
    workflow!(Race, "race", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        let (mut long, mut short) =
            (ctx.sleep(Duration::from_millis(100)), ctx.sleep(Duration::from_millis(10)));
        let winner = futures::select_biased! {
            over = long => over.map(|()| "long".to_owned()),
            over = short => over.map(|()| "short".to_owned()),
        };
        drop(long);
        ctx.sleep(Duration::from_millis(200)).await?;
        winner
    });

    bed.work(bed.worker().workflow::<Race>());
    let run = bed.client.start::<Race>(()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "short");
    assert_eq!(
        story(&run).await,
        [
            "run.started",
            "timer.started",
            "timer.started",
            "timer.fired",
            "timer.cancelled",
            "timer.started",
            "timer.fired",
            "run.completed",
        ]
    );
}

async fn many_timers_fire_in_the_order_of_their_deadlines(bed: Bed) {
    use futures::StreamExt;
    use futures::stream::FuturesUnordered;

    workflow!(Alarms, "alarms", |ctx: Context, times: Vec<u64>| -> WorkflowResult<Vec<u64>> {
        let alarms = times.into_iter().map(|time| {
            let alarm = ctx.sleep(Duration::from_millis(time));
            async move { alarm.await.map(|()| time) }
        });
        let mut alarms: FuturesUnordered<_> = alarms.collect();
        let mut rung = Vec::new();
        while let Some(time) = alarms.next().await {
            rung.push(time?);
        }
        Ok(rung)
    });

    bed.work(bed.worker().workflow::<Alarms>());
    let run = bed.client.start::<Alarms>(vec![80, 20, 60, 40, 1]).await.unwrap();
    assert_eq!(run.result().await.unwrap(), [1, 20, 40, 60, 80]);
}
