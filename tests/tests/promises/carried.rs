//! Children that a run carries along when it continues as new: the run that goes on gets their outcomes.

use pgworkflows::client::{RunStatus, Wait};
use pgworkflows::prelude::*;
use pgworkflows::workflow::{Carried, ChildPolicy};
use pgworkflows::{RunHandle, RunId};
use pgworkflows_tests::{Env, assert_contains, eventually, history_text, logged, promises, workflow};

promises![
    outcome_of_a_carried_child_reaches_the_run_that_goes_on_whenever_it_ends,
    carried_child_reaches_its_parent_once_although_the_workers_of_both_are_killed,
    carried_child_of_another_queue_or_with_a_key_comes_back,
    child_that_was_not_carried_is_a_failure_that_names_it,
    carried_child_is_one_of_the_run_that_has_it,
    thousand_carried_children_go_along,
];

const GO: Signal<u32> = Signal::new("go");

workflow!(Leaf, "leaf", |ctx: Context, _input: ()| -> WorkflowResult<u32> { ctx.wait_for(GO).await });

/// How a chain starts its child, and whether it has done so.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Leg {
    round: u32,
    key: Option<String>,
    queue: Option<String>,
    child: Option<Carried<Leaf>>,
}

// Starts a child in its first run, continues at a signal, and waits for the child in the third.
workflow!(Relay, "relay", |ctx: Context, leg: Leg| -> WorkflowResult<u32> {
    let mut leg = leg;
    let child = leg.child.unwrap_or_else(|| {
        let mut child = ctx.child::<Leaf>(()).key(leg.key.clone());
        if let Some(queue) = leg.queue.clone() {
            child = child.queue(queue);
        }
        child.start().carry()
    });
    if leg.round == 2 {
        return ctx.carried::<Leaf>(child).await;
    }
    ctx.wait_for(GO).await?;
    leg.round += 1;
    leg.child = Some(child);
    ctx.continue_as_new::<Relay>(leg).await
});

/// The child that the first run of a chain started.
async fn child_of(env: &Env, first: &RunHandle<Relay>) -> RunHandle<Leaf> {
    logged(first, "child.started", 1).await;
    let history = env.client.history(first.run_id()).await.unwrap();
    let started = history.iter().find(|event| event.event.name() == "child.started").unwrap();
    let data = serde_json::to_value(&started.event).unwrap();
    env.client.handle::<Leaf>(data["data"]["child"].as_str().unwrap().parse::<RunId>().unwrap())
}

/// Has a chain go on to its next run, and returns that.
async fn go_on(env: &Env, first: &RunHandle<Relay>, number: u32) -> RunHandle<Relay> {
    first.signal(GO, 0).await.unwrap();
    let run = eventually("the chain goes on", async || {
        let info = first.describe().await.unwrap();
        info.chain.filter(|chain| chain.number == number).map(|_| info.run_id)
    })
    .await;
    env.client.handle::<Relay>(run)
}

async fn outcome_of_a_carried_child_reaches_the_run_that_goes_on_whenever_it_ends(env: Env) {
    env.run(env.worker().workflow::<Relay>().workflow::<Leaf>());
    for ends_in in 0..3 {
        let first = env.client.start::<Relay>(Leg::default()).await.unwrap();
        let child = child_of(&env, &first).await;
        let mut last = first.clone();
        for round in 0..3 {
            if round == ends_in {
                child.signal(GO, 7).await.unwrap();
                child.result().await.unwrap();
            }
            if round < 2 {
                last = go_on(&env, &first, round + 2).await;
            }
        }
        assert_eq!(first.result().await.unwrap(), 7);
        let history = history_text(&last).await.join("\n");
        assert_contains(&history, &["run.started\nchild.carried\n", "run.completed"]);
        assert_eq!(history.matches("child.completed").count(), 1, "{history}");
        assert_eq!(child.describe().await.unwrap().status, RunStatus::Completed);
    }
}

async fn carried_child_reaches_its_parent_once_although_the_workers_of_both_are_killed(env: Env) {
    let killable = async || env.run_killable(|worker| worker.workflow::<Relay>().workflow::<Leaf>()).await;
    let mut worker = killable().await;
    let first = env.client.start::<Relay>(Leg::default()).await.unwrap();
    let child = child_of(&env, &first).await;
    let mut last = first.clone();
    for number in 2..=3 {
        last = go_on(&env, &first, number).await;
        worker.kill().await;
        worker = killable().await;
    }
    child.signal(GO, 9).await.unwrap();
    child.result().await.unwrap();
    worker.kill().await;
    env.run(env.worker().workflow::<Relay>().workflow::<Leaf>());
    assert_eq!(first.result().await.unwrap(), 9);
    let history = history_text(&last).await.join("\n");
    assert_eq!(history.matches("child.completed").count(), 1, "{history}");
}

async fn carried_child_of_another_queue_or_with_a_key_comes_back(env: Env) {
    env.run(env.worker().queue("elsewhere").workflow::<Leaf>());
    let queue = env.client.queue("elsewhere");
    eventually("the other worker has begun", async || queue.describe().await.ok()).await;
    env.run(env.worker().workflow::<Relay>());
    for key in [None, Some("one".to_owned())] {
        let leg = Leg { key: key.clone(), queue: Some("elsewhere".to_owned()), ..Leg::default() };
        let first = env.client.start::<Relay>(leg).await.unwrap();
        // It goes on at once, maybe before the child with a key is bound.
        for _ in 0..2 {
            first.signal(GO, 0).await.unwrap();
        }
        let child = child_of(&env, &first).await;
        // One with a key is started after the event.
        eventually("the child exists", async || child.describe().await.ok()).await;
        child.signal(GO, 6).await.unwrap();
        assert_eq!(first.result().await.unwrap(), 6);
        assert_eq!(child.describe().await.unwrap().key, key);
    }
}

async fn child_that_was_not_carried_is_a_failure_that_names_it(env: Env) {
    env.run(env.worker().workflow::<Relay>().workflow::<Leaf>());
    let mine = env.client.start::<Relay>(Leg::default()).await.unwrap();
    let child = child_of(&env, &mine).await;
    // The child of another run, and one that never was.
    let stolen: Carried<Leaf> = serde_json::from_value(serde_json::json!(child.run_id())).unwrap();
    let nobody: Carried<Leaf> = serde_json::from_value(serde_json::json!(mine.run_id())).unwrap();
    for carried in [stolen, nobody] {
        let leg = Leg { round: 2, child: Some(carried), ..Leg::default() };
        let other = env.client.start::<Relay>(leg).await.unwrap();
        let error = other.result().await.unwrap_err();
        assert!(error.is_run_failed(), "{error}");
        assert_contains(error.to_string(), &["unknown-child", &carried.id().to_string()]);
    }
    child.signal(GO, 1).await.unwrap();
    go_on(&env, &mine, 2).await;
    go_on(&env, &mine, 3).await;
    assert_eq!(mine.result().await.unwrap(), 1);
}

async fn carried_child_is_one_of_the_run_that_has_it(env: Env) {
    env.run(env.worker().workflow::<Relay>().workflow::<Leaf>());
    let first = env.client.start::<Relay>(Leg::default()).await.unwrap();
    let child = child_of(&env, &first).await;
    go_on(&env, &first, 2).await;
    let last = go_on(&env, &first, 3).await;
    let waits = eventually("the last run waits for the child", async || {
        let waits = last.describe().await.unwrap().waits;
        waits.into_iter().next()
    })
    .await;
    let Wait::Child { workflow, run, .. } = &waits else { panic!("{waits:?}") };
    assert_eq!((workflow.as_str(), *run), ("leaf", child.run_id()));
    // The parent that its rows name is the run that started it, whose chain leads to the last.
    let parent = child.describe().await.unwrap().parent.unwrap();
    assert_eq!(parent, first.run_id());

    // A request to cancel the chain reaches it, and a chain that ends without it asks it.
    first.cancel().await.unwrap();
    assert!(first.result().await.unwrap_err().is_run_cancelled());
    assert_eq!(child.describe().await.unwrap().status, RunStatus::Cancelled);
    let first = env.client.start::<Relay>(Leg::default()).await.unwrap();
    let child = child_of(&env, &first).await;
    go_on(&env, &first, 2).await;
    first.cancel().await.unwrap();
    assert!(first.result().await.unwrap_err().is_run_cancelled());
    assert_eq!(child.describe().await.unwrap().status, RunStatus::Cancelled);
}

async fn thousand_carried_children_go_along(env: Env) {
    workflow!(Square, "square", |_ctx: Context, number: u64| -> WorkflowResult<u64> { Ok(number * number) });
    workflow!(Squares, "squares", |ctx: Context, carried: Vec<Carried<Square>>| -> WorkflowResult<u64> {
        if carried.is_empty() {
            let children = (0..1_000)
                .map(|number| ctx.child::<Square>(number).on_parent_end(ChildPolicy::Leave).start().carry());
            ctx.continue_as_new::<Squares>(children.collect()).await;
        }
        let squares = carried.into_iter().map(|carried| ctx.carried::<Square>(carried));
        Ok(ctx.when_all(squares).await?.into_iter().sum())
    });

    env.run(env.worker().workflow::<Squares>().workflow::<Square>());
    let run = env.client.start::<Squares>(Vec::new()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), (0..1_000).map(|number| number * number).sum::<u64>());
}
