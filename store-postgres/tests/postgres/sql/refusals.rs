//! Every refusal names the thing and its value, says what to do, and has a code of its own.

use super::*;

/// Calls with a code of their refusal and words of its message. `RUN` is an open run.
const REFUSED: &[(&str, &str, &str)] = &[
    ("start(null)", "PW101", "the workflow is null"),
    ("start('')", "PW101", "the workflow \"\" is empty"),
    ("start(repeat('ö', 128))", "PW101", "has 256 bytes, and the limit is 255"),
    ("start(E'a\\nb')", "PW101", "the workflow \"a\\nb\" contains a control character"),
    ("start(U&'a\\0085b')", "PW101", "contains a control character"),
    ("start('t', key => '')", "PW101", "the key \"\" is empty"),
    ("start('t', queue => 'q')", "PW105", "there is no queue `q` in schema `pgworkflows`"),
    ("start('t', delay => '0')", "PW101", "the start of workflow `t` is delayed by 00:00:00"),
    ("start('t', delay => '-1 s')", "PW101", "delayed by -00:00:01"),
    ("start('t', delay => '8000 years')", "PW101", "beyond the latest time there is"),
    ("start('t', delay => '170000000 years')", "PW101", "beyond the latest time there is"),
    ("start('t', start_at => 'infinity')", "PW101", "is set to infinity"),
    ("start('t', start_at => '-infinity')", "PW101", "is set to -infinity"),
    ("start('t', start_at => '10000-01-01')", "PW101", "is set to 10000-01-01"),
    ("start('t', start_at => now(), delay => '1 s')", "PW101", "a `delay` and a `start_at`"),
    ("start('t', grace => '1 s')", "PW101", "a grace without a deadline"),
    ("start('t', deadline => '0')", "PW101", "the deadline of the start of workflow `t` is 00:00:00"),
    ("start('t', deadline => '1 h', grace => '102 years')", "PW101", "is 102 years"),
    ("start('t', max_attempts => 0)", "PW101", "max_attempts of the start of workflow `t` is 0"),
    ("start('t', attributes => '[]')", "PW101", "the attributes of the start of workflow `t` are []"),
    (
        "start('t', attributes => '{\"seats\": 3}')",
        "PW101",
        "the value of attribute `seats` is 3, and values are texts",
    ),
    ("start('t', attributes => '{\"\": \"x\"}')", "PW101", "the name of an attribute \"\" is empty"),
    ("start('t', attributes => '{\"\": 3}')", "PW101", "the name of an attribute \"\" is empty"),
    (
        "start('t', attributes => '{\"region\": \"\"}')",
        "PW101",
        "the value of attribute `region` \"\" is empty",
    ),
    (
        "start('t', attributes => (select jsonb_object_agg(n, 'x') from generate_series(1, 33) n))",
        "PW101",
        "the run would have 33 attributes, and the limit is 32",
    ),
    ("start('t', signal => '')", "PW101", "the signal \"\" is empty"),
    (
        "start('t', (repeat('[', 128) || repeat(']', 128))::jsonb)",
        "PW102",
        "the input of workflow `t` is nested more than 127 levels",
    ),
    ("start('t', '[-1e309]')", "PW102", "a number beyond 1.79e308"),
    (
        "start('t', to_jsonb(repeat('x', 2097151)))",
        "PW102",
        "the input of workflow `t` has 2097153 bytes, and the limit is 2097152",
    ),
    ("create_queue('q', 0)", "PW101", "queue `q` is to have 0 shards"),
    ("create_queue('q', 4096)", "PW003", "asks for 4096 shards, but 4092 of 4096 are left"),
    ("run_of('t', null)", "PW101", "the key is null"),
    ("signal(null, 'go')", "PW101", "the run is null"),
    ("signal('RUN', '')", "PW101", "the signal \"\" is empty"),
    ("signal('RUN', 'go', key => repeat('k', 256))", "PW101", "the key \"kkk"),
    (
        "signal('0198c0de-7fff-7011-8000-0123456789ab', 'go')",
        "PW103",
        "there is no run 0198c0de-7fff-7011-8000-0123456789ab in schema `pgworkflows`",
    ),
    ("signal(gen_random_uuid(), 'go')", "PW103", "there is no run"),
    ("result(gen_random_uuid())", "PW103", "there is no run"),
    ("status(gen_random_uuid())", "PW103", "there is no run"),
    ("reply(gen_random_uuid(), gen_random_uuid())", "PW103", "there is no run"),
    ("reply('RUN', null)", "PW101", "the update is null"),
    ("terminate('RUN', repeat('x', 4097))", "PW101", "the reason of the termination, \"xxx"),
    ("cancel('RUN', repeat('x', 4097))", "PW101", "has 4097 bytes, and the limit is 4096"),
    ("open_executor('w', lease => '0')", "PW101", "the lease is 00:00:00"),
    ("claim_tasks(1, 'q')", "PW107", "executor 1 is over"),
    ("renew_executor(1)", "PW107", "executor 1 is over"),
    ("complete_task('x')", "PW101", "\"x\" is not a task"),
    ("complete_task('1/RUN/1/1/1')", "PW106", "executor 1 does not have the task of call 1 of run"),
    ("complete_task('9999999999999999999/RUN/1/1/1')", "PW101", "is not a task"),
];

#[tokio::test]
async fn refusals_have_codes_and_say_what_to_do() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let run = sql.run("pgworkflows.start('trial')").await;
    for (call, code, words) in REFUSED {
        let call = call.replace("RUN", &run.to_string());
        let refusal = sql.refused(&format!("pgworkflows.{call}")).await;
        assert_eq!(refusal.code, *code, "{call}: {refusal:?}");
        assert!(refusal.message.contains(words), "{call}: {refusal:?}");
        assert!(!refusal.hint.is_empty() || *code == "PW003", "{call}: {refusal:?}");
    }
    // What is just within the limits is accepted
    for call in [
        "start(repeat('n', 255), key => repeat('k', 255))".to_owned(),
        "start('t', (repeat('[', 127) || repeat(']', 127))::jsonb)".to_owned(),
        "start('t', '[1.7e308, -1e-400, 123456789012345678901234567890]')".to_owned(),
        "start('t', to_jsonb(repeat('x', 2097150)))".to_owned(),
        "start('t', null)".to_owned(),
        "start('t', start_at => '9999-12-31 23:59:59+00', deadline => '100 years', grace => '100 years')"
            .to_owned(),
        format!("cancel('{run}', repeat('x', 4096))"),
        format!("terminate('{run}', null)"),
        "create_queue('default')".to_owned(),
        "create_queue('other', 4092)".to_owned(),
    ] {
        sql.text(&format!("pgworkflows.{call}")).await;
    }
    // A client can read all of it
    let client = client(&world);
    assert_eq!(client.list().await.unwrap().len(), 7);
}

#[tokio::test]
async fn messages_to_a_run_that_is_over_are_refused() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let run = sql.run("pgworkflows.start('trial', '[]')").await;
    sql.text(&format!("pgworkflows.terminate('{run}', 'enough')")).await;
    let talk = async {
        sql.until(&format!("pgworkflows.result('{run}')")).await;
    };
    worker(&world).run_until(talk).await.unwrap();
    for call in
        ["signal('RUN', 'go')", "cancel('RUN')", "terminate('RUN', '')", "pause('RUN')", "resume('RUN')"]
    {
        let refusal = sql.refused(&format!("pgworkflows.{}", call.replace("RUN", &run.to_string()))).await;
        assert_eq!((&*refusal.code, refusal.message), ("PW104", format!("run {run} is over")), "{call}");
        assert!(refusal.hint.contains("pgworkflows.result("), "{}", refusal.hint);
    }
}

#[tokio::test]
async fn queue_that_is_not_clear_has_to_be_named() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    sql.execute(
        "insert into pgworkflows.builds (queue, build, generation, workflows)
         select q, md5(q)::uuid, 1, '{both}' from unnest(array['a', 'b']) q;
         insert into pgworkflows.leases (queue, build, worker, expires_at)
         select q, md5(q)::uuid, 'w', 'infinity' from unnest(array['a', 'b']) q",
    )
    .await;
    let refusal = sql.refused("pgworkflows.start('both')").await;
    assert_eq!(refusal.code, "PW105");
    assert!(refusal.message.contains("workers of the queues `a`, `b` know workflow `both`"), "{refusal:?}");
}

#[tokio::test]
async fn key_that_another_transaction_holds_waits_for_its_end() {
    let world = World::new().await;
    let (mut one, mut two) = (Caller::new(&world).await, Caller::new(&world).await);
    one.execute("begin").await;
    let run = one.run("pgworkflows.start('trial', key => 'a')").await;
    two.execute("set lock_timeout = '50ms'").await;
    assert_eq!(two.refused("pgworkflows.start('trial', key => 'a')").await.code, "55P03");
    // Its own setting is untouched
    assert_eq!(two.text("current_setting('lock_timeout')").await, "50ms");
    one.execute("commit").await;
    assert_eq!(two.run("pgworkflows.start('trial', key => 'a')").await, run);
}
