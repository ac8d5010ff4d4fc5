//! Invalid input is refused at once, with a message that names the thing, the value and the remedy.

use pgworkflows::prelude::*;
use pgworkflows::{Client, Error, Worker};
use pgworkflows_tests::{
    ActivityFn, Env, activity, assert_contains, count, history_text, promises, stall_reason, workflow,
};

promises![
    payload_over_the_limit_is_refused_at_the_client,
    input_of_an_activity_over_the_limit_stalls_the_run,
    result_of_an_activity_over_the_limit_fails_it,
    result_of_a_workflow_over_the_limit_stalls_the_run,
    payload_that_cannot_be_read_back_is_refused_or_fails_or_stalls_its_run,
    invalid_durations_are_refused_at_the_client,
    sleep_beyond_the_last_deadline_is_an_error_in_the_workflow,
    sleep_of_zero_ends_at_once,
    timeout_of_zero_is_an_error_in_the_workflow,
    invalid_options_stall_the_run,
    two_definitions_of_one_name_are_refused_at_build,
    invalid_settings_are_refused_at_build,
    invalid_names_and_keys_are_refused,
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

/// Asserts that a request was refused as invalid, with a message that contains all of these.
fn assert_invalid<T: std::fmt::Debug>(result: Result<T, Error>, parts: &[&str]) {
    let error = result.unwrap_err();
    assert!(error.is_invalid(), "{error}");
    assert_contains(error, parts);
}

async fn payload_over_the_limit_is_refused_at_the_client(env: Env) {
    // By default
    let huge = "x".repeat((2 << 20) + 1);
    let start = env.client.start::<Repeat>((huge, 1)).await;
    assert_invalid(start, &["the input of workflow `repeat`", "2097152", "pass a reference"]);

    // As configured
    let strict = Client::builder(env.store()).payload_bytes_max(100).build().unwrap();
    let run = strict.start::<Repeat>(("short".to_owned(), 1)).await.unwrap();
    let signal = run.signal(WORD, "x".repeat(100)).await;
    assert_invalid(signal, &["the content of signal `word` has 102 bytes, and the limit is 100"]);
    assert_eq!(env.client.list().await.unwrap().len(), 1);
}

fn echo() -> Echo {
    Echo(ActivityFn::new(|_, word| async { Ok(word) }))
}

async fn input_of_an_activity_over_the_limit_stalls_the_run(env: Env) {
    let strict = env.run(env.worker().payload_bytes_max(100).workflow::<Repeat>().activity(echo()));
    let run = env.client.start::<Repeat>(("x".to_owned(), 1000)).await.unwrap();
    assert_contains(
        stall_reason(&run).await,
        &["the input of activity `echo` has 1003 bytes, and the limit is 100"],
    );
    strict.stop().await;

    // The run resumes under a worker with a higher limit.
    env.run(env.worker().workflow::<Repeat>().activity(echo()));
    assert_eq!(run.result().await.unwrap(), 1000);
}

async fn result_of_an_activity_over_the_limit_fails_it(env: Env) {
    let bloated = Echo(ActivityFn::new(|_, word: String| async move { Ok(word.repeat(1000)) }));
    env.run(env.worker().payload_bytes_max(100).workflow::<Repeat>().activity(bloated));
    let run = env.client.start::<Repeat>(("x".to_owned(), 1)).await.unwrap();
    let error = run.result().await.unwrap_err();
    let failure = error.failure().unwrap();
    assert!(failure.is("payload-too-large") && !failure.retryable, "{failure}");
    assert_contains(&error, &["the result of activity `echo` has 1003 bytes, and the limit is 100"]);
    assert_eq!(count(&run, "activity.attempt-failed").await, 0);
}

async fn result_of_a_workflow_over_the_limit_stalls_the_run(env: Env) {
    let strict = env.run(env.worker().payload_bytes_max(100).workflow::<Bloat>());
    let run = env.client.start::<Bloat>(1000).await.unwrap();
    assert_contains(
        stall_reason(&run).await,
        &["the result of workflow `bloat` has 1003 bytes, and the limit is 100"],
    );
    strict.stop().await;
    env.run(env.worker().workflow::<Bloat>());
    assert_eq!(run.result().await.unwrap().len(), 1000);
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Paid {
    From { address: std::net::IpAddr },
    // Serde cannot read it in a type with a `tag`.
    Exactly { cents: u128 },
}

activity!(Pay, "pay", Paid => Paid);

workflow!(Payment, "payment", |ctx: Context, paid: Paid| -> WorkflowResult<Paid> {
    let paid = ctx.activity::<Pay>(paid).await?;
    if paid == (Paid::From { address: [0; 4].into() }) { Ok(EXACTLY) } else { Ok(paid) }
});

const EXACTLY: Paid = Paid::Exactly { cents: 1 };

async fn payload_that_cannot_be_read_back_is_refused_or_fails_or_stalls_its_run(env: Env) {
    let pay = Pay(ActivityFn::new(|_, paid| async move {
        let other = Paid::From { address: [1; 4].into() };
        Ok(if paid == other { EXACTLY } else { paid })
    }));
    env.run(env.worker().workflow::<Payment>().activity(pay));
    let start = |address: [u8; 4]| env.client.start::<Payment>(Paid::From { address: address.into() });
    let why = ["can be encoded, but not be read again", "`cents`: it has 128 bits"];

    let run = start([10, 0, 0, 7]).await.unwrap();
    assert_eq!(run.result().await.unwrap(), Paid::From { address: [10, 0, 0, 7].into() });

    let refused = env.client.start::<Payment>(EXACTLY).await.unwrap_err();
    assert!(refused.is_payload(), "{refused}");
    assert_contains(&refused, &why);

    let failed = start([1; 4]).await.unwrap().result().await.unwrap_err();
    assert!(failed.is_run_failed(), "{failed}");
    assert_contains(&failed, &why);

    let stalled = start([0; 4]).await.unwrap();
    assert_contains(stall_reason(&stalled).await, &why);
}

async fn invalid_durations_are_refused_at_the_client(env: Env) {
    let start = || env.client.start::<Bloat>(1);
    assert_invalid(start().delay(Duration::ZERO).await, &["workflow `bloat`", "zero", "omit `delay`"]);
    assert_invalid(start().delay(Duration::MAX).await, &["workflow `bloat`", "beyond the latest time"]);
    let far = chrono::DateTime::<chrono::Utc>::MAX_UTC;
    assert_invalid(start().start_at(far).await, &["workflow `bloat`", "the latest time there is"]);
    let client = Client::builder(env.store()).poll_interval(Duration::ZERO).build();
    assert_invalid(client, &["poll interval is zero"]);
}

async fn sleep_beyond_the_last_deadline_is_an_error_in_the_workflow(env: Env) {
    workflow!(SleepForever, "sleep-forever", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        assert!(ctx.sleep(Duration::MAX).await.is_err());
        ctx.sleep_until(chrono::DateTime::<chrono::Utc>::MAX_UTC).await
    });

    env.run(env.worker().workflow::<SleepForever>());
    let error = env.client.start::<SleepForever>(()).await.unwrap().result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().type_name, "invalid-deadline");
    assert_contains(error, &["a timer until", "the last possible deadline"]);
}

async fn sleep_of_zero_ends_at_once(env: Env) {
    workflow!(Nap, "nap", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        ctx.sleep(Duration::ZERO).await
    });

    env.run(env.worker().workflow::<Nap>());
    let run = env.client.start::<Nap>(()).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(history_text(&run).await, ["run.started", "timer.started", "timer.fired", "run.completed"]);
}

async fn timeout_of_zero_is_an_error_in_the_workflow(env: Env) {
    workflow!(Impatient, "impatient", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        ctx.wait_for(WORD).timeout(Duration::ZERO).await
    });

    env.run(env.worker().workflow::<Impatient>());
    let error = env.client.start::<Impatient>(()).await.unwrap().result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().type_name, "invalid-timeout");
    assert_contains(error, &["the timeout of signal `word` is zero"]);
}

async fn invalid_options_stall_the_run(env: Env) {
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

    env.run(env.worker().workflow::<Careless>().activity(echo()));
    let cases: [&[&str]; 6] = [
        &["activity `echo` at", "limits.rs:", "start_to_close is zero"],
        &["activity `echo` at", "schedule_to_close is", "the longest timeout"],
        &["activity `echo` at", "max_attempts is 0", "give at least 1"],
        &["activity `echo` at", "initial delay is zero"],
        &["step `echo` at", "max_attempts is 0"],
        &["the compensation at", "start_to_close is zero"],
    ];
    for (case, parts) in (0_u32..).zip(cases) {
        let run = env.client.start::<Careless>(case).await.unwrap();
        assert_contains(stall_reason(&run).await, parts);
    }
}

async fn two_definitions_of_one_name_are_refused_at_build(env: Env) {
    workflow!(AlsoRepeat, "repeat", |_ctx: Context, _input: ()| -> WorkflowResult<()> { Ok(()) });
    activity!(AlsoEcho, "echo", () => ());

    let twice = env.worker().workflow::<Repeat>().workflow::<AlsoRepeat>().build();
    assert_invalid(twice, &["two workflow definitions are named `repeat`"]);
    let twice =
        env.worker().activity(echo()).activity(AlsoEcho(ActivityFn::new(|_, ()| async { Ok(()) }))).build();
    assert_invalid(twice, &["two activity definitions are named `echo`"]);
    // A workflow and an activity may share a name.
    workflow!(EchoFlow, "echo", |_ctx: Context, _input: ()| -> WorkflowResult<()> { Ok(()) });
    env.worker().workflow::<EchoFlow>().activity(echo()).build().unwrap();
}

async fn invalid_settings_are_refused_at_build(env: Env) {
    let worker = || Worker::builder(env.store());
    assert_invalid(worker().processors(0).build(), &["processors is 0"]);
    assert_invalid(worker().queue_shards(0).build(), &["queue_shards is 0"]);
    assert_invalid(worker().queue_shards(5000).build(), &["queue_shards is 5000", "4096"]);
    assert_invalid(worker().activities_max(0).build(), &["activities_max is 0"]);
    assert_invalid(worker().deaths_max(0, 5).build(), &["deaths_max has owners: 0", "1 to 1000"]);
    assert_invalid(worker().deaths_max(3, 1_001).build(), &["deaths_max has attempts: 1001"]);
    assert_invalid(worker().lease_ttl(Duration::from_millis(10)).build(), &["lease_ttl is 10ms", "1s"]);
    assert_invalid(worker().lease_ttl(Duration::MAX).build(), &["lease_ttl"]);
    assert_invalid(
        worker().heartbeat_interval(Duration::from_secs(60)).build(),
        &["heartbeat_interval is 60s", "10s"],
    );
    assert_invalid(worker().heartbeat_interval(Duration::ZERO).build(), &["heartbeat_interval is 0ns"]);
    assert_invalid(worker().memory_max(5).build(), &["memory_max is 5 bytes", "16384"]);
    assert_invalid(worker().history_events(0, 0).build(), &["history_events"]);
    assert_invalid(worker().queue("").build(), &["queue name", "is empty"]);
    assert_invalid(worker().name("a\nb").build(), &["worker name", "control character"]);
    assert_invalid(Client::builder(env.store()).queue_shards(0).build(), &["0 shards"]);
}

async fn invalid_names_and_keys_are_refused(env: Env) {
    workflow!(Nameless, "", |_ctx: Context, _input: ()| -> WorkflowResult<()> { Ok(()) });

    assert_invalid(env.client.start::<Nameless>(()).await, &["workflow", "is empty"]);
    assert_invalid(env.worker().workflow::<Nameless>().build(), &["workflow", "is empty"]);
    let start = || env.client.start::<Bloat>(1);
    assert_invalid(start().key("").await, &["key", "is empty"]);
    assert_invalid(start().key("x".repeat(256)).await, &["key", "256 bytes", "255"]);
    assert_invalid(start().key("a\0b").await, &["key", "control character"]);
    let run = start().key("x".repeat(255)).await.unwrap();
    let signal = run.signal(Signal::new("bad\u{7}name"), ()).await;
    assert_invalid(signal, &["signal", "control character"]);
    assert_invalid(run.signal(WORD, String::new()).key("").await, &["key", "is empty"]);
    assert_invalid(env.client.list().limit(0).await, &["a page of 0 runs"]);
    assert_invalid(env.client.list().limit(1001).await, &["a page of 1001 runs"]);
    assert_contains("no id".parse::<pgworkflows::RunId>().unwrap_err(), &["`no id` is not a run id"]);
}

async fn control_characters_and_all_of_unicode_survive(env: Env) {
    // Zero characters, which a text of Postgres cannot hold, in payloads, failures and reasons; names beyond ASCII
    workflow!(Unicode, "größe-🦀", |ctx: Context, text: String| -> WorkflowResult<()> {
        let echoed = ctx.activity::<Echo>(text.clone()).await?;
        assert_eq!(echoed, text);
        Err(WorkflowError::new("odd", text))
    });

    workflow!(Panics, "panics", |_ctx: Context, text: String| -> WorkflowResult<()> { panic!("{text}") });

    let text = "a\0b\u{1}\u{7f}ü🦀\r\n'\"\\".to_owned();
    env.run(env.worker().name("Jürgen 🦀").workflow::<Unicode>().workflow::<Panics>().activity(echo()));
    let run = env.client.start::<Unicode>(text.clone()).key("schlüssel '\"\\ 🦀").await.unwrap();
    let error = run.result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().message, text);
    assert!(env.client.find::<Unicode>("schlüssel '\"\\ 🦀").await.unwrap().is_some());

    // So do diagnoses and reasons.
    let stalled = env.client.start::<Panics>(text.clone()).await.unwrap();
    assert_contains(stall_reason(&stalled).await, &["the workflow panicked: ab", "ü🦀"]);
    stalled.terminate(text.clone()).await.unwrap();
    assert_eq!(stalled.result().await.unwrap_err().reason(), Some(&*text));
}
