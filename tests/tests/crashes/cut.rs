//! Connections are cut in the middle of a commit, and everything is applied exactly once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use pgworkflows::{Client, PostgresStore};
use pgworkflows_pg_harness::{Cut, Proxy};
use pgworkflows_tests::{DEADLINE, Journal};

use crate::env::{PgEnv, SHARDS};
use crate::worker::{Collect, NUMBER, start_noting_worker, start_worker};

const LATENCY: Duration = Duration::from_millis(2);

/// The cuts, in a cycle: a repeated append may be cut again.
const CUTS: [Cut; 6] =
    [Cut::BeforeRequest, Cut::BeforeAnswer, Cut::Pass, Cut::AfterRequest, Cut::Pass, Cut::BeforeAnswer];

/// A plan that cuts executions of statements with that text, and the cuts that it has made.
fn cutting(statement: &'static str) -> (Arc<Mutex<Vec<Cut>>>, impl FnMut(&str) -> Cut + Send + 'static) {
    let made = Arc::new(Mutex::new(Vec::new()));
    let makes = Arc::clone(&made);
    let plan = move |executed: &str| {
        if !executed.contains(statement) {
            return Cut::Pass;
        }
        let mut made = makes.lock().unwrap();
        let cut = CUTS[made.len() % CUTS.len()];
        made.push(cut);
        cut
    };
    (made, plan)
}

/// Asserts that each kind of cut was made at least that often.
fn assert_made(made: &Mutex<Vec<Cut>>, least: usize) {
    let made = made.lock().unwrap();
    for kind in [Cut::BeforeRequest, Cut::AfterRequest, Cut::BeforeAnswer] {
        let count = made.iter().filter(|cut| **cut == kind).count();
        assert!(count >= least, "{kind:?} was made {count} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_connection_is_cut_is_applied_once() {
    let env = PgEnv::new().await;
    let (made, plan) = cutting(".append(");
    let proxy = Proxy::new(env.url(), LATENCY, plan).await.unwrap();
    let store = PostgresStore::connect(proxy.url()).await.unwrap();
    let journal = Journal::default();
    let worker = start_noting_worker(store, &journal, |worker| worker.processors(2));
    let trials = (0..16).map(async |number| {
        let run = env.start_trial(&format!("Company {number}")).await.unwrap();
        assert_eq!(env.finish_trial(&run).await, format!("Company {number} upgraded to pro."));
        run
    });
    let runs = join_all(trials).await;

    assert_made(&made, 5);
    let log = env.log().await;
    log.check();
    for run in runs {
        let names = log.names(run.run_id());
        assert_eq!(names.len(), 13, "{names:?}");
        assert!(!names.contains(&"run.adopted"), "no lease was lost, but {names:?}");
    }
    let executions = journal.lines();
    assert_eq!(executions.len(), 16 * 4, "{executions:?}");
    assert_eq!(executions.iter().collect::<BTreeSet<_>>().len(), 16 * 4, "{executions:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_or_signal_whose_connection_is_cut_arrives_once_and_in_order() {
    let env = PgEnv::new().await;
    let worker = start_worker(env.store.clone(), |worker| worker);
    let (made, plan) = cutting(".submit(");
    let proxy = Proxy::new(env.url(), LATENCY, plan).await.unwrap();
    let store = PostgresStore::connect(proxy.url()).await.unwrap();
    let client = Client::builder(store).queue_shards(SHARDS).build().unwrap();

    // One request after another: a client gives up after some tries, so no request may meet too many of the cuts.
    for _ in 0..2 {
        let run = client.start::<Collect>(25).await.unwrap();
        for number in 0..24 {
            run.signal(NUMBER, number).await.unwrap();
        }
        // The last signal ends the run, so its repetition after a lost answer would be refused. It is sent without cuts.
        env.client.signal(run.run_id(), NUMBER, 24).await.unwrap();
        assert_eq!(run.result().timeout(DEADLINE).await.unwrap(), (0..25).collect::<Vec<_>>());
        assert!(run.describe().await.unwrap().undelivered.is_empty());
    }

    assert_made(&made, 20);
    let log = env.log().await;
    log.check();
    assert_eq!(log.count("run.started"), 2);
    assert_eq!(log.count("signal.received"), 50);
    worker.stop().await;
}
