//! Bad input is refused where it comes in, by a message that names the thing, the value and what to do.

use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows::{Client, Error, Worker};
use pgworkflows_tests::{Bed, activity, count, eventually, promises, story, workflow};

promises![
    payload_over_the_limit_is_refused_at_the_client,
    input_of_an_activity_over_the_limit_stalls_the_run,
    result_of_an_activity_over_the_limit_fails_it,
    result_of_a_workflow_over_the_limit_stalls_the_run,
    tagged_types_come_back_and_what_cannot_is_refused_fails_or_stalls,
    durations_that_cannot_be_are_refused_at_the_client,
    sleep_beyond_the_last_deadline_is_an_error_of_the_workflow,
    sleep_of_zero_ends_at_once,
    timeout_of_zero_is_an_error_of_the_workflow,
    options_that_cannot_be_stall_the_run,
    two_definitions_of_one_name_are_refused_at_build,
    settings_that_cannot_be_are_refused_at_build,
    names_and_keys_that_cannot_be_are_refused,
    control_characters_and_all_of_unicode_survive,
];

activity!(Echo, "echo", String => String);

const WORD: Signal<String> = Signal::new("word");

workflow!(Repeat, "repeat", |ctx: Context, (word, times): (String, usize)| -> WorkflowResult<usize> {
    Ok(ctx.activity::<Echo>(word.repeat(times)).await?.len())
});

workflow!(Bloat, "bloat", |ctx: Context, bytes: usize| -> WorkflowResult<String> {
    ctx.sleep(Duration::from_millis(1)).await?;
    Ok("x".repeat(bytes))
});

fn says(error: impl ToString, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, parts: &[&str]) {
    let error = result.unwrap_err();
    assert!(error.is_invalid(), "{error}");
    says(error, parts);
}

async fn diagnosis<W: Workflow>(run: &pgworkflows::RunHandle<W>) -> String {
    eventually("the run is stalled", async || {
        let info = run.describe().await.unwrap();
        (info.status == RunStatus::Stalled).then(|| info.waiting_on.unwrap())
    })
    .await
}

async fn payload_over_the_limit_is_refused_at_the_client(bed: Bed) {
    // By default
    let huge = "x".repeat((2 << 20) + 1);
    let start = bed.client.start::<Repeat>((huge, 1)).await;
    refused(start, &["the input of workflow `repeat`", "2097152", "pass a reference"]);

    // As configured
    let strict = Client::builder(bed.store()).payload_bytes_max(100).build().unwrap();
    let run = strict.start::<Repeat>(("short".to_owned(), 1)).await.unwrap();
    let signal = run.signal(WORD, "x".repeat(100)).await;
    refused(signal, &["the content of signal `word` has 102 bytes, and the limit is 100"]);
    assert_eq!(bed.client.list().await.unwrap().len(), 1);
}

fn echo() -> Echo {
    Echo::that(|_, word| async { Ok(word) })
}

async fn input_of_an_activity_over_the_limit_stalls_the_run(bed: Bed) {
    let strict = bed.work(bed.worker().payload_bytes_max(100).workflow::<Repeat>().activity(echo()));
    let run = bed.client.start::<Repeat>(("x".to_owned(), 1000)).await.unwrap();
    says(diagnosis(&run).await, &["the input of activity `echo` has 1003 bytes, and the limit is 100"]);
    strict.stop().await;

    // A worker that allows more goes on with it.
    bed.work(bed.worker().workflow::<Repeat>().activity(echo()));
    assert_eq!(run.result().await.unwrap(), 1000);
}

async fn result_of_an_activity_over_the_limit_fails_it(bed: Bed) {
    let bloated = Echo::that(|_, word: String| async move { Ok(word.repeat(1000)) });
    bed.work(bed.worker().payload_bytes_max(100).workflow::<Repeat>().activity(bloated));
    let run = bed.client.start::<Repeat>(("x".to_owned(), 1)).await.unwrap();
    let error = run.result().await.unwrap_err();
    let failure = error.failure().unwrap();
    assert!(failure.is("payload-too-large") && !failure.retryable, "{failure}");
    says(&error, &["the result of activity `echo` has 1003 bytes, and the limit is 100"]);
    assert_eq!(count(&run, "activity.attempt-failed").await, 0);
}

async fn result_of_a_workflow_over_the_limit_stalls_the_run(bed: Bed) {
    let strict = bed.work(bed.worker().payload_bytes_max(100).workflow::<Bloat>());
    let run = bed.client.start::<Bloat>(1000).await.unwrap();
    says(diagnosis(&run).await, &["the result of workflow `bloat` has 1003 bytes, and the limit is 100"]);
    strict.stop().await;
    bed.work(bed.worker().workflow::<Bloat>());
    assert_eq!(run.result().await.unwrap().len(), 1000);
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Paid {
    From { address: std::net::IpAddr },
    // No `tag` of serde's can read it.
    Exactly { cents: u128 },
}

activity!(Pay, "pay", Paid => Paid);

workflow!(Payment, "payment", |ctx: Context, paid: Paid| -> WorkflowResult<Paid> {
    let paid = ctx.activity::<Pay>(paid).await?;
    if paid == (Paid::From { address: [0; 4].into() }) { Ok(EXACTLY) } else { Ok(paid) }
});

const EXACTLY: Paid = Paid::Exactly { cents: 1 };

async fn tagged_types_come_back_and_what_cannot_is_refused_fails_or_stalls(bed: Bed) {
    let pay = Pay::that(|_, paid| async move {
        let other = Paid::From { address: [1; 4].into() };
        Ok(if paid == other { EXACTLY } else { paid })
    });
    bed.work(bed.worker().workflow::<Payment>().activity(pay));
    let start = |address: [u8; 4]| bed.client.start::<Payment>(Paid::From { address: address.into() });
    let why = ["can be encoded, but not be read again", "`cents`: it has 128 bits"];

    let run = start([10, 0, 0, 7]).await.unwrap();
    assert_eq!(run.result().await.unwrap(), Paid::From { address: [10, 0, 0, 7].into() });

    let refused = bed.client.start::<Payment>(EXACTLY).await.unwrap_err();
    assert!(refused.is_payload(), "{refused}");
    says(&refused, &why);

    let failed = start([1; 4]).await.unwrap().result().await.unwrap_err();
    assert!(failed.is_run_failed(), "{failed}");
    says(&failed, &why);

    let stalled = start([0; 4]).await.unwrap();
    says(diagnosis(&stalled).await, &why);
}

async fn durations_that_cannot_be_are_refused_at_the_client(bed: Bed) {
    let start = || bed.client.start::<Bloat>(1);
    refused(start().delay(Duration::ZERO).await, &["workflow `bloat`", "zero", "omit `delay`"]);
    refused(start().delay(Duration::MAX).await, &["workflow `bloat`", "beyond the latest time"]);
    let far = chrono::DateTime::<chrono::Utc>::MAX_UTC;
    refused(start().start_at(far).await, &["workflow `bloat`", "the latest time there is"]);
    let client = Client::builder(bed.store()).poll_interval(Duration::ZERO).build();
    refused(client, &["poll interval is zero"]);
}

async fn sleep_beyond_the_last_deadline_is_an_error_of_the_workflow(bed: Bed) {
    workflow!(SleepForEver, "sleep-for-ever", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        assert!(ctx.sleep(Duration::MAX).await.is_err());
        ctx.sleep_until(chrono::DateTime::<chrono::Utc>::MAX_UTC).await
    });

    bed.work(bed.worker().workflow::<SleepForEver>());
    let error = bed.client.start::<SleepForEver>(()).await.unwrap().result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().type_name, "invalid-deadline");
    says(error, &["a timer until", "the last possible deadline"]);
}

async fn sleep_of_zero_ends_at_once(bed: Bed) {
    workflow!(Nap, "nap", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        ctx.sleep(Duration::ZERO).await
    });

    bed.work(bed.worker().workflow::<Nap>());
    let run = bed.client.start::<Nap>(()).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(story(&run).await, ["run.started", "timer.started", "timer.fired", "run.completed"]);
}

async fn timeout_of_zero_is_an_error_of_the_workflow(bed: Bed) {
    workflow!(Impatient, "impatient", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        ctx.wait_for(WORD).timeout(Duration::ZERO).await
    });

    bed.work(bed.worker().workflow::<Impatient>());
    let error = bed.client.start::<Impatient>(()).await.unwrap().result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().type_name, "invalid-timeout");
    says(error, &["the timeout of signal `word` is zero"]);
}

async fn options_that_cannot_be_stall_the_run(bed: Bed) {
    workflow!(Careless, "careless", |ctx: Context, case: u32| -> WorkflowResult<()> {
        let echo = || ctx.activity::<Echo>(String::new());
        let exponential = RetryPolicy::exponential;
        match case {
            0 => echo().start_to_close(Duration::ZERO).await?,
            1 => echo().schedule_to_close(Duration::MAX).await?,
            2 => echo().retry(exponential().max_attempts(0)).await?,
            3 => echo().retry(exponential().initial(Duration::ZERO)).await?,
            4 => {
                ctx.step("echo", || async { Ok(String::new()) }).retry(exponential().max_attempts(0)).await?
            }
            _ => {
                ctx.on_failure::<Echo>(String::new()).start_to_close(Duration::ZERO);
                ctx.wait_for(WORD).await?
            }
        };
        Ok(())
    });

    bed.work(bed.worker().workflow::<Careless>().activity(echo()));
    let cases: [&[&str]; 6] = [
        &["activity `echo` at", "limits.rs:", "start_to_close is zero"],
        &["activity `echo` at", "schedule_to_close is", "the longest timeout"],
        &["activity `echo` at", "max_attempts is 0", "give at least 1"],
        &["activity `echo` at", "initial delay is zero"],
        &["step `echo` at", "max_attempts is 0"],
        &["the compensation at", "start_to_close is zero"],
    ];
    for (case, parts) in (0_u32..).zip(cases) {
        let run = bed.client.start::<Careless>(case).await.unwrap();
        says(diagnosis(&run).await, parts);
    }
}

async fn two_definitions_of_one_name_are_refused_at_build(bed: Bed) {
    workflow!(AlsoRepeat, "repeat", |_ctx: Context, _input: ()| -> WorkflowResult<()> { Ok(()) });
    activity!(AlsoEcho, "echo", () => ());

    let twice = bed.worker().workflow::<Repeat>().workflow::<AlsoRepeat>().build();
    refused(twice, &["two workflow definitions are named `repeat`"]);
    let twice = bed.worker().activity(echo()).activity(AlsoEcho::that(|_, ()| async { Ok(()) })).build();
    refused(twice, &["two activity definitions are named `echo`"]);
    // A workflow and an activity may share a name.
    workflow!(EchoFlow, "echo", |_ctx: Context, _input: ()| -> WorkflowResult<()> { Ok(()) });
    bed.worker().workflow::<EchoFlow>().activity(echo()).build().unwrap();
}

async fn settings_that_cannot_be_are_refused_at_build(bed: Bed) {
    let worker = || Worker::builder(bed.store());
    refused(worker().processors(0).build(), &["processors is 0"]);
    refused(worker().queue_shards(0).build(), &["queue_shards is 0"]);
    refused(worker().queue_shards(5000).build(), &["queue_shards is 5000", "4096"]);
    refused(worker().activities_max(0).build(), &["activities_max is 0"]);
    refused(worker().lease_ttl(Duration::from_millis(10)).build(), &["lease_ttl is 10ms", "1s"]);
    refused(worker().lease_ttl(Duration::MAX).build(), &["lease_ttl"]);
    refused(
        worker().heartbeat_interval(Duration::from_secs(60)).build(),
        &["heartbeat_interval is 60s", "15s"],
    );
    refused(worker().heartbeat_interval(Duration::ZERO).build(), &["heartbeat_interval is 0ns"]);
    refused(worker().history_events(0, 0).build(), &["history_events"]);
    refused(worker().queue("").build(), &["queue name", "is empty"]);
    refused(worker().name("a\nb").build(), &["worker name", "control character"]);
    refused(Client::builder(bed.store()).queue_shards(0).build(), &["0 shards"]);
}

async fn names_and_keys_that_cannot_be_are_refused(bed: Bed) {
    workflow!(Nameless, "", |_ctx: Context, _input: ()| -> WorkflowResult<()> { Ok(()) });

    refused(bed.client.start::<Nameless>(()).await, &["workflow", "is empty"]);
    refused(bed.worker().workflow::<Nameless>().build(), &["workflow", "is empty"]);
    let start = || bed.client.start::<Bloat>(1);
    refused(start().key("").await, &["key", "is empty"]);
    refused(start().key("x".repeat(256)).await, &["key", "256 bytes", "255"]);
    refused(start().key("a\0b").await, &["key", "control character"]);
    let run = start().key("x".repeat(255)).await.unwrap();
    let signal = run.signal(Signal::new("bad\u{7}name"), ()).await;
    refused(signal, &["signal", "control character"]);
    refused(run.signal(WORD, String::new()).key("").await, &["key", "is empty"]);
    refused(bed.client.list().limit(0).await, &["a page of 0 runs"]);
    refused(bed.client.list().limit(1001).await, &["a page of 1001 runs"]);
    says("no id".parse::<pgworkflows::RunId>().unwrap_err(), &["`no id` is not a run id"]);
}

async fn control_characters_and_all_of_unicode_survive(bed: Bed) {
    // Zeros, which no text of Postgres can hold, in payloads, failures and reasons; and names beyond ASCII
    workflow!(Unicode, "größe-🦀", |ctx: Context, text: String| -> WorkflowResult<()> {
        let echoed = ctx.activity::<Echo>(text.clone()).await?;
        assert_eq!(echoed, text);
        Err(WorkflowError::new("odd", text))
    });

    workflow!(Panics, "panics", |_ctx: Context, text: String| -> WorkflowResult<()> { panic!("{text}") });

    let text = "a\0b\u{1}\u{7f}ü🦀\r\n'\"\\".to_owned();
    bed.work(bed.worker().name("Jürgen 🦀").workflow::<Unicode>().workflow::<Panics>().activity(echo()));
    let run = bed.client.start::<Unicode>(text.clone()).key("schlüssel '\"\\ 🦀").await.unwrap();
    let error = run.result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().message, text);
    assert!(bed.client.find::<Unicode>("schlüssel '\"\\ 🦀").await.unwrap().is_some());

    // A diagnosis and a reason hold it as well.
    let stalled = bed.client.start::<Panics>(text.clone()).await.unwrap();
    says(diagnosis(&stalled).await, &["the workflow panicked: ab", "ü🦀"]);
    stalled.terminate(text.clone()).await.unwrap();
    assert_eq!(stalled.result().await.unwrap_err().reason(), Some(&*text));
}
