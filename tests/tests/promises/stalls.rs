//! Stalls: a run whose code cannot continue stalls with a diagnosis, loses nothing, and resumes under code that can.

use std::sync::atomic::{AtomicBool, Ordering};

use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_tests::{
    ActivityFn, Env, Journal, activity, assert_contains, count, history_text, logged, logs, promises,
    reached, stall_reason, workflow,
};

promises![
    run_of_an_unknown_workflow_waits_for_a_worker_that_knows_it_and_is_logged,
    unknown_activity_waits_for_a_worker_that_knows_it_and_is_logged,
    input_that_cannot_be_decoded_stalls_the_run,
    result_of_an_activity_that_cannot_be_decoded_stalls_the_run,
    signal_that_cannot_be_decoded_stalls_the_run,
    panic_in_a_workflow_stalls_it,
    calls_of_a_poll_that_panics_are_not_executed,
    tokio_timeout_around_a_durable_call_stalls_the_run,
    workflow_that_a_channel_wakes_stalls,
    workflow_that_never_yields_is_named_and_other_runs_continue,
    history_over_its_limit_is_logged_and_stalls_its_run,
];

activity!(Note, "note", String => ());

const GO: Signal<String> = Signal::new("go");

workflow!(Greet, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
    ctx.activity::<Note>(name.clone()).await?;
    let word = ctx.wait_for(GO).await?;
    Ok(format!("{word}, {name}."))
});

fn equip(worker: WorkerBuilder, journal: &Journal) -> WorkerBuilder {
    worker.activity(Note(journal.noting()))
}

async fn run_of_an_unknown_workflow_waits_for_a_worker_that_knows_it_and_is_logged(env: Env) {
    // Given a worker that knows nothing, and a run with a signal
    let logs = logs();
    let journal = Journal::default();
    let unaware = env.run(equip(env.worker(), &journal));
    let run = env.client.start::<Greet>("Ada".to_owned()).await.unwrap();
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    logs.wait_for(&[&run.run_id().to_string(), "no workflow of this name", "greet"]).await;
    assert_eq!(run.status().await.unwrap(), RunStatus::Pending);
    unaware.stop().await;

    // When a worker starts that knows it
    env.run(equip(env.worker().workflow::<Greet>(), &journal));

    // Then nothing was lost
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
}

async fn unknown_activity_waits_for_a_worker_that_knows_it_and_is_logged(env: Env) {
    let logs = logs();
    let journal = Journal::default();
    let unaware = env.run(env.worker().workflow::<Greet>());
    let run = env.client.start::<Greet>("Ada".to_owned()).await.unwrap();
    logs.wait_for(&[&run.run_id().to_string(), "no activity of this name", "note"]).await;
    logged(&run, "activity.scheduled", 1).await;
    reached(&run, RunStatus::Waiting).await;
    unaware.stop().await;

    env.run(equip(env.worker().workflow::<Greet>(), &journal));
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
    assert_eq!(journal.lines(), ["Ada"]);
}

async fn input_that_cannot_be_decoded_stalls_the_run(env: Env) {
    workflow!(WantsANumber, "greet", |_ctx: Context, _number: u64| -> WorkflowResult<String> {
        Ok(String::new())
    });

    let journal = Journal::default();
    let wrong = env.run(equip(env.worker().workflow::<WantsANumber>(), &journal));
    let run = env.client.start::<Greet>("Ada".to_owned()).await.unwrap();
    assert_contains(
        stall_reason(&run).await,
        &["the input of workflow `greet`", "u64", "deploy code that can read it"],
    );
    assert_eq!(history_text(&run).await, ["run.stalled", "run.started"]);
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    wrong.stop().await;

    env.run(equip(env.worker().workflow::<Greet>(), &journal));
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
}

async fn result_of_an_activity_that_cannot_be_decoded_stalls_the_run(env: Env) {
    activity!(Number, "note", String => u64);
    workflow!(Tolerant, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
        Ok(ctx.activity::<Number>(name).await?.to_string())
    });

    // Given a worker whose activity returns another type than the workflow expects
    let wrong = Number(ActivityFn::new(|_, _| async { Ok(7) }));
    let wrong = env.run(env.worker().workflow::<Greet>().activity(wrong));
    let run = env.client.start::<Greet>("Ada".to_owned()).await.unwrap();
    assert_contains(
        stall_reason(&run).await,
        &["the result of activity `note`", "deploy code that can read it"],
    );
    wrong.stop().await;

    // Then the recorded result stays, and the run resumes under code that can read it
    env.run(env.worker().workflow::<Tolerant>());
    assert_eq!(run.result().await.unwrap(), "7");
}

async fn signal_that_cannot_be_decoded_stalls_the_run(env: Env) {
    const WRONG_GO: Signal<u64> = Signal::new("go");

    let journal = Journal::default();
    env.run(equip(env.worker().workflow::<Greet>(), &journal));
    let run = env.client.start::<Greet>("Ada".to_owned()).await.unwrap();
    logged(&run, "activity.completed", 1).await;
    env.client.signal(run.run_id(), WRONG_GO, 7).await.unwrap();
    assert_contains(
        stall_reason(&run).await,
        &["the content of signal `go`", "String", "deploy code that can read it"],
    );
    assert_eq!(history_text(&run).await.last().unwrap(), "signal.received go");
    assert_eq!(journal.lines(), ["Ada"]);
}

async fn panic_in_a_workflow_stalls_it(env: Env) {
    workflow!(Clumsy, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
        ctx.activity::<Note>(name.clone()).await?;
        let word = ctx.wait_for(GO).await?;
        panic!("{word} made no sense to {name}")
    });

    let journal = Journal::default();
    let wrong = env.run(equip(env.worker().workflow::<Clumsy>(), &journal));
    let run = env.client.start::<Greet>("Ada".to_owned()).await.unwrap();
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    assert_contains(stall_reason(&run).await, &["the workflow panicked: Hello made no sense to Ada"]);
    wrong.stop().await;

    env.run(equip(env.worker().workflow::<Greet>(), &journal));
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
    assert_eq!(journal.lines(), ["Ada"]);
    assert_eq!(count(&run, "run.resumed").await, 1);
}

async fn calls_of_a_poll_that_panics_are_not_executed(env: Env) {
    workflow!(Hasty, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
        ctx.activity::<Note>(name.clone()).await?;
        ctx.wait_for(GO).await?;
        let never = ctx.activity::<Note>("never".to_owned());
        let also_never = ctx.step("never", || async { Ok(()) });
        let panics = async { panic!("between its calls") };
        let ((), (), ()) = ctx.when_all((never, also_never, panics)).await?;
        Ok(name)
    });

    let journal = Journal::default();
    let wrong = env.run(equip(env.worker().workflow::<Hasty>(), &journal));
    let run = env.client.start::<Greet>("Ada".to_owned()).await.unwrap();
    logged(&run, "activity.completed", 1).await;
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    assert_contains(stall_reason(&run).await, &["between its calls"]);
    assert_eq!(history_text(&run).await[3..], ["run.stalled", "signal.received go"]);
    wrong.stop().await;

    env.run(equip(env.worker().workflow::<Greet>(), &journal));
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
    assert_eq!(journal.lines(), ["Ada"]);
}

async fn tokio_timeout_around_a_durable_call_stalls_the_run(env: Env) {
    workflow!(Restless, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
        match tokio::time::timeout(Duration::from_millis(200), ctx.wait_for(GO)).await {
            Ok(word) => Ok(format!("{}, {name}.", word?)),
            Err(late) => Err(late)?,
        }
    });

    let journal = Journal::default();
    let wrong = env.run(equip(env.worker().workflow::<Restless>(), &journal));
    let run = env.client.start::<Greet>("Ada".to_owned()).await.unwrap();
    let parts = ["workflow `greet` uses a tokio timer (at ", "stalls.rs:", "`.timeout(…)` on a durable call"];
    assert_contains(stall_reason(&run).await, &parts);
    wrong.stop().await;

    env.run(equip(env.worker().workflow::<Greet>(), &journal));
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
}

async fn workflow_that_a_channel_wakes_stalls(env: Env) {
    activity!(Hold, "hold", () => ());
    workflow!(Chatty, "chatty", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            drop(sender);
        });
        // While the activity runs, the run stays in memory.
        let (held, received) = futures::join!(ctx.activity::<Hold>(()), receiver);
        held?;
        Ok(received?)
    });

    let hold = Hold(ActivityFn::new(|_, ()| async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }));
    env.run(env.worker().workflow::<Chatty>().activity(hold));
    let run = env.client.start::<Chatty>(()).await.unwrap();
    assert_contains(stall_reason(&run).await, &["woken from outside", "a channel"]);
}

async fn workflow_that_never_yields_is_named_and_other_runs_continue(env: Env) {
    /// Lets the loop end with the test.
    static ENOUGH: AtomicBool = AtomicBool::new(false);
    workflow!(Endless, "endless", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        ctx.sleep(Duration::from_millis(1)).await?;
        while !ENOUGH.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    });

    // Given a worker with two processors, one of which never returns from a poll, and a lease so long that its thread is
    // not replaced
    ENOUGH.store(false, Ordering::Relaxed);
    let logs = logs();
    let journal = Journal::default();
    let worker = env.worker().lease_ttl(Duration::from_secs(600)).poll_warn(Duration::from_millis(300));
    let worker = equip(worker.workflow::<Endless>().workflow::<Greet>(), &journal);
    env.run(worker);
    let endless = env.client.start::<Endless>(()).await.unwrap();

    // Then the watchdog names the run, the workflow and the line
    let line = logs.wait_for(&[&endless.run_id().to_string(), "has not yielded"]).await;
    assert_contains(&line, &["ERROR", "endless", "stalls.rs:"]);

    // Then runs of the other processor continue
    let mut finished = 0;
    for _ in 0..16 {
        let run = env.client.start::<Greet>("Ada".to_owned()).await.unwrap();
        run.signal(GO, "Hello".to_owned()).await.unwrap();
        let result = run.result().timeout(Duration::from_secs(1)).await;
        finished += usize::from(result.is_ok());
    }
    ENOUGH.store(true, Ordering::Relaxed);
    assert!(finished >= 2, "{finished} of 16 runs completed");
    endless.result().await.unwrap();
}

async fn history_over_its_limit_is_logged_and_stalls_its_run(env: Env) {
    workflow!(Long, "long", |ctx: Context, count: u32| -> WorkflowResult<u32> {
        for number in 0..count {
            ctx.activity::<Note>(number.to_string()).await?;
        }
        Ok(count)
    });

    // Given limits of 11 and 21 events, and a run of 42
    let logs = logs();
    let journal = Journal::default();
    let strict = env.run(equip(env.worker().history_events(11, 21).workflow::<Long>(), &journal));
    let run = env.client.start::<Long>(20).await.unwrap();
    let id = run.run_id().to_string();
    logs.wait_for(&[&id, "the history grows long", "long"]).await;
    assert_contains(
        stall_reason(&run).await,
        &["events, and the limit is 21", "raise the limit (`history_events`"],
    );
    assert!(journal.lines().len() <= 11, "{:?}", journal.lines());
    assert_eq!(logs.with(&[&id, "the history grows long"]).len(), 1);
    strict.stop().await;

    // When a worker with the default limits starts
    env.run(equip(env.worker().workflow::<Long>(), &journal));

    // Then the run resumes, and nothing that was recorded is repeated
    assert_eq!(run.result().await.unwrap(), 20);
    let numbers: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let mut done = journal.lines();
    done.dedup();
    assert_eq!(done, numbers);
}
