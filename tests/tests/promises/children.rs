//! Children: runs that a run starts, whose outcomes reach it, and which its end or its cancellation reaches.

use pgworkflows::client::{RunStatus, Wait};
use pgworkflows::prelude::*;
use pgworkflows::workflow::ChildPolicy;
use pgworkflows::{RunHandle, RunId};
use pgworkflows_tests::{Env, assert_contains, count, eventually, history_text, logged, promises, workflow};

promises![
    children_of_many_shards_and_processes_return_their_results,
    ten_thousand_children_of_one_parent_return_their_results,
    outcome_of_a_child_that_continues_as_new_reaches_its_parent,
    child_of_another_queue_runs_there_and_its_outcome_comes_back,
    child_of_a_queue_that_does_not_exist_fails_and_names_it,
    outcome_of_a_child_reaches_its_parent_once_although_both_workers_are_killed,
    failure_and_termination_of_a_child_are_errors_that_name_it,
    cancelled_parent_waits_for_its_child,
    parent_ends_after_the_child_that_it_holds,
    left_child_outlives_its_parent,
    child_with_a_key_is_bound_or_its_key_is_taken,
    run_that_would_be_its_own_ancestor_is_refused,
    parent_shows_what_it_waits_for_and_its_child_is_found,
    child_of_an_unknown_workflow_waits_for_its_worker,
];

const GO: Signal<u32> = Signal::new("go");

workflow!(Square, "square", |_ctx: Context, number: u64| -> WorkflowResult<u64> { Ok(number * number) });

workflow!(Squares, "squares", |ctx: Context, count: u64| -> WorkflowResult<u64> {
    let squares = ctx.when_all((0..count).map(|number| ctx.child::<Square>(number))).await?;
    Ok(squares.into_iter().sum())
});

workflow!(Waits, "waits", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
    let number = ctx.wait_for(GO).await?;
    if number == 0 {
        return Err(WorkflowError::new("nothing", "there is nothing"));
    }
    Ok(number)
});

workflow!(Asks, "asks", |ctx: Context, _input: ()| -> WorkflowResult<u32> { ctx.child::<Waits>(()).await });

workflow!(Keyed, "keyed", |ctx: Context, key: String| -> WorkflowResult<u32> {
    ctx.child::<Waits>(()).key(key).await
});

// Returns while it holds a child that waits.
workflow!(Leaves, "leaves", |ctx: Context, leave: bool| -> WorkflowResult<()> {
    let policy = if leave { ChildPolicy::Leave } else { ChildPolicy::default() };
    let _child = ctx.child::<Waits>(()).key("left").on_parent_end(policy).start();
    ctx.wait_for(GO).await?;
    Ok(())
});

/// The child that a run started by its only call.
async fn child_of<W: Workflow>(env: &Env, parent: &RunHandle<W>) -> RunId {
    logged(parent, "child.started", 1).await;
    let history = env.client.history(parent.run_id()).await.unwrap();
    let started = history.iter().find(|event| event.event.name() == "child.started").unwrap();
    let data = serde_json::to_value(&started.event).unwrap();
    data["data"]["child"].as_str().unwrap().parse().unwrap()
}

async fn children_of_many_shards_and_processes_return_their_results(env: Env) {
    let workers = [(); 2].map(|()| env.run(env.worker().workflow::<Squares>().workflow::<Square>()));
    let run = env.client.start::<Squares>(300).await.unwrap();
    assert_eq!(run.result().await.unwrap(), (0..300).map(|number| number * number).sum::<u64>());
    drop(workers);
}

async fn ten_thousand_children_of_one_parent_return_their_results(env: Env) {
    workflow!(Length, "length", |_ctx: Context, text: String| -> WorkflowResult<u64> {
        Ok(text.len() as u64)
    });
    workflow!(Lengths, "lengths", |ctx: Context, count: u32| -> WorkflowResult<u64> {
        let children = (0..count).map(|number| ctx.child::<Length>(format!("{number:>100}")));
        Ok(ctx.when_all(children).await?.into_iter().sum())
    });

    env.run(env.worker().workflow::<Lengths>().workflow::<Length>());
    let run = env.client.start::<Lengths>(10_000).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 1_000_000);
    assert_eq!(count(&run, "child.completed").await, 10_000);
}

async fn outcome_of_a_child_that_continues_as_new_reaches_its_parent(env: Env) {
    workflow!(CountsDown, "counts-down", |ctx: Context, left: u32| -> WorkflowResult<u32> {
        if left == 0 {
            return ctx.wait_for(GO).await;
        }
        ctx.continue_as_new::<CountsDown>(left - 1).await
    });
    workflow!(Counts, "counts", |ctx: Context, from: u32| -> WorkflowResult<u32> {
        ctx.child::<CountsDown>(from).await
    });

    env.run(env.worker().workflow::<Counts>().workflow::<CountsDown>());
    let parent = env.client.start::<Counts>(3).await.unwrap();
    let child = env.client.handle::<CountsDown>(child_of(&env, &parent).await);
    // Each run of the child's chain has the parent.
    let chain = eventually("the chain has four runs", async || {
        let runs = env.client.list().parent(parent.run_id()).await.unwrap();
        (runs.len() == 4).then_some(runs)
    })
    .await;
    assert!(chain.iter().all(|run| run.parent == Some(parent.run_id())));
    child.signal(GO, 9).await.unwrap();
    assert_eq!(parent.result().await.unwrap(), 9);

    // A request of the parent reaches the current run as well.
    let parent = env.client.start::<Counts>(3).await.unwrap();
    let child = env.client.handle::<CountsDown>(child_of(&env, &parent).await);
    parent.cancel().await.unwrap();
    assert!(parent.result().await.unwrap_err().is_run_cancelled());
    assert!(child.result().await.unwrap_err().is_run_cancelled());
}

async fn child_of_another_queue_runs_there_and_its_outcome_comes_back(env: Env) {
    workflow!(Sends, "sends", |ctx: Context, keyed: bool| -> WorkflowResult<u32> {
        let child = ctx.child::<Waits>(()).queue("elsewhere");
        if keyed { child.key("one").await } else { child.await }
    });

    // Given a parent whose worker does not know the workflow of its child, and a queue that is created after that worker began
    env.run(env.worker().workflow::<Sends>());
    let begun = env.client.start::<Sends>(false).await.unwrap();
    assert_contains(begun.result().await.unwrap_err().to_string(), &["unknown-queue"]);
    env.run(env.worker().queue("elsewhere").workflow::<Waits>());
    let queue = env.client.queue("elsewhere");
    eventually("the other worker has begun", async || queue.describe().await.ok()).await;
    for keyed in [false, true] {
        let parent = env.client.start::<Sends>(keyed).await.unwrap();
        let child = env.client.handle::<Waits>(child_of(&env, &parent).await);
        logged(&parent, "child.bound", usize::from(keyed)).await;
        logged(&child, "run.started", 1).await;
        assert_eq!(child.describe().await.unwrap().parent, Some(parent.run_id()));
        child.signal(GO, 6).await.unwrap();
        assert_eq!(parent.result().await.unwrap(), 6);
    }
}

async fn child_of_a_queue_that_does_not_exist_fails_and_names_it(env: Env) {
    workflow!(Strays, "strays-off", |ctx: Context, hold: bool| -> WorkflowResult<u32> {
        let child = ctx.child::<Waits>(()).queue("nowhere");
        if hold { child.start().await } else { child.await }
    });

    env.run(env.worker().workflow::<Strays>());
    for hold in [false, true] {
        let run = env.client.start::<Strays>(hold).await.unwrap();
        let error = run.result().await.unwrap_err();
        assert_contains(error.to_string(), &["`nowhere`", "unknown-queue", "child `waits`"]);
        let history = history_text(&run).await.join("\n");
        assert_contains(&history, &["queue.resolved", "run.failed"]);
        assert!(!history.contains("child.started"), "{history}");
    }
}

async fn outcome_of_a_child_reaches_its_parent_once_although_both_workers_are_killed(env: Env) {
    // Given a parent and a child whose worker is killed while both wait
    let first = env.run_killable(|worker| worker.workflow::<Asks>().workflow::<Waits>()).await;
    let parent = env.client.start::<Asks>(()).await.unwrap();
    let child = child_of(&env, &parent).await;
    first.kill().await;

    // When the child ends in another worker, which is killed as well
    let second = env.run_killable(|worker| worker.workflow::<Asks>().workflow::<Waits>()).await;
    let child = env.client.handle::<Waits>(child);
    child.signal(GO, 7).await.unwrap();
    child.result().await.unwrap();
    second.kill().await;

    // Then its parent has its outcome, once
    env.run(env.worker().workflow::<Asks>().workflow::<Waits>());
    assert_eq!(parent.result().await.unwrap(), 7);
    let history = history_text(&parent).await.join("\n");
    assert_eq!(history.matches("child.completed").count(), 1, "{history}");
}

async fn failure_and_termination_of_a_child_are_errors_that_name_it(env: Env) {
    env.run(env.worker().workflow::<Asks>().workflow::<Waits>());
    let failing = env.client.start::<Asks>(()).await.unwrap();
    let child = child_of(&env, &failing).await;
    env.client.signal(child, GO, 0).await.unwrap();
    let error = failing.result().await.unwrap_err();
    assert_contains(error.to_string(), &["child `waits` (run ", &child.to_string(), "(nothing)"]);

    let parent = env.client.start::<Asks>(()).await.unwrap();
    let child = child_of(&env, &parent).await;
    env.client.handle::<Waits>(child).terminate("enough").await.unwrap();
    let error = parent.result().await.unwrap_err();
    assert_contains(error.to_string(), &[&child.to_string(), "terminated: enough", "child-terminated"]);
}

async fn cancelled_parent_waits_for_its_child(env: Env) {
    env.run(env.worker().workflow::<Asks>().workflow::<Waits>());
    let parent = env.client.start::<Asks>(()).await.unwrap();
    let child = env.client.handle::<Waits>(child_of(&env, &parent).await);
    parent.cancel().await.unwrap();
    assert!(parent.result().await.unwrap_err().is_run_cancelled());
    assert_eq!(child.describe().await.unwrap().status, RunStatus::Cancelled);
}

async fn parent_ends_after_the_child_that_it_holds(env: Env) {
    env.run(env.worker().workflow::<Leaves>().workflow::<Waits>());
    let parent = env.client.start::<Leaves>(false).await.unwrap();
    let child = env.client.handle::<Waits>(child_of(&env, &parent).await);
    parent.signal(GO, 1).await.unwrap();
    parent.result().await.unwrap();
    assert_eq!(child.describe().await.unwrap().status, RunStatus::Cancelled);
    let history = history_text(&parent).await.join("\n");
    assert_contains(
        &history,
        &["child.bound", "child.cancelled", "run.ending", "child.failed", "run.completed"],
    );
}

async fn left_child_outlives_its_parent(env: Env) {
    env.run(env.worker().workflow::<Leaves>().workflow::<Waits>());
    let parent = env.client.start::<Leaves>(true).await.unwrap();
    let child = env.client.handle::<Waits>(child_of(&env, &parent).await);
    parent.signal(GO, 1).await.unwrap();
    parent.result().await.unwrap();
    child.signal(GO, 5).await.unwrap();
    assert_eq!(child.result().await.unwrap(), 5);
    assert!(parent.describe().await.unwrap().undelivered.is_empty());
}

async fn child_with_a_key_is_bound_or_its_key_is_taken(env: Env) {
    env.run(env.worker().workflow::<Keyed>().workflow::<Waits>());
    let parent = env.client.start::<Keyed>("mine".to_owned()).await.unwrap();
    logged(&parent, "child.bound", 1).await;
    let child = env.client.find::<Waits>("mine").await.unwrap().unwrap();

    // Another run asks for the same key.
    let other = env.client.start::<Keyed>("mine".to_owned()).await.unwrap();
    let error = other.result().await.unwrap_err().to_string();
    assert_contains(&error, &["key-taken", &child.run_id().to_string(), "`mine`"]);

    child.signal(GO, 3).await.unwrap();
    assert_eq!(parent.result().await.unwrap(), 3);
}

async fn run_that_would_be_its_own_ancestor_is_refused(env: Env) {
    // A run whose grandchild asks for its key.
    workflow!(Ouroboros, "ouroboros", |ctx: Context, depth: u32| -> WorkflowResult<u32> {
        let child = ctx.child::<Ouroboros>(depth.saturating_sub(1));
        if depth == 0 { child.key("tail").await } else { child.await }
    });

    env.run(env.worker().workflow::<Ouroboros>());
    let run = env.client.start::<Ouroboros>(2).key("tail").await.unwrap();
    let error = run.result().await.unwrap_err();
    assert_contains(error.to_string(), &["key-taken", &run.run_id().to_string()]);
}

async fn parent_shows_what_it_waits_for_and_its_child_is_found(env: Env) {
    env.run(env.worker().workflow::<Asks>().workflow::<Waits>());
    let parent = env.client.start::<Asks>(()).await.unwrap();
    let child = child_of(&env, &parent).await;
    let waits = eventually("it waits for its child", async || {
        let waits = parent.describe().await.unwrap().waits;
        waits.into_iter().next()
    })
    .await;
    let Wait::Child { workflow, run, .. } = &waits else { panic!("{waits:?}") };
    assert_eq!((workflow.as_str(), *run), ("waits", child));
    let child = env.client.handle::<Waits>(child);
    logged(&child, "run.started", 1).await;
    assert_eq!(child.describe().await.unwrap().parent, Some(parent.run_id()));
    assert_eq!(parent.describe().await.unwrap().parent, None);
    // Lists show it as well, and find the child by it.
    let children = env.client.list().parent(parent.run_id()).open().await.unwrap();
    let children: Vec<_> = children.into_iter().map(|run| (run.run_id, run.parent)).collect();
    assert_eq!(children, [(child.run_id(), Some(parent.run_id()))]);
    assert!(env.client.list().parent(child.run_id()).await.unwrap().is_empty());
}

async fn child_of_an_unknown_workflow_waits_for_its_worker(env: Env) {
    let first = env.run(env.worker().workflow::<Asks>());
    let parent = env.client.start::<Asks>(()).await.unwrap();
    let child = env.client.handle::<Waits>(child_of(&env, &parent).await);
    let status = child.describe().await.unwrap().status;
    assert_eq!(status, RunStatus::Pending);
    env.run(env.worker().workflow::<Asks>().workflow::<Waits>());
    first.stop().await;
    child.signal(GO, 4).await.unwrap();
    assert_eq!(parent.result().await.unwrap(), 4);
}
