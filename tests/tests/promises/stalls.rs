//! Code that cannot go on: the run stalls with a diagnosis, loses nothing, and goes on under code that can.

use std::sync::atomic::{AtomicBool, Ordering};

use pgworkflows::RunHandle;
use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_tests::{Bed, Journal, activity, count, eventually, logs, promises, story, workflow};

promises![
    run_of_an_unknown_workflow_waits_visibly_for_a_worker_that_knows_it,
    unknown_activity_stays_scheduled_visibly_until_a_worker_knows_it,
    input_that_cannot_be_decoded_stalls_the_run,
    result_of_an_activity_that_cannot_be_decoded_stalls_the_run,
    signal_that_cannot_be_decoded_stalls_the_run,
    panic_in_a_workflow_stalls_it,
    nothing_that_a_panicking_poll_asked_for_is_done,
    timer_of_tokio_around_a_durable_call_stalls_the_run,
    workflow_that_awaits_a_channel_beside_something_durable_stalls_when_it_is_woken_from_outside,
    workflow_that_never_yields_is_named_and_the_others_go_on,
    history_over_its_limit_is_warned_of_and_stalls,
];

activity!(Note, "note", String => ());

const GO: Signal<String> = Signal::new("go");

/// Waits until the run is stalled, and gives the diagnosis.
async fn diagnosis<W: Workflow>(run: &RunHandle<W>) -> String {
    eventually("the run is stalled", async || {
        let info = run.describe().await.unwrap();
        (info.status == RunStatus::Stalled).then(|| info.waiting_on.unwrap())
    })
    .await
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

/// Workflows of the stored name `greet`, from several builds.
mod builds {
    use super::*;

    pub(super) mod sound {
        use super::*;

        workflow!(Greet, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
            ctx.activity::<Note>(name.clone()).await?;
            let word = ctx.wait_for(GO).await?;
            Ok(format!("{word}, {name}."))
        });
    }

    pub(super) mod wants_a_number {
        use super::*;

        workflow!(Greet, "greet", |_ctx: Context, _number: u64| -> WorkflowResult<String> {
            Ok(String::new())
        });
    }

    pub(super) mod panics {
        use super::*;

        workflow!(Greet, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
            ctx.activity::<Note>(name.clone()).await?;
            let word = ctx.wait_for(GO).await?;
            let _forgotten = ctx.activity::<Note>("never".to_owned()).await;
            panic!("{word} made no sense to {name}")
        });
    }
}

/// Waits until the run's activity is recorded.
async fn noted<W: Workflow>(run: &RunHandle<W>) {
    eventually("it is noted", async || (count(run, "activity.completed").await == 1).then_some(())).await;
}

fn equip(worker: WorkerBuilder, journal: &Journal) -> WorkerBuilder {
    worker.activity(Note::that(journal.noting()))
}

async fn run_of_an_unknown_workflow_waits_visibly_for_a_worker_that_knows_it(bed: Bed) {
    // Given a worker that knows nothing, and a run with a signal
    let logs = logs();
    let journal = Journal::default();
    let ignorant = bed.work(equip(bed.worker(), &journal));
    let run = bed.client.start::<builds::sound::Greet>("Ada".to_owned()).await.unwrap();
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    logs.tell(&[&run.run_id().to_string(), "no workflow of this name", "greet"]).await;
    assert_eq!(run.status().await.unwrap(), RunStatus::Pending);
    ignorant.stop().await;

    // When one comes that knows it
    bed.work(equip(bed.worker().workflow::<builds::sound::Greet>(), &journal));

    // Then nothing was lost
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
}

async fn unknown_activity_stays_scheduled_visibly_until_a_worker_knows_it(bed: Bed) {
    let logs = logs();
    let journal = Journal::default();
    let ignorant = bed.work(bed.worker().workflow::<builds::sound::Greet>());
    let run = bed.client.start::<builds::sound::Greet>("Ada".to_owned()).await.unwrap();
    logs.tell(&[&run.run_id().to_string(), "no activity of this name", "note"]).await;
    eventually("it is scheduled", async || (count(&run, "activity.scheduled").await == 1).then_some(()))
        .await;
    assert_eq!(run.status().await.unwrap(), RunStatus::Running);
    ignorant.stop().await;

    bed.work(equip(bed.worker().workflow::<builds::sound::Greet>(), &journal));
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
    assert_eq!(journal.lines(), ["Ada"]);
}

async fn input_that_cannot_be_decoded_stalls_the_run(bed: Bed) {
    let journal = Journal::default();
    let wrong = bed.work(equip(bed.worker().workflow::<builds::wants_a_number::Greet>(), &journal));
    let run = bed.client.start::<builds::sound::Greet>("Ada".to_owned()).await.unwrap();
    says(&diagnosis(&run).await, &["the input of workflow `greet`", "u64", "deploy code that can read it"]);
    assert_eq!(story(&run).await, ["run.stalled", "run.started"]);
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    wrong.stop().await;

    bed.work(equip(bed.worker().workflow::<builds::sound::Greet>(), &journal));
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
}

async fn result_of_an_activity_that_cannot_be_decoded_stalls_the_run(bed: Bed) {
    activity!(Number, "note", String => u64);
    workflow!(Tolerant, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
        Ok(ctx.activity::<Number>(name).await?.to_string())
    });

    // Given a worker whose activity of the name returns something else than the workflow expects
    let wrong = Number::that(|_, _| async { Ok(7) });
    let wrong = bed.work(bed.worker().workflow::<builds::sound::Greet>().activity(wrong));
    let run = bed.client.start::<builds::sound::Greet>("Ada".to_owned()).await.unwrap();
    says(&diagnosis(&run).await, &["the result of activity `note`", "deploy code that can read it"]);
    wrong.stop().await;

    // Then code that can read that result goes on with it: it is recorded, and stays
    bed.work(bed.worker().workflow::<Tolerant>());
    assert_eq!(run.result().await.unwrap(), "7");
}

async fn signal_that_cannot_be_decoded_stalls_the_run(bed: Bed) {
    const WRONG_GO: Signal<u64> = Signal::new("go");

    let journal = Journal::default();
    bed.work(equip(bed.worker().workflow::<builds::sound::Greet>(), &journal));
    let run = bed.client.start::<builds::sound::Greet>("Ada".to_owned()).await.unwrap();
    noted(&run).await;
    bed.client.signal(run.run_id(), WRONG_GO, 7).await.unwrap();
    says(&diagnosis(&run).await, &["the content of signal `go`", "String", "deploy code that can read it"]);
    assert_eq!(story(&run).await.last().unwrap(), "signal.received go");
    assert_eq!(journal.lines(), ["Ada"]);
}

async fn panic_in_a_workflow_stalls_it(bed: Bed) {
    workflow!(Clumsy, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
        ctx.activity::<Note>(name.clone()).await?;
        let word = ctx.wait_for(GO).await?;
        panic!("{word} made no sense to {name}")
    });

    let journal = Journal::default();
    let wrong = bed.work(equip(bed.worker().workflow::<Clumsy>(), &journal));
    let run = bed.client.start::<builds::sound::Greet>("Ada".to_owned()).await.unwrap();
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    says(&diagnosis(&run).await, &["the workflow panicked: Hello made no sense to Ada"]);
    wrong.stop().await;

    bed.work(equip(bed.worker().workflow::<builds::sound::Greet>(), &journal));
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
    assert_eq!(journal.lines(), ["Ada"]);
    assert_eq!(count(&run, "run.resumed").await, 1);
}

async fn nothing_that_a_panicking_poll_asked_for_is_done(bed: Bed) {
    workflow!(Hasty, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
        ctx.activity::<Note>(name.clone()).await?;
        ctx.wait_for(GO).await?;
        let never = ctx.activity::<Note>("never".to_owned());
        let also_never = ctx.step("never", || async { Ok(()) });
        let panics = async { panic!("amid its calls") };
        let ((), (), ()) = ctx.when_all((never, also_never, panics)).await?;
        Ok(name)
    });

    let journal = Journal::default();
    let wrong = bed.work(equip(bed.worker().workflow::<Hasty>(), &journal));
    let run = bed.client.start::<builds::sound::Greet>("Ada".to_owned()).await.unwrap();
    noted(&run).await;
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    says(&diagnosis(&run).await, &["amid its calls"]);
    assert_eq!(story(&run).await[3..], ["run.stalled", "signal.received go"]);
    wrong.stop().await;

    bed.work(equip(bed.worker().workflow::<builds::sound::Greet>(), &journal));
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
    assert_eq!(journal.lines(), ["Ada"]);
}

async fn timer_of_tokio_around_a_durable_call_stalls_the_run(bed: Bed) {
    workflow!(Restless, "greet", |ctx: Context, name: String| -> WorkflowResult<String> {
        match tokio::time::timeout(Duration::from_millis(200), ctx.wait_for(GO)).await {
            Ok(word) => Ok(format!("{}, {name}.", word?)),
            Err(late) => Err(late)?,
        }
    });

    let journal = Journal::default();
    let wrong = bed.work(equip(bed.worker().workflow::<Restless>(), &journal));
    let run = bed.client.start::<builds::sound::Greet>("Ada".to_owned()).await.unwrap();
    let parts = ["workflow `greet` uses a tokio timer (at ", "stalls.rs:", "`.timeout(…)` on a durable call"];
    says(&diagnosis(&run).await, &parts);
    wrong.stop().await;

    bed.work(equip(bed.worker().workflow::<builds::sound::Greet>(), &journal));
    run.signal(GO, "Hello".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "Hello, Ada.");
}

async fn workflow_that_awaits_a_channel_beside_something_durable_stalls_when_it_is_woken_from_outside(
    bed: Bed,
) {
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

    let hold = Hold::that(|_, ()| async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    });
    bed.work(bed.worker().workflow::<Chatty>().activity(hold));
    let run = bed.client.start::<Chatty>(()).await.unwrap();
    says(&diagnosis(&run).await, &["woken from outside", "a channel"]);
}

async fn workflow_that_never_yields_is_named_and_the_others_go_on(bed: Bed) {
    /// Lets the loop end with the test.
    static ENOUGH: AtomicBool = AtomicBool::new(false);
    workflow!(Endless, "endless", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        ctx.sleep(Duration::from_millis(1)).await?;
        while !ENOUGH.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    });

    // Given a worker of two processors, one of which never comes back from a poll
    ENOUGH.store(false, Ordering::Relaxed);
    let logs = logs();
    let journal = Journal::default();
    // whose lease is so long that its thread is not given up meanwhile
    let worker = bed.worker().lease_ttl(Duration::from_secs(600)).poll_warn(Duration::from_millis(300));
    let worker = equip(worker.workflow::<Endless>().workflow::<builds::sound::Greet>(), &journal);
    bed.work(worker);
    let endless = bed.client.start::<Endless>(()).await.unwrap();

    // Then the watchdog names the run, the workflow and the line
    let line = logs.tell(&[&endless.run_id().to_string(), "has not yielded"]).await;
    says(&line, &["ERROR", "endless", "stalls.rs:"]);

    // And runs of the other processor go on
    let mut finished = 0;
    for _ in 0..16 {
        let run = bed.client.start::<builds::sound::Greet>("Ada".to_owned()).await.unwrap();
        run.signal(GO, "Hello".to_owned()).await.unwrap();
        let result = run.result().timeout(Duration::from_secs(1)).await;
        finished += usize::from(result.is_ok());
    }
    ENOUGH.store(true, Ordering::Relaxed);
    assert!(finished >= 2, "{finished} of 16 runs went on");
    endless.result().await.unwrap();
}

async fn history_over_its_limit_is_warned_of_and_stalls(bed: Bed) {
    workflow!(Long, "long", |ctx: Context, count: u32| -> WorkflowResult<u32> {
        for number in 0..count {
            ctx.activity::<Note>(number.to_string()).await?;
        }
        Ok(count)
    });

    // Given limits of 11 and 21 events, and a run of 42
    let logs = logs();
    let journal = Journal::default();
    let strict = bed.work(equip(bed.worker().history_events(11, 21).workflow::<Long>(), &journal));
    let run = bed.client.start::<Long>(20).await.unwrap();
    let id = run.run_id().to_string();
    logs.tell(&[&id, "the history grows long", "long"]).await;
    says(&diagnosis(&run).await, &["events, and the limit is 21", "raise the limit (`history_events`"]);
    assert!(journal.lines().len() <= 11, "{:?}", journal.lines());
    assert_eq!(logs.with(&[&id, "the history grows long"]).len(), 1);
    strict.stop().await;

    // When a worker with the usual limits comes
    bed.work(equip(bed.worker().workflow::<Long>(), &journal));

    // Then the run goes on, and nothing that was recorded is repeated
    assert_eq!(run.result().await.unwrap(), 20);
    let numbers: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let mut done = journal.lines();
    done.dedup();
    assert_eq!(done, numbers);
}
