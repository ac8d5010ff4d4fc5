//! Views: what a run shows of itself is durable, is read without waking the run, and needs no agreement with old histories.

use std::sync::LazyLock;

use pgworkflows::RunHandle;
use pgworkflows::prelude::*;
use pgworkflows_tests::{
    Env, Gate, activity, assert_contains, history_text, logged, promises, stall_reason, workflow,
};

promises![
    view_is_read_while_its_run_waits_and_after_its_end,
    published_value_outlives_the_worker_that_published_it,
    watch_returns_newer_values_and_ends_with_the_last_one,
    watch_of_a_run_that_is_over_returns_its_last_value,
    publishing_may_be_added_to_open_runs,
    view_of_a_run_that_was_terminated_is_kept,
    view_of_another_type_and_of_an_unknown_run_are_errors,
    value_that_is_too_large_stalls_the_run_and_nothing_is_lost,
    hundred_views_of_the_largest_size_are_published_at_once,
];

const STAGE: View<String> = View::new("stage");
const COUNT: View<u32> = View::new("count");
const GO: Signal<u32> = Signal::new("go");

activity!(Hold, "hold", () => ());

workflow!(Stages, "stages", |ctx: Context, (): ()| -> WorkflowResult<()> {
    ctx.publish(STAGE, &"waits".to_owned());
    let count = ctx.wait_for(GO).await?;
    ctx.publish(COUNT, &count);
    ctx.publish(STAGE, &"done".to_owned());
    Ok(())
});

/// A run that has published its first value and waits.
async fn waiting_run(env: &Env) -> RunHandle<Stages> {
    let run = env.client.start::<Stages>(()).await.unwrap();
    logged(&run, "view.published", 1).await;
    run
}

async fn view_is_read_while_its_run_waits_and_after_its_end(env: Env) {
    // Given a run that waits, and whose worker has stopped
    let worker = env.run(env.worker().workflow::<Stages>());
    let run = waiting_run(&env).await;
    worker.stop().await;
    let before = history_text(&run).await;

    // When its views are read
    assert_eq!(run.view(STAGE).await.unwrap().as_deref(), Some("waits"));
    assert_eq!(run.view(COUNT).await.unwrap(), None, "it has not been published");

    // Then nothing has happened to the run
    assert_eq!(history_text(&run).await, before);

    // And after its end, both views have what it published last, from any process
    env.run(env.worker().workflow::<Stages>());
    run.signal(GO, 7).await.unwrap();
    run.result().await.unwrap();
    let elsewhere = env.another_client().handle::<Stages>(run.run_id());
    assert_eq!(elsewhere.view(STAGE).await.unwrap().as_deref(), Some("done"));
    assert_eq!(elsewhere.view(COUNT).await.unwrap(), Some(7));
}

async fn published_value_outlives_the_worker_that_published_it(env: Env) {
    workflow!(Busy, "busy", |ctx: Context, (): ()| -> WorkflowResult<()> {
        ctx.publish(STAGE, &"works".to_owned());
        ctx.activity::<Hold>(()).await?;
        ctx.publish(STAGE, &"worked".to_owned());
        ctx.wait_for(GO).await?;
        Ok(())
    });
    // Given a run whose worker is killed after it has published a value
    let gate = Gate::closed();
    let held = gate.clone();
    let worker =
        env.run_killable(move |worker| worker.workflow::<Busy>().activity(Hold(held.waiting()))).await;
    let run = env.client.start::<Busy>(()).await.unwrap();
    logged(&run, "view.published", 1).await;
    worker.kill().await;
    assert_eq!(run.view(STAGE).await.unwrap().as_deref(), Some("works"));

    // When another worker replays it
    gate.open();
    env.run(env.worker().workflow::<Busy>().activity(Hold(gate.waiting())));
    run.signal(GO, 0).await.unwrap();
    run.result().await.unwrap();

    // Then what was published is not published again
    assert_eq!(run.view(STAGE).await.unwrap().as_deref(), Some("worked"));
    let history = history_text(&run).await;
    assert_eq!(history.iter().filter(|line| line.starts_with("view.published")).count(), 2, "{history:?}");
}

async fn watch_returns_newer_values_and_ends_with_the_last_one(env: Env) {
    workflow!(Counts, "counts", |ctx: Context, up_to: u32| -> WorkflowResult<()> {
        for count in 1..=up_to {
            ctx.wait_for(GO).await?;
            ctx.publish(COUNT, &count);
            ctx.publish(STAGE, &"counts".to_owned());
        }
        Ok(())
    });
    // Given somebody who watches a run that has not published anything yet
    env.run(env.worker().workflow::<Counts>());
    let run = env.client.start::<Counts>(30).await.unwrap();
    let mut changes = run.watch(COUNT);
    run.signal(GO, 0).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap(), 1);

    // When it publishes again and again, until its end
    let sending = async {
        for _ in 1..30 {
            run.signal(GO, 0).await.unwrap();
        }
    };
    let watching = async {
        let mut seen = Vec::new();
        while let Some(count) = changes.next().await {
            seen.push(count.unwrap());
        }
        seen
    };
    let ((), seen) = futures::future::join(sending, watching).await;

    // Then values may be skipped, but none comes twice or late, and the last one is returned before the stream ends
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    assert_eq!(seen.last(), Some(&30));
    assert!(changes.next().await.is_none(), "it has ended");
}

async fn watch_of_a_run_that_is_over_returns_its_last_value(env: Env) {
    let worker = env.run(env.worker().workflow::<Stages>());
    let run = env.client.start::<Stages>(()).await.unwrap();
    run.signal(GO, 7).await.unwrap();
    run.result().await.unwrap();
    worker.stop().await;
    let mut changes = run.watch(STAGE);
    assert_eq!(changes.next().await.unwrap().unwrap(), "done");
    assert!(changes.next().await.is_none());
    // And one that never published this view has no changes
    let mut none = run.watch(View::<u32>::new("never"));
    assert!(none.next().await.is_none());
}

async fn publishing_may_be_added_to_open_runs(env: Env) {
    workflow!(Silent, "stages", |ctx: Context, (): ()| -> WorkflowResult<()> {
        ctx.wait_for(GO).await?;
        Ok(())
    });
    // Given a run of code that published nothing
    let worker = env.run(env.worker().workflow::<Silent>());
    let run = env.client.start::<Silent>(()).await.unwrap();
    logged(&run, "run.started", 1).await;
    worker.stop().await;

    // When code that publishes replays it
    env.run(env.worker().workflow::<Stages>());
    run.signal(GO, 7).await.unwrap();
    run.result().await.unwrap();

    // Then the view has what was published after the replay, and the replayed part has logged nothing
    assert_eq!(run.view(STAGE).await.unwrap().as_deref(), Some("done"));
    let history = history_text(&run).await;
    let published: Vec<_> = history.iter().filter(|line| line.starts_with("view.published")).collect();
    assert_eq!(published, ["view.published count", "view.published stage"]);
}

async fn view_of_a_run_that_was_terminated_is_kept(env: Env) {
    env.run(env.worker().workflow::<Stages>());
    let run = waiting_run(&env).await;
    run.terminate("no longer needed").await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_terminated());
    assert_eq!(run.view(STAGE).await.unwrap().as_deref(), Some("waits"));
}

async fn view_of_another_type_and_of_an_unknown_run_are_errors(env: Env) {
    env.run(env.worker().workflow::<Stages>());
    let run = waiting_run(&env).await;

    // A view of another type
    let error = run.view(View::<u32>::new("stage")).await.unwrap_err();
    assert!(error.is_payload(), "{error}");
    assert_contains(&error, &[&format!("view `stage` of run {}", run.run_id()), "u32"]);
    let error = run.watch(View::<u32>::new("stage")).next().await.unwrap().unwrap_err();
    assert!(error.is_payload(), "{error}");

    // A name that no view can have
    let error = run.view(View::<u32>::new("")).await.unwrap_err();
    assert!(error.is_invalid(), "{error}");

    // A run that does not exist
    let unknown = env.client.handle::<Stages>(pgworkflows::RunId::from_u128(7));
    let error = unknown.view(STAGE).await.unwrap_err();
    assert!(error.is_unknown_run(), "{error}");
    let error = unknown.watch(STAGE).next().await.unwrap().unwrap_err();
    assert!(error.is_unknown_run(), "{error}");
}

async fn value_that_is_too_large_stalls_the_run_and_nothing_is_lost(env: Env) {
    workflow!(TooLarge, "stages", |ctx: Context, (): ()| -> WorkflowResult<()> {
        ctx.publish(STAGE, &"waits".to_owned());
        ctx.wait_for(GO).await?;
        ctx.publish(STAGE, &"x".repeat(70_000));
        Ok(())
    });
    // Given a run whose code publishes more than a view may have
    let worker = env.run(env.worker().workflow::<TooLarge>());
    let run = env.client.start::<TooLarge>(()).await.unwrap();
    run.signal(GO, 7).await.unwrap();
    let reason = stall_reason(&run).await;
    assert_contains(reason, &["view `stage` at ", "the limit is 65536"]);
    assert_eq!(run.view(STAGE).await.unwrap().as_deref(), Some("waits"));
    worker.stop().await;

    // When code is deployed that publishes less
    env.run(env.worker().workflow::<Stages>());

    // Then the run goes on
    run.result().await.unwrap();
    assert_eq!(run.view(STAGE).await.unwrap().as_deref(), Some("done"));
}

/// As many views as one poll may publish, with names and values that a database does not hold as they are.
fn gallery() -> impl Iterator<Item = (View<String>, String)> {
    static NAMES: LazyLock<Vec<String>> =
        LazyLock::new(|| (0..100).map(|number| format!("bild \"{number}\" \\ 画 🏦")).collect());
    // As many bytes as a view may have, with the three that CBOR puts before the text.
    NAMES
        .iter()
        .enumerate()
        .map(|(number, name)| (View::new(name), format!("{number:04}\0ö{}", "x".repeat((64 << 10) - 3 - 7))))
}

async fn hundred_views_of_the_largest_size_are_published_at_once(env: Env) {
    workflow!(Gallery, "gallery", |ctx: Context, (): ()| -> WorkflowResult<()> {
        gallery().for_each(|(view, value)| ctx.publish(view, &value));
        ctx.wait_for(GO).await?;
        gallery().for_each(|(view, value)| ctx.publish(view, &value));
        Ok(())
    });
    env.run(env.worker().workflow::<Gallery>());
    let run = env.client.start::<Gallery>(()).await.unwrap();
    logged(&run, "view.published", 100).await;
    let are_shown = async || {
        for (view, value) in gallery() {
            assert!(run.view(view).await.unwrap() == Some(value), "{view:?}");
        }
    };
    are_shown().await;
    run.signal(GO, 0).await.unwrap();
    run.result().await.unwrap();
    are_shown().await;
    logged(&run, "view.published", 200).await;
}
