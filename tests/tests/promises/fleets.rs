//! Workers that differ: during a deploy, after a rollback, and as two programs on one database.

use pgworkflows::client::QueueInfo;
use pgworkflows::prelude::*;
use pgworkflows_tests::{Env, eventually, promises, workflow};

promises![
    runs_of_a_new_workflow_end_although_old_workers_share_the_queue,
    older_generation_takes_over_when_the_newer_one_has_stopped,
    two_programs_on_one_database_need_no_configuration,
    workflow_that_no_worker_knows_is_shown_with_its_shards,
    queue_keeps_its_number_of_shards_and_says_so,
];

workflow!(Old, "old", |_ctx: Context, name: String| -> WorkflowResult<String> { Ok(format!("old {name}")) });

workflow!(New, "new", |_ctx: Context, name: String| -> WorkflowResult<String> { Ok(format!("new {name}")) });

/// How many shards a worker owns.
fn shards_of(queue: &QueueInfo, worker: &str) -> usize {
    queue.workers.iter().filter(|info| info.name == worker).map(|info| info.shards.len()).sum()
}

/// Waits until this holds of the queue.
async fn queue_until(env: &Env, what: &str, holds: impl Fn(&QueueInfo) -> bool) {
    eventually(what, async || {
        let queue = env.client.queue("default").describe().await;
        queue.is_ok_and(|queue| holds(&queue)).then_some(())
    })
    .await;
}

async fn runs_of_a_new_workflow_end_although_old_workers_share_the_queue(env: Env) {
    // Given a worker of the old code that owns all shards, and one of the new code that joins it
    let old = env.run(env.worker().name("old").generation(1).workflow::<Old>());
    queue_until(&env, "the old code owns all", |queue| queue.free_shards == 0).await;
    let new = env.run(env.worker().name("new").generation(2).workflow::<Old>().workflow::<New>());

    // Then runs of both workflows end, whichever shards they are in
    for number in 0..20 {
        let run = env.client.start::<New>(number.to_string()).key(number.to_string()).await.unwrap();
        assert_eq!(run.result().timeout(Duration::from_secs(60)).await.unwrap(), format!("new {number}"));
        let run = env.client.start::<Old>(number.to_string()).key(number.to_string()).await.unwrap();
        assert_eq!(run.result().timeout(Duration::from_secs(60)).await.unwrap(), format!("old {number}"));
    }
    old.stop().await;
    new.stop().await;
}

async fn older_generation_takes_over_when_the_newer_one_has_stopped(env: Env) {
    // Given a worker of a newer generation, and one of an older that was started after it
    let new = env.run(env.worker().name("new").generation(2).workflow::<Old>());
    queue_until(&env, "the new code owns all", |queue| queue.free_shards == 0).await;
    let old = env.run(env.worker().name("old").generation(1).workflow::<Old>());
    queue_until(&env, "the old code is shown as outdated", |queue| {
        let mut outdated = queue.workers.iter().filter(|worker| worker.outdated);
        outdated.next().is_some_and(|worker| (&*worker.name, worker.generation) == ("old", 1))
    })
    .await;

    // When the newer one stops, then the older one serves all
    new.stop().await;
    queue_until(&env, "the old code owns all", |queue| {
        shards_of(queue, "old") == usize::from(queue.shard_count)
    })
    .await;
    let run = env.client.start::<Old>("Ada".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "old Ada");
    old.stop().await;
}

async fn two_programs_on_one_database_need_no_configuration(env: Env) {
    // Given two programs with a queue and a workflow each
    let old = env.run(env.worker().queue("programs-old").workflow::<Old>());
    let new = env.run(env.worker().queue("programs-new").workflow::<New>());
    eventually("both queues exist", async || {
        for queue in ["programs-old", "programs-new"] {
            env.client.queue(queue).describe().await.ok().filter(|queue| !queue.workers.is_empty())?;
        }
        Some(())
    })
    .await;

    // Then a client that names no queue starts runs of both
    let run = env.client.start::<Old>("Ada".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "old Ada");
    let run = env.client.start::<New>("Bob".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "new Bob");
    old.stop().await;
    new.stop().await;
}

async fn workflow_that_no_worker_knows_is_shown_with_its_shards(env: Env) {
    // Given a worker, and a run of a workflow that it does not know
    let old = env.run(env.worker().workflow::<Old>());
    let run = env.client.start::<New>("Ada".to_owned()).await.unwrap();

    // Then the queue's description names the workflow and the shard
    queue_until(&env, "it is shown", |queue| {
        let shown = queue.unserved.iter().any(|unserved| unserved.shards == [run.run_id().shard()]);
        shown && queue.unserved.iter().all(|unserved| unserved.workflows.contains(&"new".to_owned()))
    })
    .await;

    // And when a worker comes that knows it, then nothing is left to show, and the run ends
    let new = env.run(env.worker().workflow::<New>().workflow::<Old>());
    assert_eq!(run.result().await.unwrap(), "new Ada");
    queue_until(&env, "nothing is shown", |queue| queue.unserved.is_empty()).await;
    old.stop().await;
    new.stop().await;
}

async fn queue_keeps_its_number_of_shards_and_says_so(env: Env) {
    env.client.start::<Old>("Ada".to_owned()).await.unwrap();
    let worker = env.worker().queue_shards(99).build().unwrap();
    let error = worker.run().await.unwrap_err().to_string();
    assert!(error.contains("queue `default` has ") && error.contains("99 were asked for"), "{error}");
    let client = pgworkflows::Client::builder(env.store()).queue_shards(99).build().unwrap();
    let error = client.start::<Old>("Bob".to_owned()).await.unwrap_err().to_string();
    assert!(error.contains("queue `default` has ") && error.contains("99 were asked for"), "{error}");
}
