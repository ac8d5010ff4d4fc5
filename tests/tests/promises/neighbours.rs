//! No run stops its neighbours: what is too much, unknown or never ends is told of, and everything else goes on.

use pgworkflows::RunHandle;
use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows_tests::{Bed, activity, eventually, promises, workflow};

promises![
    fan_out_that_asks_for_too_much_stalls_and_its_neighbours_go_on,
    fan_out_at_the_limit_of_commands_is_cancelled_at_once,
    run_whose_workflow_the_owner_does_not_know_says_so_and_can_be_terminated,
    backlog_of_slow_polls_is_worked_off,
];

activity!(Echo, "echo", String => String);

fn echo() -> Echo {
    Echo::that(async |_, word| Ok(word))
}

workflow!(Greet, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
    ctx.activity::<Echo>(name).await
});

workflow!(Eat, "eat", |ctx: Context, (count, bytes): (usize, usize)| -> WorkflowResult<usize> {
    let eaten = ctx.when_all((0..count).map(|_| ctx.activity::<Echo>("x".repeat(bytes)))).await?;
    Ok(eaten.len())
});

async fn stalled<W: Workflow>(run: &RunHandle<W>) -> String {
    eventually("the run is stalled", async || {
        let info = run.describe().await.unwrap();
        (info.status == RunStatus::Stalled).then(|| info.waiting_on.unwrap())
    })
    .await
}

async fn fan_out_that_asks_for_too_much_stalls_and_its_neighbours_go_on(bed: Bed) {
    // Given a worker, and a run that asks for more than a gigabyte at once
    bed.work(bed.worker().workflow::<Eat>().workflow::<Greet>().activity(echo()));
    let greedy = bed.client.start::<Eat>((600, 1_900_000)).await.unwrap();
    // Then it stalls, and says how much it was
    let waiting_on = stalled(&greedy).await;
    for part in
        ["asks for too much at once", "activity `echo`", "one poll has 36 commands of", "neighbours.rs"]
    {
        assert!(waiting_on.contains(part), "{part}: {waiting_on}");
    }
    // And the others go on
    for _ in 0..20 {
        let run = bed.client.start::<Greet>("Ada".to_owned()).await.unwrap();
        assert_eq!(run.result().await.unwrap(), "Ada");
    }
    // As does one that asks for as much as it may
    let modest = bed.client.start::<Eat>((30, 1_900_000)).await.unwrap();
    assert_eq!(modest.result().await.unwrap(), 30);
}

async fn fan_out_at_the_limit_of_commands_is_cancelled_at_once(bed: Bed) {
    bed.work(bed.worker().workflow::<Eat>());
    let run = bed.client.start::<Eat>((20_000, 1)).await.unwrap();
    eventually("all are scheduled", async || {
        let waiting_on = run.describe().await.unwrap().waiting_on;
        waiting_on.filter(|on| on.contains("no worker of its shard has registered"))
    })
    .await;
    run.cancel().await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_cancelled());
}

async fn run_whose_workflow_the_owner_does_not_know_says_so_and_can_be_terminated(bed: Bed) {
    // Given a program with another workflow, which owns all shards of the queue
    let owner = bed.work(bed.worker().name("other-program").workflow::<Greet>().activity(echo()));
    let run = bed.client.start::<Eat>((1, 1)).await.unwrap();
    run.terminate("not yet").await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_terminated());
    // Then another run of it says what it waits for, wherever one looks
    let run = bed.client.start::<Eat>((1, 1)).await.unwrap();
    let waits =
        async || run.describe().await.unwrap().waiting_on.filter(|on| on.contains("knows workflow `eat`"));
    let waiting_on = eventually("it says what it waits for", waits).await;
    assert!(waiting_on.contains("worker `other-program`, which owns its shard, does not"), "{waiting_on}");
    let error = run.result().timeout(Duration::from_millis(1)).await.unwrap_err();
    assert!(error.is_timeout() && error.to_string().contains("knows workflow `eat`"), "{error}");
    // And it goes on with a worker that knows it
    owner.stop().await;
    bed.work(bed.worker().workflow::<Eat>().activity(echo()));
    assert_eq!(run.result().await.unwrap(), 1);
}

async fn backlog_of_slow_polls_is_worked_off(bed: Bed) {
    // Given a worker with the shortest lease, and a backlog that takes many times as long
    workflow!(Slow, "slow", |_ctx: Context, millis: u64| -> WorkflowResult<u64> {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(millis) {}
        Ok(millis)
    });
    let mut runs = Vec::new();
    for number in 0..400 {
        runs.push(bed.client.start::<Slow>(10).key(format!("slow-{number}")).await.unwrap());
    }
    let worker = bed.worker().workflow::<Slow>().processors(1).lease_ttl(Duration::from_secs(1));
    let done = async {
        for run in runs {
            assert_eq!(run.result().await.unwrap(), 10);
        }
    };
    // Then all of it is done, whatever leases a busy machine takes meanwhile
    worker.build().unwrap().run_until(done).await.unwrap();
}
