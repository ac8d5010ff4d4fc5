//! Chains: runs that continue as new, and whole runs that are tried again. What is sent to any run of a chain reaches the
//! current one, and a client that waits for the outcome of the first run gets that of the last.

use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows_tests::{ActivityFn, Env, activity, eventually, history_text, logged, promises, workflow};

promises![
    run_that_continues_as_new_loses_no_signal_and_keeps_their_order,
    handle_of_the_first_run_follows_its_chain,
    watcher_of_a_view_follows_the_chain,
    key_leads_to_the_current_run_of_its_chain,
    key_of_a_signal_is_recognised_by_the_runs_that_follow,
    chain_goes_on_when_its_worker_is_killed,
    run_that_fails_is_tried_again_after_its_compensations,
    last_failure_is_that_of_the_chain,
    run_that_waits_for_its_next_attempt_can_be_cancelled,
    continuation_that_is_not_allowed_stalls_the_run,
];

const NUMBER: Signal<u32> = Signal::new("number");
const DONE: View<u32> = View::new("done");

/// What the run has heard so far; it continues after every third number, up to `count`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Heard {
    count: usize,
    numbers: Vec<u32>,
}

workflow!(Listen, "listen-on", |ctx: Context, heard: Heard| -> WorkflowResult<Vec<u32>> {
    let mut heard = heard;
    ctx.publish(DONE, &u32::try_from(heard.numbers.len()).unwrap());
    for _ in 0..3 {
        if heard.numbers.len() == heard.count {
            return Ok(heard.numbers);
        }
        heard.numbers.push(ctx.wait_for(NUMBER).await?);
    }
    ctx.continue_as_new::<Listen>(heard).await
});

fn up_to(count: usize) -> Heard {
    Heard { count, numbers: Vec::new() }
}

async fn run_that_continues_as_new_loses_no_signal_and_keeps_their_order(env: Env) {
    // Given several chains, whose signals share shards and batches
    env.run(env.worker().workflow::<Listen>());
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(env.client.start::<Listen>(up_to(40)).await.unwrap());
    }

    // When signals are sent to their first runs while they are continued
    let sending = runs.iter().map(|run| async move {
        for number in 0..40 {
            run.signal(NUMBER, number).await.unwrap();
        }
    });
    futures::future::join_all(sending).await;

    // Then each gets all of them, in the order of sending
    for run in runs {
        assert_eq!(run.result().await.unwrap(), (0..40).collect::<Vec<_>>());
    }
}

async fn handle_of_the_first_run_follows_its_chain(env: Env) {
    env.run(env.worker().workflow::<Listen>());
    let first = env.client.start::<Listen>(up_to(7)).await.unwrap();
    for number in 0..6 {
        first.signal(NUMBER, number).await.unwrap();
    }
    eventually("the third run has begun", async || {
        (first.view(DONE).await.unwrap() == Some(6)).then_some(())
    })
    .await;

    // The first run is over, but its chain is not.
    let info = first.describe().await.unwrap();
    let chain = info.chain.unwrap();
    assert_eq!((chain.first, chain.number), (first.run_id(), 3));
    assert!(!info.status.is_over() && first.try_result().await.unwrap().is_none());
    // Lists show each run by itself.
    let continued = env.client.list().of::<Listen>().status(RunStatus::Continued).await.unwrap();
    let continued: Vec<_> = continued.iter().map(|run| run.run_id).collect();
    assert_eq!(continued, [chain.predecessor, first.run_id()]);
    // Every run of the chain leads to the current one.
    let second = env.client.handle::<Listen>(chain.predecessor);
    second.signal(NUMBER, 6).await.unwrap();
    assert_eq!(second.result().await.unwrap(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(first.result().await.unwrap(), [0, 1, 2, 3, 4, 5, 6]);
    assert!(first.signal(NUMBER, 7).await.unwrap_err().is_run_over());

    // A chain can be cancelled by its first run.
    let other = env.client.start::<Listen>(up_to(40)).await.unwrap();
    for number in 0..4 {
        other.signal(NUMBER, number).await.unwrap();
    }
    other.cancel().await.unwrap();
    assert!(other.result().await.unwrap_err().is_run_cancelled());
}

async fn watcher_of_a_view_follows_the_chain(env: Env) {
    env.run(env.worker().workflow::<Listen>());
    let run = env.client.start::<Listen>(up_to(7)).await.unwrap();
    let mut changes = run.watch(DONE);
    assert_eq!(changes.next().await.unwrap().unwrap(), 0);
    for next in [3, 6] {
        for number in 0..3 {
            run.signal(NUMBER, number).await.unwrap();
        }
        assert_eq!(changes.next().await.unwrap().unwrap(), next);
    }
    run.signal(NUMBER, 6).await.unwrap();
    assert!(changes.next().await.is_none());
}

async fn key_leads_to_the_current_run_of_its_chain(env: Env) {
    env.run(env.worker().workflow::<Listen>());
    let start = || env.client.start::<Listen>(up_to(5)).key("chain:1");
    let run = start().await.unwrap();
    for number in 0..4 {
        run.signal(NUMBER, number).await.unwrap();
    }
    eventually("the second run has begun", async || (run.view(DONE).await.unwrap() == Some(3)).then_some(()))
        .await;
    let again = start().with_signal(NUMBER, 4).await.unwrap();
    assert!(again.is_existing());
    assert_eq!(again.result().await.unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(run.describe().await.unwrap().key.as_deref(), Some("chain:1"));
}

async fn key_of_a_signal_is_recognised_by_the_runs_that_follow(env: Env) {
    env.run(env.worker().workflow::<Listen>());
    let run = env.client.start::<Listen>(up_to(4)).await.unwrap();
    run.signal(NUMBER, 1).key("paid").await.unwrap();
    for number in [2, 3] {
        run.signal(NUMBER, number).await.unwrap();
    }
    eventually("the second run has begun", async || (run.view(DONE).await.unwrap() == Some(3)).then_some(()))
        .await;
    run.signal(NUMBER, 1).key("paid").await.unwrap();
    run.signal(NUMBER, 4).await.unwrap();
    assert_eq!(run.result().await.unwrap(), [1, 2, 3, 4]);
}

async fn chain_goes_on_when_its_worker_is_killed(env: Env) {
    let worker = env.run_killable(|worker| worker.workflow::<Listen>()).await;
    let run = env.client.start::<Listen>(up_to(9)).await.unwrap();
    for number in 0..4 {
        run.signal(NUMBER, number).await.unwrap();
    }
    worker.kill().await;
    for number in 4..9 {
        run.signal(NUMBER, number).await.unwrap();
    }
    env.run(env.worker().workflow::<Listen>());
    assert_eq!(run.result().await.unwrap(), (0..9).collect::<Vec<_>>());
}

activity!(Undo, "undo", u32 => ());

fn undo() -> Undo {
    Undo(ActivityFn::new(|_, _| async { Ok(()) }))
}

workflow!(Stubborn, "stubborn", |ctx: Context, attempts: u32| -> WorkflowResult<u32> {
    ctx.on_failure::<Undo>(ctx.attempt());
    if ctx.attempt() < attempts {
        Err(std::io::Error::other(format!("attempt {}", ctx.attempt())))?;
    }
    Ok(ctx.attempt())
});

fn quickly() -> RetryPolicy {
    RetryPolicy::exponential().initial(Duration::from_millis(1)).delay_max(Duration::from_millis(2))
}

async fn run_that_fails_is_tried_again_after_its_compensations(env: Env) {
    env.run(env.worker().workflow::<Stubborn>().activity(undo()));
    let run = env.client.start::<Stubborn>(3).key("again").retry(quickly()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 3);
    let history = history_text(&run).await;
    assert!(history[history.len() - 2].starts_with("compensation.completed"), "{history:?}");
    assert!(history[history.len() - 1].starts_with("run.retried"), "{history:?}");
    let info = run.describe().await.unwrap();
    assert_eq!((info.chain.unwrap().number, info.key.as_deref()), (3, Some("again")));
}

async fn last_failure_is_that_of_the_chain(env: Env) {
    env.run(env.worker().workflow::<Stubborn>().activity(undo()));
    let run = env.client.start::<Stubborn>(9).retry(quickly().max_attempts(2)).await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_failed() && error.to_string().contains("attempt 2"), "{error}");
}

async fn run_that_waits_for_its_next_attempt_can_be_cancelled(env: Env) {
    env.run(env.worker().workflow::<Stubborn>().activity(undo()));
    let slowly =
        RetryPolicy::exponential().initial(Duration::from_secs(3600)).delay_max(Duration::from_secs(3600));
    let run = env.client.start::<Stubborn>(9).retry(slowly).await.unwrap();
    logged(&run, "run.retried", 1).await;
    assert!(!run.status().await.unwrap().is_over());
    run.cancel().await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_cancelled());
}

async fn continuation_that_is_not_allowed_stalls_the_run(env: Env) {
    workflow!(Strays, "strays", |ctx: Context, compensated: bool| -> WorkflowResult<()> {
        if compensated {
            ctx.on_failure::<Undo>(1);
            ctx.continue_as_new::<Strays>(false).await
        }
        ctx.continue_as_new::<Listen>(Heard::default()).await
    });

    env.run(env.worker().workflow::<Strays>().activity(undo()));
    for (compensated, why) in
        [(false, "a run continues as its own workflow"), (true, "compensations are registered")]
    {
        let run = env.client.start::<Strays>(compensated).await.unwrap();
        eventually("the run is stalled", async || {
            (run.status().await.unwrap() == RunStatus::Stalled).then_some(())
        })
        .await;
        let waiting_on = run.describe().await.unwrap().waiting_on.unwrap();
        assert!(waiting_on.contains(why), "{waiting_on}");
    }
}
