//! No run affects its neighbours: a run that asks for too much, or that nobody knows, says so, and the others continue.

use pgworkflows::prelude::*;
use pgworkflows_tests::{
    ActivityFn, Env, activity, assert_contains, eventually, promises, stall_reason, workflow,
};

promises![
    fan_out_that_asks_for_too_much_stalls_and_its_neighbours_continue,
    fan_out_at_the_limit_of_commands_is_cancelled_at_once,
    run_of_a_workflow_unknown_to_the_owner_says_so_and_can_be_terminated,
    backlog_of_slow_polls_is_processed,
];

activity!(Echo, "echo", String => String);

fn echo() -> Echo {
    Echo(ActivityFn::new(async |_, word| Ok(word)))
}

workflow!(Greet, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
    ctx.activity::<Echo>(name).await
});

workflow!(Swallow, "swallow", |ctx: Context, (count, bytes): (usize, usize)| -> WorkflowResult<usize> {
    let swallowed = ctx.when_all((0..count).map(|_| ctx.activity::<Echo>("x".repeat(bytes)))).await?;
    Ok(swallowed.len())
});

async fn fan_out_that_asks_for_too_much_stalls_and_its_neighbours_continue(env: Env) {
    // Given a worker, and a run that asks for more than a gigabyte at once
    env.run(env.worker().workflow::<Swallow>().workflow::<Greet>().activity(echo()));
    let greedy = env.client.start::<Swallow>((600, 1_900_000)).await.unwrap();
    // Then it stalls, and says how much it asked for
    let parts =
        ["asks for too much at once", "activity `echo`", "one poll has 36 commands of", "neighbours.rs"];
    assert_contains(stall_reason(&greedy).await, &parts);
    // Then other runs continue
    for _ in 0..20 {
        let run = env.client.start::<Greet>("Ada".to_owned()).await.unwrap();
        assert_eq!(run.result().await.unwrap(), "Ada");
    }
    // Then a run that asks for as much as it may completes
    let modest = env.client.start::<Swallow>((30, 1_900_000)).await.unwrap();
    assert_eq!(modest.result().await.unwrap(), 30);
}

async fn fan_out_at_the_limit_of_commands_is_cancelled_at_once(env: Env) {
    env.run(env.worker().workflow::<Swallow>());
    let run = env.client.start::<Swallow>((20_000, 1)).await.unwrap();
    eventually("all are scheduled", async || {
        let waiting_on = run.describe().await.unwrap().waiting_on;
        waiting_on.filter(|on| on.contains("a task of activity queue"))
    })
    .await;
    run.cancel().await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_cancelled());
}

async fn run_of_a_workflow_unknown_to_the_owner_says_so_and_can_be_terminated(env: Env) {
    // Given a program with another workflow, which owns all shards of the queue
    let owner = env.run(env.worker().name("other-program").workflow::<Greet>().activity(echo()));
    let run = env.client.start::<Swallow>((1, 1)).await.unwrap();
    run.terminate("not yet").await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_terminated());
    // Then another run of it says what it waits for, in its description and in a timeout
    let run = env.client.start::<Swallow>((1, 1)).await.unwrap();
    let waits = async || {
        run.describe().await.unwrap().waiting_on.filter(|on| on.contains("knows workflow `swallow`"))
    };
    let waiting_on = eventually("it says what it waits for", waits).await;
    assert!(waiting_on.contains("worker `other-program`, which owns its shard, does not"), "{waiting_on}");
    let error = run.result().timeout(Duration::from_millis(1)).await.unwrap_err();
    assert!(error.is_timeout() && error.to_string().contains("knows workflow `swallow`"), "{error}");
    // Then it continues under a worker that knows it
    owner.stop().await;
    env.run(env.worker().workflow::<Swallow>().activity(echo()));
    assert_eq!(run.result().await.unwrap(), 1);
}

async fn backlog_of_slow_polls_is_processed(env: Env) {
    // Given a worker with the shortest lease, and a backlog that takes many times as long
    workflow!(Slow, "slow", |_ctx: Context, millis: u64| -> WorkflowResult<u64> {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(millis) {}
        Ok(millis)
    });
    let mut runs = Vec::new();
    for number in 0..400 {
        runs.push(env.client.start::<Slow>(10).key(format!("slow-{number}")).await.unwrap());
    }
    let worker = env.worker().workflow::<Slow>().processors(1).lease_ttl(Duration::from_secs(1));
    let done = async {
        for run in runs {
            assert_eq!(run.result().await.unwrap(), 10);
        }
    };
    // Then all runs complete, however many leases are lost on a busy machine
    worker.build().unwrap().run_until(done).await.unwrap();
}
