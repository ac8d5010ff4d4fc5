//! What tools and web handlers need of a client: waits as data, results without waiting, JSON, and requests to retry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use pgworkflows::RunHandle;
use pgworkflows::client::{Json, RunStatus, Wait};
use pgworkflows::error::ErrorKind;
use pgworkflows::prelude::*;
use pgworkflows_tests::{
    ActivityFn, Env, Gate, activity, assert_contains, eventually, history_text, promises, reached,
    stall_reason, workflow,
};
use serde_json::json;

promises![
    run_says_as_data_what_it_waits_for_and_where,
    running_run_says_which_activity_is_under_way,
    attempt_in_back_off_says_when_it_begins_and_retry_now_begins_it_at_once,
    retry_now_without_a_back_off_changes_nothing,
    retry_now_of_a_run_that_is_over_or_unknown_is_an_error,
    result_that_is_not_there_yet_is_none,
    requests_are_futures_that_macros_join,
    run_is_started_signalled_and_read_by_name_in_json,
    views_updates_and_broadcasts_work_by_name_in_json,
    json_that_does_not_fit_is_refused_where_the_type_is_known_and_stalls_its_run_elsewhere,
    what_a_client_reads_can_be_returned_as_json,
];

const GO: Signal<u32> = Signal::new("go");

activity!(Hold, "hold", () => ());
activity!(Charge, "charge", u32 => u32);

workflow!(WaitForMuch, "wait-for-much", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
    ctx.wait_for(GO).timeout(Duration::from_secs(3600)).await
});

workflow!(HoldOn, "hold-on", |ctx: Context, _input: ()| -> WorkflowResult<()> {
    ctx.activity::<Hold>(()).await
});

workflow!(Pay, "pay", |ctx: Context, cents: u32| -> WorkflowResult<u32> {
    let patient = RetryPolicy::exponential()
        .initial(Duration::from_secs(86_400))
        .delay_max(Duration::from_secs(86_400));
    ctx.activity::<Charge>(cents).retry(patient).await
});

#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    items: Vec<Item>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Item {
    count: u32,
}

workflow!(Sum, "sum", |ctx: Context, order: Order| -> WorkflowResult<(u32, u32)> {
    let extra = ctx.wait_for(GO).await?;
    Ok((order.items.iter().map(|item| item.count).sum(), extra))
});

async fn run_says_as_data_what_it_waits_for_and_where(env: Env) {
    env.run(env.worker().workflow::<WaitForMuch>());
    let run = env.client.start::<WaitForMuch>(()).await.unwrap();
    reached(&run, RunStatus::Waiting).await;
    let info = run.describe().await.unwrap();
    let [Wait::Signal { name, source: Some(source), .. }, Wait::Timer { until, .. }] = &info.waits[..] else {
        panic!("{:?}", info.waits)
    };
    assert_eq!((name.as_str(), Some(*until)), ("go", info.wake_at));
    assert_contains(source, &["clients.rs:"]);
    // And a list says the same, which reads no history
    let listed = env.client.list().workflow("wait-for-much").await.unwrap();
    assert_eq!(listed[0].waits, info.waits);
}

async fn running_run_says_which_activity_is_under_way(env: Env) {
    let gate = Gate::closed();
    env.run(env.worker().workflow::<HoldOn>().activity(Hold(gate.waiting())));
    let run = env.client.start::<HoldOn>(()).await.unwrap();
    let waits = eventually("the activity is scheduled", async || {
        Some(run.describe().await.unwrap().waits).filter(|waits| !waits.is_empty())
    })
    .await;
    assert!(
        matches!(&waits[..], [Wait::Activity { name, attempt: 1, again_at: None, .. }] if name == "hold")
    );
    gate.open();
    run.result().await.unwrap();
    assert!(run.describe().await.unwrap().waits.is_empty());
}

/// An activity that fails until it is mended, and counts its attempts.
fn mendable() -> (Charge, Arc<AtomicBool>, Arc<AtomicU32>) {
    let (mended, attempts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let state = (Arc::clone(&mended), Arc::clone(&attempts));
    let charge = Charge(ActivityFn::with(state, |(mended, attempts), _, cents| async move {
        attempts.fetch_add(1, SeqCst);
        if mended.load(SeqCst) {
            Ok(cents)
        } else {
            Err(ActivityError::new("bank-down", "come back tomorrow"))
        }
    }));
    (charge, mended, attempts)
}

async fn requests_to_retry<W: Workflow>(run: &RunHandle<W>) -> usize {
    history_text(run).await.iter().filter(|line| line.contains("retry.requested")).count()
}

async fn attempt_in_back_off_says_when_it_begins_and_retry_now_begins_it_at_once(env: Env) {
    // Given an attempt that waits for about a day
    let (charge, mended, attempts) = mendable();
    env.run(env.worker().workflow::<Pay>().activity(charge));
    let run = env.client.start::<Pay>(500).await.unwrap();
    let in_back_off = async |attempt: u32| {
        eventually("it is in back-off", async || {
            let info = run.describe().await.unwrap();
            let [Wait::Activity { attempt: next, again_at: Some(at), last_failure: Some(why), .. }] =
                &info.waits[..]
            else {
                return None;
            };
            assert_contains(why, &["come back tomorrow", "bank-down"]);
            // While its row says nothing, the waits are read from the history, which may be newer than the row.
            (*next == attempt && Some(*at) == info.wake_at).then_some(())
        })
        .await;
    };
    in_back_off(2).await;
    // When somebody asks for it to begin, then it begins, and fails again
    run.retry_now().await.unwrap();
    in_back_off(3).await;
    assert_eq!(attempts.load(SeqCst), 2);
    // When the cause is mended and somebody asks again, then the run goes on
    mended.store(true, SeqCst);
    env.client.retry_now(run.run_id()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 500);
    assert_eq!(requests_to_retry(&run).await, 2);
    assert_eq!(attempts.load(SeqCst), 3);
}

async fn retry_now_without_a_back_off_changes_nothing(env: Env) {
    env.run(env.worker().workflow::<WaitForMuch>());
    let run = env.client.start::<WaitForMuch>(()).await.unwrap();
    reached(&run, RunStatus::Waiting).await;
    run.retry_now().await.unwrap();
    run.signal(GO, 7).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 7);
    assert_eq!(requests_to_retry(&run).await, 0);
}

async fn retry_now_of_a_run_that_is_over_or_unknown_is_an_error(env: Env) {
    let (charge, mended, _) = mendable();
    mended.store(true, SeqCst);
    env.run(env.worker().workflow::<Pay>().activity(charge));
    let run = env.client.start::<Pay>(1).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(run.retry_now().await.unwrap_err().kind(), ErrorKind::RunOver);
    let unknown = "0190b2c8-0000-7000-8000-000000000000".parse().unwrap();
    assert_eq!(env.client.retry_now(unknown).await.unwrap_err().kind(), ErrorKind::UnknownRun);
}

async fn result_that_is_not_there_yet_is_none(env: Env) {
    let run = env.client.start::<WaitForMuch>(()).await.unwrap();
    assert_eq!(run.try_result().await.unwrap(), None);
    env.run(env.worker().workflow::<WaitForMuch>());
    run.signal(GO, 7).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(run.try_result().await.unwrap(), Some(7));
    // And the errors of a result are those that a wait returns
    let failed = env.client.start::<WaitForMuch>(()).await.unwrap();
    failed.terminate("enough").await.unwrap();
    failed.result().await.unwrap_err();
    assert_eq!(failed.try_result().await.unwrap_err().kind(), ErrorKind::RunTerminated);
    let other = failed.as_type::<Pay>().try_result().await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Invalid, "{other}");
}

async fn requests_are_futures_that_macros_join(env: Env) {
    env.run(env.worker().workflow::<WaitForMuch>());
    let (one, other) = futures::try_join!(
        env.client.start::<WaitForMuch>(()),
        env.client.start::<WaitForMuch>(()).key("other")
    )
    .unwrap();
    futures::try_join!(one.signal(GO, 1), other.signal(GO, 2).key("two")).unwrap();
    let wait = Duration::from_secs(60);
    assert_eq!(futures::join!(one.result().timeout(wait), other.result()).0.unwrap(), 1);
}

async fn run_is_started_signalled_and_read_by_name_in_json(env: Env) {
    // Given a client that knows names alone
    env.run(env.worker().workflow::<Sum>());
    let order = json!({"items": [{"count": 2}, {"count": 3}]});
    let run = env.client.start_named("sum", order).key("order:7").await.unwrap();
    run.signal_named("go", json!(7)).await.unwrap();
    // Then its result is JSON
    assert_eq!(run.as_type::<Json>().result().await.unwrap(), json!([5, 7]));
    let found = env.client.find_named("sum", "order:7").await.unwrap().unwrap();
    assert_eq!(found.as_type::<Json>().try_result().await.unwrap(), Some(json!([5, 7])));
    assert_eq!(found.as_type::<Sum>().result().await.unwrap(), (5, 7));
    assert!(env.client.find_named("sum", "order:8").await.unwrap().is_none());
}

workflow!(Till, "till", |ctx: Context, sum: u32| -> WorkflowResult<u32> {
    ctx.publish(View::new("sum"), &[sum]);
    let (number, answer) = ctx.wait_for_update(Update::<u32, [u32; 1]>::new("add")).await?;
    answer.send([sum + number]);
    Ok(sum + number + ctx.wait_for(GO).await?)
});

async fn views_updates_and_broadcasts_work_by_name_in_json(env: Env) {
    // Given a client that knows names alone
    env.run(env.worker().workflow::<Till>());
    let run = env.client.start_named("till", json!(40)).key("till:7").await.unwrap();
    reached(&run.as_type::<Till>(), RunStatus::Waiting).await;
    // When it reads a view, sends an update and broadcasts a signal, then what it gets is JSON
    let sum = run.view_named("sum").await.unwrap().unwrap();
    assert_eq!(sum.to_json().unwrap(), json!([40]));
    assert!(run.view_named("difference").await.unwrap().is_none());
    assert_eq!(run.view_named("").await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(run.update_named("add", json!(2)).key("click:1").await.unwrap(), json!([42]));
    assert_eq!(run.update_named("add", json!(3)).key("click:1").await.unwrap(), json!([42]));
    assert_eq!(
        env.client.broadcast_named("till", "go", json!(1)).key_prefix("till:").all().await.unwrap(),
        1
    );
    assert_eq!(run.as_type::<Json>().result().await.unwrap(), json!(43));
    assert_eq!(run.view_named("sum").await.unwrap(), Some(sum));
    // And a run that waits for the update refuses a request of another type
    let run = env.client.start_named("till", json!(40)).await.unwrap();
    reached(&run.as_type::<Till>(), RunStatus::Waiting).await;
    let error = run.update_named("add", json!({"of": 2})).await.unwrap_err();
    assert!(error.is_update_refused(), "{error}");
    assert_contains(error.to_string(), &["update `add`", "expected u32"]);
}

async fn json_that_does_not_fit_is_refused_where_the_type_is_known_and_stalls_its_run_elsewhere(env: Env) {
    env.run(env.worker().workflow::<Sum>());
    let wrong = || json!({"items": [{"count": 2}, {"count": "three"}]});
    // When the client was told the types, then nothing is sent
    let told = pgworkflows::Client::builder(env.store()).workflow::<Sum>().signal(GO).build().unwrap();
    let error = told.start_named("sum", wrong()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Payload);
    assert_contains(error.to_string(), &["the input of workflow `sum`", "`items[1].count`"]);
    assert!(env.client.list().workflow("sum").await.unwrap().is_empty());
    // When it was not, then the run stalls, and says where the input does not fit
    let run = env.client.start_named("sum", wrong()).await.unwrap().as_type::<Sum>();
    assert_contains(stall_reason(&run).await, &["`items[1].count`"]);
    // And so it is with signals
    let error = told.signal_named(run.run_id(), "go", json!({"of": 7})).await.unwrap_err();
    assert_contains(error.to_string(), &["the content of signal `go`", "expected u32"]);
    let right = told.start_named("sum", json!({"items": []})).await.unwrap().as_type::<Sum>();
    env.client.signal_named(right.run_id(), "go", json!({"of": 7})).await.unwrap();
    assert_contains(stall_reason(&right).await, &["expected u32"]);
}

async fn what_a_client_reads_can_be_returned_as_json(env: Env) {
    env.run(env.worker().workflow::<WaitForMuch>());
    let run = env.client.start::<WaitForMuch>(()).key("web:1").await.unwrap();
    reached(&run, RunStatus::Waiting).await;
    let info = serde_json::to_value(run.describe().await.unwrap()).unwrap();
    assert_eq!(info["run_id"], run.run_id().to_string());
    assert_eq!((&info["status"], &info["key"]), (&json!("waiting"), &json!("web:1")));
    assert_eq!((&info["waits"][0]["kind"], &info["waits"][0]["name"]), (&json!("signal"), &json!("go")));
    assert_eq!(info["waits"][1]["kind"], "timer");
    run.signal(GO, 7).await.unwrap();
    run.result().await.unwrap();
    let info = serde_json::to_value(run.describe().await.unwrap()).unwrap();
    assert_eq!((&info["status"], &info["waits"]), (&json!("completed"), &json!([])));
    assert_eq!(info["outcome"], json!({"name": "run.completed", "data": {"result": 7}}));
    let events = serde_json::to_value(run.history().await.unwrap()).unwrap();
    assert_eq!((&events[0]["seq"], &events[0]["name"]), (&json!(1), &json!("run.started")));
    assert_eq!(events[0]["data"]["workflow"], "wait-for-much");
}
