//! The server goes away and comes back while workers and clients are at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use pgworkflows::Error;
use pgworkflows_pg_harness::Postgres;

use crate::env::{World, decide};
use crate::wait::{PATIENCE, until};
use crate::worker::Working;

/// How many trials are under way at a time.
const TRIALS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_or_crashes_and_comes_back_costs_no_attempt_and_fails_nothing() {
    let server = Arc::new(Postgres::start().unwrap());
    let world = World::on(server.create_database().unwrap()).await;
    let worker = Working::start(world.store.clone(), |worker| worker.lease_ttl(Duration::from_secs(2)));

    let over = AtomicBool::new(false);
    let trials = (0..TRIALS).map(async |lane| {
        let mut done = Vec::new();
        while !over.load(Ordering::SeqCst) {
            let company = format!("Company {lane}-{}", done.len());
            done.push((company.clone(), trial(&world, &company).await));
        }
        done
    });
    let outages = async {
        // Shorter than the lease lives, and longer; in good order, and not.
        for (kill, down) in [(false, 0), (true, 0), (true, 2500), (false, 2500), (true, 200)] {
            let completed = world_completed(&world).await;
            until("trials go on", async || (world_completed(&world).await >= completed + 3).then_some(()))
                .await;
            let server = Arc::clone(&server);
            tokio::task::spawn_blocking(move || {
                if kill { server.kill() } else { server.stop() }.unwrap();
                // The outage itself, not a wait for anything.
                std::thread::sleep(Duration::from_millis(down));
                server.restart().unwrap();
            })
            .await
            .unwrap();
        }
        let completed = world_completed(&world).await;
        until("trials go on", async || (world_completed(&world).await >= completed + 3).then_some(())).await;
        over.store(true, Ordering::SeqCst);
    };
    let (done, ()) = futures::join!(join_all(trials), outages);

    for (company, result) in done.iter().flatten() {
        assert_eq!(*result, format!("{company} upgraded to pro."));
    }
    let log = world.log().await;
    log.check();
    for charged in
        ["activity.attempt_failed", "activity.attempt_lost", "activity.failed", "run.failed", "run.stalled"]
    {
        assert_eq!(log.count(charged), 0, "{charged}");
    }
    assert_eq!(log.count("run.completed"), done.iter().flatten().count());
    worker.stop().await;
}

/// One trial, by a client that is told to be patient: it sends everything again until it is answered.
async fn trial(world: &World, company: &str) -> String {
    let run = until("the start is answered", async || answered(world.start_trial(company).await)).await;
    until("the run waits for a decision", async || {
        let info = answered(run.describe().await)?;
        info.waiting_on.is_some_and(|what| what.contains("signal `upgrade`")).then_some(())
    })
    .await;
    until("the decision is sent", async || answered(decide(&run).await)).await;
    run.result().timeout(PATIENCE).await.unwrap()
}

/// The answer; `None` if the server gave none. Any other error is one too many.
fn answered<T>(answer: Result<T, Error>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) if error.is_unavailable() => None,
        Err(error) => panic!("{error}"),
    }
}

/// How many trials are over.
async fn world_completed(world: &World) -> usize {
    until("the log can be read", async || world.try_log().await).await.count("run.completed")
}
