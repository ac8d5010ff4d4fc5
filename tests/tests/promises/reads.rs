//! Queries: what a run is doing, which runs there are, and their histories.

use futures::TryStreamExt;
use pgworkflows::RunId;
use pgworkflows::client::RunStatus;
use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows_tests::{Env, Gate, activity, assert_contains, eventually, promises, reached, workflow};

promises![
    describe_returns_the_status_of_a_run_from_its_start_to_its_end,
    describe_says_what_a_run_waits_for_and_where,
    outcome_can_be_read_without_the_workflows_type,
    list_returns_runs_by_workflow_and_status_newest_first,
    list_returns_every_run_once_page_by_page,
    history_holds_every_event_in_order_without_gaps,
    history_that_is_read_in_parts_is_complete,
    unknown_run_is_an_error_and_not_an_empty_answer,
    many_clients_can_wait_for_one_result,
    wait_for_a_result_can_be_dropped_and_repeated,
];

activity!(Hold, "hold", () => ());

const GO: Signal<String> = Signal::new("go");

workflow!(Work, "work", |ctx: Context, _input: ()| -> WorkflowResult<String> {
    ctx.activity::<Hold>(()).await?;
    ctx.wait_for(GO).await
});

workflow!(Quick, "quick", |_ctx: Context, number: u32| -> WorkflowResult<u32> {
    if number % 2 == 1 {
        return Err(WorkflowError::new("odd", "numbers must be even"));
    }
    Ok(number)
});

async fn describe_returns_the_status_of_a_run_from_its_start_to_its_end(env: Env) {
    let gate = Gate::closed();
    let run = env.client.start::<Work>(()).key("the-key").await.unwrap();
    reached(&run, RunStatus::Pending).await;
    env.run(env.worker().workflow::<Work>().activity(Hold(gate.waiting())));
    reached(&run, RunStatus::Running).await;
    gate.open();
    reached(&run, RunStatus::Waiting).await;
    run.signal(GO, "done".to_owned()).await.unwrap();
    let info = reached(&run, RunStatus::Completed).await;

    assert_eq!((info.run_id, &*info.workflow, info.key.as_deref()), (run.run_id(), "work", Some("the-key")));
    assert!(info.closed_at.unwrap() >= info.created_at);
    assert_eq!((info.waiting_on, info.wake_at), (None, None));
    assert!(info.undelivered.is_empty());
}

async fn describe_says_what_a_run_waits_for_and_where(env: Env) {
    workflow!(WaitForMuch, "wait-for-much", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        ctx.wait_for(GO).timeout(Duration::from_secs(3600)).await
    });

    env.run(env.worker().workflow::<WaitForMuch>());
    let run = env.client.start::<WaitForMuch>(()).await.unwrap();
    let waiting_on = eventually("it waits", async || run.describe().await.unwrap().waiting_on).await;
    assert_contains(waiting_on, &["signal `go` at", "reads.rs:", "timer until "]);
}

async fn outcome_can_be_read_without_the_workflows_type(env: Env) {
    env.run(env.worker().workflow::<Quick>());
    let even = env.client.start::<Quick>(2).await.unwrap();
    let odd = env.client.start::<Quick>(3).await.unwrap();
    assert_eq!(env.client.describe(even.run_id()).await.unwrap().run_id, even.run_id());
    assert_eq!(even.result().await.unwrap(), 2);
    odd.result().await.unwrap_err();
    let outcome = async |run: RunId| env.client.describe(run).await.unwrap().outcome().unwrap().unwrap();
    let Event::RunCompleted { result, .. } = outcome(even.run_id()).await else { panic!("it completed") };
    assert_eq!(format!("{result:?}"), "2");
    let Event::RunFailed { failure, .. } = outcome(odd.run_id()).await else { panic!("it failed") };
    assert_eq!(failure.type_name, "odd");
}

async fn list_returns_runs_by_workflow_and_status_newest_first(env: Env) {
    let mut quick = Vec::new();
    for number in 0..6 {
        quick.push(env.client.start::<Quick>(number).await.unwrap());
        // Run ids are ordered by the millisecond of the start.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let waits = env.client.start::<Work>(()).await.unwrap();
    let pending = env.client.list().status(RunStatus::Pending).await.unwrap();
    assert_eq!(pending.len(), 7);
    let gate = Gate::opened();
    let worker = env.worker().workflow::<Work>().workflow::<Quick>();
    env.run(worker.activity(Hold(gate.waiting())));
    for run in &quick {
        drop(run.result().await);
    }
    reached(&waits, RunStatus::Waiting).await;

    let ids =
        |runs: Vec<pgworkflows::client::RunInfo>| runs.into_iter().map(|run| run.run_id).collect::<Vec<_>>();
    let newest_first = |parity: usize| {
        let runs = quick.iter().skip(parity).step_by(2).rev();
        runs.map(pgworkflows::RunHandle::run_id).collect::<Vec<_>>()
    };
    let list = || env.client.list();
    assert_eq!(ids(list().status(RunStatus::Completed).await.unwrap()), newest_first(0));
    assert_eq!(ids(list().status(RunStatus::Failed).await.unwrap()), newest_first(1));
    assert_eq!(ids(list().open().await.unwrap()), [waits.run_id()]);
    assert_eq!(ids(list().status(RunStatus::Waiting).await.unwrap()), [waits.run_id()]);
    assert_eq!(ids(list().workflow("work").await.unwrap()), [waits.run_id()]);
    assert_eq!(list().workflow("quick").closed().await.unwrap().len(), 6);
    assert_eq!(list().workflow("no such").await.unwrap().len(), 0);
    assert_eq!(ids(list().await.unwrap())[0], waits.run_id());
}

async fn list_returns_every_run_once_page_by_page(env: Env) {
    let mut started = Vec::new();
    for number in 0..25 {
        started.push(env.client.start::<Quick>(number).await.unwrap().run_id());
    }
    started.sort();
    started.reverse();
    let listed: Vec<_> = env.client.list().limit(10).stream().try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|run| run.run_id).collect::<Vec<_>>(), started);
    let second = env.client.list().before(started[9]).limit(10).await.unwrap();
    assert_eq!(second.iter().map(|run| run.run_id).collect::<Vec<_>>(), started[10..20]);
}

async fn history_holds_every_event_in_order_without_gaps(env: Env) {
    let gate = Gate::opened();
    env.run(env.worker().workflow::<Work>().activity(Hold(gate.waiting())));
    let run = env.client.start::<Work>(()).await.unwrap();
    run.signal(GO, "done".to_owned()).key("once").await.unwrap();
    run.result().await.unwrap();

    let history = run.history().await.unwrap();
    let numbers: Vec<u32> = history.iter().map(|event| event.seq.get()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
    assert!(history.is_sorted_by_key(|event| event.at));
    let signal = history.iter().find_map(|event| match &event.event {
        Event::SignalReceived { payload, key, .. } => {
            Some((payload.decode::<String>().unwrap(), key.clone()))
        }
        _ => None,
    });
    assert_eq!(signal, Some(("done".to_owned(), Some("once".to_owned()))));
    assert!(matches!(history.last().unwrap().event, Event::RunCompleted { .. }));
}

async fn history_that_is_read_in_parts_is_complete(env: Env) {
    // Given a run with more than the 8 MiB that a store returns at once
    workflow!(Large, "large", |ctx: Context, count: u32| -> WorkflowResult<()> {
        for number in 0..count {
            let text = move || async move { Ok(number.to_string().repeat(1_900_000)) };
            ctx.step("text", text).await?;
        }
        Ok(())
    });
    env.run(env.worker().workflow::<Large>());
    let run = env.client.start::<Large>(5).await.unwrap();
    run.result().await.unwrap();

    // Then each of its events is read once
    let history = run.history().await.unwrap();
    let texts = history.iter().filter_map(|event| match &event.event {
        Event::StepCompleted { result, .. } => Some(result.decode::<String>().unwrap()),
        _ => None,
    });
    assert!(texts.eq((0..5).map(|number| number.to_string().repeat(1_900_000))));
    let numbers: Vec<u32> = history.iter().map(|event| event.seq.get()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
    assert!(matches!(history.last().unwrap().event, Event::RunCompleted { .. }));
}

async fn unknown_run_is_an_error_and_not_an_empty_answer(env: Env) {
    let run = env.client.start::<Quick>(2).await.unwrap();
    let unknown = RunId::new(run.run_id().born(), run.run_id().shard(), 0);
    let handle = env.client.handle::<Quick>(unknown);
    for error in [
        handle.describe().await.unwrap_err(),
        handle.history().await.unwrap_err(),
        handle.result().await.unwrap_err(),
        handle.signal(GO, String::new()).await.unwrap_err(),
        handle.cancel().await.unwrap_err(),
        handle.terminate("").await.unwrap_err(),
    ] {
        assert!(error.is_unknown_run(), "{error}");
        assert!(error.to_string().contains(&unknown.to_string()), "{error}");
    }
}

async fn many_clients_can_wait_for_one_result(env: Env) {
    let gate = Gate::closed();
    env.run(env.worker().workflow::<Work>().activity(Hold(gate.waiting())));
    let run = env.client.start::<Work>(()).await.unwrap();
    let other = pgworkflows::Client::new(env.store());
    let waits = (0..20).map(|number| {
        let client = if number % 2 == 0 { &env.client } else { &other };
        client.handle::<Work>(run.run_id()).result().into_future()
    });
    let ends = async {
        gate.open();
        run.signal(GO, "done".to_owned()).await.unwrap();
    };
    let (results, ()) = futures::join!(futures::future::join_all(waits), ends);
    assert!(results.into_iter().all(|result| result.unwrap() == "done"));
}

async fn wait_for_a_result_can_be_dropped_and_repeated(env: Env) {
    let gate = Gate::closed();
    env.run(env.worker().workflow::<Work>().activity(Hold(gate.waiting())));
    let run = env.client.start::<Work>(()).await.unwrap();
    let error = run.result().timeout(Duration::from_millis(30)).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(error.to_string().contains("30ms"), "{error}");
    drop(tokio::time::timeout(Duration::from_millis(30), run.result().into_future()).await);
    gate.open();
    run.signal(GO, "done".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "done");
}
