//! Timers: deadlines survive workers, and no timer fires early.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use pgworkflows::RunHandle;
use pgworkflows::client::RunStatus;
use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows_tests::{Env, count, eventually, history_text, logged, promises, workflow};

promises![
    deadline_survives_its_worker,
    deadline_that_passed_without_a_worker_fires_at_once,
    timers_of_an_idle_worker_are_precise_and_never_early,
    describe_says_when_a_sleeping_run_wakes,
    sleep_until_a_time_that_has_passed_ends_at_once,
    timer_that_lost_a_race_is_cancelled_and_never_fires,
    many_timers_fire_in_the_order_of_their_deadlines,
];

workflow!(Sleep, "sleep", |ctx: Context, time: Duration| -> WorkflowResult<()> { ctx.sleep(time).await });

/// The deadline of the run's only timer, and when it fired.
async fn timer(run: &RunHandle<Sleep>) -> (DateTime<Utc>, Option<DateTime<Utc>>) {
    let history = run.history().await.unwrap();
    let fire_at = history.iter().find_map(|event| match event.event {
        Event::TimerStarted { fire_at, .. } => Some(fire_at.into()),
        _ => None,
    });
    let fired = history.iter().find(|event| matches!(event.event, Event::TimerFired { .. }));
    (fire_at.unwrap(), fired.map(|event| event.at))
}

async fn deadline_survives_its_worker(env: Env) {
    // Given a run whose worker is killed while it sleeps
    let worker = env.run_killable(|worker| worker.workflow::<Sleep>()).await;
    let run = env.client.start::<Sleep>(Duration::from_millis(2500)).await.unwrap();
    logged(&run, "timer.started", 1).await;
    worker.kill().await;

    // When another worker takes over before the deadline
    env.run(env.worker().workflow::<Sleep>());
    run.result().await.unwrap();

    // Then it wakes at that deadline, not earlier, and not a full sleep after the takeover
    let (fire_at, fired) = timer(&run).await;
    let late = fired.unwrap() - fire_at;
    assert!(late >= TimeDelta::zero() && late < TimeDelta::milliseconds(2000), "{late}");
    assert_eq!(count(&run, "timer.started").await, 1);
}

async fn deadline_that_passed_without_a_worker_fires_at_once(env: Env) {
    // Given a run whose deadline passes while there is no worker
    let sleep = Duration::from_secs(3);
    let worker = env.run(env.worker().workflow::<Sleep>());
    let run = env.client.start::<Sleep>(sleep).await.unwrap();
    logged(&run, "timer.started", 1).await;
    worker.stop().await;
    let (fire_at, _) = timer(&run).await;
    eventually("the deadline is over", async || (Utc::now() > fire_at).then_some(())).await;

    // When a worker starts
    let started = Instant::now();
    env.run(env.worker().workflow::<Sleep>());
    run.result().await.unwrap();

    // Then the run wakes without sleeping again
    assert!(started.elapsed() < sleep, "it took {:?}", started.elapsed());
    assert_eq!(
        history_text(&run).await,
        ["run.started", "timer.started", "run.adopted", "timer.fired", "run.completed"]
    );
}

async fn timers_of_an_idle_worker_are_precise_and_never_early(env: Env) {
    env.run(env.worker().workflow::<Sleep>());
    let mut late = Vec::new();
    for _ in 0..10 {
        let run = env.client.start::<Sleep>(Duration::from_millis(40)).await.unwrap();
        run.result().await.unwrap();
        let (fire_at, fired) = timer(&run).await;
        late.push(fired.unwrap() - fire_at);
    }
    late.sort();
    assert!(late[0] >= TimeDelta::zero(), "{late:?}");
    // Other tests share the machine, so only the fastest timers are compared.
    assert!(late[2] < TimeDelta::milliseconds(50), "{late:?}");
}

async fn describe_says_when_a_sleeping_run_wakes(env: Env) {
    env.run(env.worker().workflow::<Sleep>());
    let run = env.client.start::<Sleep>(Duration::from_secs(11 * 24 * 3600)).await.unwrap();
    logged(&run, "timer.started", 1).await;

    let info = run.describe().await.unwrap();
    assert_eq!(info.status, RunStatus::Waiting);
    assert_eq!(info.wake_at, Some(timer(&run).await.0));
    let waiting_on = info.waiting_on.unwrap();
    assert!(waiting_on.starts_with("timer until ") && waiting_on.contains("timers.rs:"), "{waiting_on}");
}

async fn sleep_until_a_time_that_has_passed_ends_at_once(env: Env) {
    workflow!(SleepUntil, "sleep-until", |ctx: Context, micros: i64| -> WorkflowResult<()> {
        ctx.sleep_until(DateTime::from_timestamp_micros(micros).unwrap()).await
    });

    env.run(env.worker().workflow::<SleepUntil>());
    env.client.start::<SleepUntil>(0).await.unwrap().result().await.unwrap();
    let soon = Utc::now() + TimeDelta::milliseconds(100);
    let run = env.client.start::<SleepUntil>(soon.timestamp_micros()).await.unwrap();
    run.result().await.unwrap();
    assert!(run.describe().await.unwrap().closed_at.unwrap().timestamp_micros() >= soon.timestamp_micros());
}

async fn timer_that_lost_a_race_is_cancelled_and_never_fires(env: Env) {
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

    env.run(env.worker().workflow::<Race>());
    let run = env.client.start::<Race>(()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "short");
    assert_eq!(
        history_text(&run).await,
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

async fn many_timers_fire_in_the_order_of_their_deadlines(env: Env) {
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

    env.run(env.worker().workflow::<Alarms>());
    let run = env.client.start::<Alarms>(vec![80, 20, 60, 40, 1]).await.unwrap();
    assert_eq!(run.result().await.unwrap(), [1, 20, 40, 60, 80]);
}
