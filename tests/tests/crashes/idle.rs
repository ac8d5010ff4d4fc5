//! What an idle worker costs, and how precise its timers are.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use pgworkflows::PostgresStore;
use pgworkflows::history::Event;
use pgworkflows_pg_harness::{Cut, Proxy};
use pgworkflows_tests::{DEADLINE, eventually};
use tokio::time::Instant;

use crate::env::PgEnv;
use crate::worker::{Nap, start_worker};

/// How many statements an idle worker may send per minute.
const STATEMENTS_MAX: f64 = 45.0;

/// How late half of the timers of an idle worker may fire, by the store's clock.
const LATE_MAX: Duration = Duration::from_millis(50);

/// How much later the others may fire, because the machine is busy with other tests.
const SLACK: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_sends_at_most_45_statements_a_minute() {
    let env = PgEnv::new().await;
    let sent: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
    let counts = Arc::clone(&sent);
    let proxy = Proxy::new(env.url(), Duration::ZERO, move |statement: &str| {
        counts.lock().unwrap().push((Instant::now(), statement.to_owned()));
        Cut::Pass
    })
    .await
    .unwrap();
    // A worker with default settings, and a sleeping run.
    let store = PostgresStore::connect(proxy.url()).await.unwrap();
    let worker = start_worker(store, |worker| worker);
    let sleeper = env.client.start::<Nap>(24 * 3600 * 1000).await.unwrap();
    eventually("the run sleeps", async || sleeper.describe().await.unwrap().waiting_on).await;

    // From one heartbeat to a later one, so that nothing is counted twice or left out.
    let heartbeats = || {
        let sent = sent.lock().unwrap();
        sent.iter()
            .filter(|(_, statement)| statement.contains(".heartbeat("))
            .map(|(at, _)| *at)
            .collect::<Vec<_>>()
    };
    let settled = heartbeats().len() + 2;
    eventually("heartbeats have passed", async || (heartbeats().len() > settled + 4).then_some(())).await;
    let (begin, end) = (heartbeats()[settled], heartbeats()[settled + 4]);
    let sent = sent.lock().unwrap();
    let statements: Vec<_> = sent.iter().filter(|(at, _)| (begin..end).contains(at)).collect();
    let per_minute = statements.len() as f64 * 60.0 / (end - begin).as_secs_f64();
    eprintln!("an idle worker sends {per_minute:.1} statements a minute");
    assert!(per_minute <= STATEMENTS_MAX, "{per_minute:.1} statements a minute: {statements:#?}");
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_of_parked_runs_fire_on_time_and_never_early() {
    let env = PgEnv::new().await;
    let worker = start_worker(env.store.clone(), |worker| worker);
    // Some shorter than two heartbeats, which stay in memory, and some longer, which do not.
    let naps = (0..24).map(|nap| 100 + nap * 290);
    let runs = join_all(naps.map(async |millis| env.client.start::<Nap>(millis).await.unwrap())).await;
    let mut late = Vec::new();
    for run in &runs {
        run.result().timeout(DEADLINE).await.unwrap();
        let history = run.history().await.unwrap();
        let deadline = history.iter().find_map(|event| match &event.event {
            Event::TimerStarted { fire_at, .. } => Some(fire_at.as_micros()),
            _ => None,
        });
        let fired = history.iter().find(|event| matches!(event.event, Event::TimerFired { .. })).unwrap();
        let late_by = fired.at.timestamp_micros() - deadline.unwrap();
        assert!(late_by >= 0, "a timer fired {late_by} us early");
        late.push(Duration::from_micros(late_by.unsigned_abs()));
    }
    late.sort_unstable();
    eprintln!(
        "timers fire late by {:?} in the median, and {:?} at most",
        late[late.len() / 2],
        late[late.len() - 1]
    );
    assert!(late[late.len() / 2] <= LATE_MAX, "{late:?}");
    assert!(late[late.len() - 1] <= LATE_MAX + SLACK, "{late:?}");
    env.log().await.check();
    worker.stop().await;
}
