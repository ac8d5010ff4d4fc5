//! Worker processes share the shards of their queue, while some join, leave and are killed.

use std::collections::BTreeMap;

use futures::future::join_all;
use pgworkflows::Client;
use pgworkflows::store::Store;
use pgworkflows_tests::eventually;

use crate::env::PgEnv;
use crate::interrupted::assert_no_recorded_activity_ran_again;
use crate::process::TrialWorker;

/// How many shards the queue has.
const SHARDS: u16 = 64;

/// The companies whose runs are open meanwhile. No name is the beginning of another.
const COMPANIES: [&str; 12] = [
    "Alto", "Bravo", "Cedar", "Delta", "Ember", "Fjord", "Grove", "Hydra", "Ivory", "Jolly", "Karma", "Lotus",
];

/// So long that no lease is lost by accident, however busy the machine is. The test lets that of a killed worker expire.
const LEASE_SECONDS: u32 = 300;

/// Waits until these workers own all shards, each the mean, rounded up or down.
async fn share(env: &PgEnv, workers: &[&TrialWorker]) {
    let mut names: Vec<String> = workers.iter().map(|worker| format!("worker-{}", worker.id())).collect();
    names.sort_unstable();
    let members = workers.len();
    let fair = usize::from(SHARDS) / members..=usize::from(SHARDS).div_ceil(members);
    eventually(&format!("{names:?} share the shards"), async || {
        let queue = env.client.queue("default").describe().await.unwrap();
        let is_fair = queue.workers.iter().all(|worker| fair.contains(&worker.shards.len()));
        let is_theirs = queue.workers.iter().map(|worker| &worker.name).eq(&names);
        (is_fair && is_theirs && queue.free_shards == 0).then_some(())
    })
    .await;
}

/// Lets the lease of a killed worker expire.
async fn expire(env: &PgEnv, worker: &TrialWorker) {
    let expire = "update pgworkflows.leases set expires_at = clock_timestamp() where worker = $1";
    let expire = sqlx::query(expire).bind(format!("worker-{}", worker.id()));
    assert_eq!(expire.execute(&mut env.connection().await).await.unwrap().rows_affected(), 1);
}

async fn deaths(env: &PgEnv) -> i64 {
    let deaths = sqlx::query_scalar("select sum(deaths) from pgworkflows.shards");
    deaths.fetch_one(&mut env.connection().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_the_shards_although_one_joins_one_leaves_and_one_is_killed() {
    let mut env = PgEnv::new().await;
    env.create_executions().await;
    env.store.queue("default", SHARDS).await.unwrap();
    env.client = Client::builder(env.store.clone()).queue_shards(SHARDS).build().unwrap();
    let spawn = || TrialWorker::spawn_with_lease(env.url(), LEASE_SECONDS);

    // Given three workers that share the shards, and runs in all of them
    let (first, second, mut third) = (spawn(), spawn(), spawn());
    share(&env, &[&first, &second, &third]).await;
    let runs = join_all(COMPANIES.map(async |company| env.start_trial(company).await.unwrap())).await;

    // When a fourth joins, it gets its share, and nobody has died
    let mut fourth = spawn();
    share(&env, &[&first, &second, &third, &fourth]).await;
    assert_eq!(deaths(&env).await, 0);

    // When it leaves again, the others get its share back, and nobody has died
    fourth.shut_down();
    share(&env, &[&first, &second, &third]).await;
    assert_eq!(deaths(&env).await, 0);
    eventually("the process has ended", async || fourth.has_ended().then_some(())).await;

    // When one is killed, the others take its shards over
    third.kill();
    eventually("the process is dead", async || third.was_killed().then_some(())).await;
    expire(&env, &third).await;
    share(&env, &[&first, &second]).await;
    let lost = deaths(&env).await;
    assert!((21..=22).contains(&lost), "{lost} shards count a death");

    // Then every run has gone on, and nothing that was recorded was done again
    let results = join_all(runs.iter().map(|run| env.finish_trial(run))).await;
    assert_eq!(results, COMPANIES.map(|company| format!("{company} upgraded to pro.")));
    env.log().await.check();
    for run in &runs {
        assert_no_recorded_activity_ran_again(&env, run, None).await;
    }
    let adoptions = owners_of_runs(&env).await;
    assert!(adoptions.values().any(|owners| *owners > 1), "no run has changed its owner: {adoptions:?}");
}

/// How many owners each run had.
async fn owners_of_runs(env: &PgEnv) -> BTreeMap<String, usize> {
    let mut owners = BTreeMap::new();
    for event in env.log().await.0 {
        *owners.entry(event.run).or_default() += usize::from(event.name == "run.adopted" || event.seq == 1);
    }
    owners
}
