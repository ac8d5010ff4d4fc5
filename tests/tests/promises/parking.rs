//! A parked run uses rows of the database and nothing else: no thread, no slot for activities, no worker memory.

use futures::StreamExt;
use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows_tests::{Env, Gate, activity, eventually, promises, reached, workflow};

promises![
    many_parked_runs_use_no_memory_and_each_can_be_woken,
    waiting_runs_occupy_no_slot_for_activities,
    runs_that_sleep_long_use_no_memory,
];

activity!(Hold, "hold", () => ());

const GO: Signal<u32> = Signal::new("go");

workflow!(Park, "park", |ctx: Context, number: u32| -> WorkflowResult<u32> {
    Ok(number + ctx.wait_for(GO).await?)
});

async fn many_parked_runs_use_no_memory_and_each_can_be_woken(env: Env) {
    // Given a hundred thousand runs (ten thousand on a database) that wait for a signal
    let many = env.many();
    let worker = env.run(env.worker().workflow::<Park>());
    let starts = futures::stream::iter(0..many)
        .map(|number| {
            let client = &env.client;
            async move { (number, client.start::<Park>(number).await.unwrap()) }
        })
        .buffer_unordered(64);
    let mut runs: Vec<_> = starts.collect().await;
    runs.sort_by_key(|(number, _)| *number);

    // When all are parked
    let none = async |status| env.client.list().status(status).limit(1).await.unwrap().is_empty();
    eventually("all are parked", async || {
        (worker.monitor.live_runs() == 0 && none(RunStatus::Pending).await && none(RunStatus::Running).await)
            .then_some(())
    })
    .await;

    // Then the worker holds none of them, and each of them continues when its signal arrives
    assert_eq!(worker.monitor.live_runs(), 0);
    for (number, run) in runs.iter().step_by(runs.len() / 20) {
        run.signal(GO, 1).await.unwrap();
        assert_eq!(run.result().await.unwrap(), number + 1);
    }
    eventually("those runs were dropped from memory", async || {
        (worker.monitor.live_runs() == 0).then_some(())
    })
    .await;
}

async fn waiting_runs_occupy_no_slot_for_activities(env: Env) {
    workflow!(HoldThenPark, "hold-then-park", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        ctx.activity::<Hold>(()).await?;
        ctx.wait_for(GO).await?;
        Ok(())
    });

    // Given a worker with one slot, and runs that wait after their activity
    let gate = Gate::opened();
    let worker = env.worker().activities_max(1).workflow::<HoldThenPark>();
    env.run(worker.activity(Hold(gate.waiting())));
    let mut runs = Vec::new();
    for _ in 0..10 {
        runs.push(env.client.start::<HoldThenPark>(()).await.unwrap());
    }
    for run in &runs {
        reached(run, RunStatus::Waiting).await;
    }
    for run in &runs {
        run.signal(GO, 0).await.unwrap();
        run.result().await.unwrap();
    }
}

async fn runs_that_sleep_long_use_no_memory(env: Env) {
    workflow!(SleepLong, "sleep-long", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        ctx.sleep(Duration::from_secs(11 * 24 * 3600)).await
    });

    let worker = env.run(env.worker().workflow::<SleepLong>());
    for _ in 0..100 {
        env.client.start::<SleepLong>(()).await.unwrap();
    }
    eventually("all sleep", async || {
        let asleep = env.client.list().status(RunStatus::Waiting).limit(200).await.unwrap();
        (asleep.len() == 100 && worker.monitor.live_runs() == 0).then_some(())
    })
    .await;
}
