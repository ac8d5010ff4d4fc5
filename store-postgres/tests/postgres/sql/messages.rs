//! Messages in SQL: to runs and chains, within the caller's transaction, which blocks no append.

use pgworkflows_core::store::OpenState;
use serde_json::json;

use super::*;

const START: &str = r#"pgworkflows.start('trial', '{"company": "Acme", "seats": 3}')"#;

#[tokio::test]
async fn messages_do_what_those_of_a_client_do() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let (cancelled, terminated, paused) = (sql.run(START).await, sql.run(START).await, sql.run(START).await);
    let talk = async {
        sql.text(&format!("pgworkflows.cancel('{cancelled}', 'too late')")).await;
        let result = sql.until(&format!("pgworkflows.result('{cancelled}')")).await;
        assert_eq!((&result["status"], &result["reason"]), (&json!("cancelled"), &json!("too late")));
        sql.text(&format!("pgworkflows.terminate('{terminated}', 'stuck')")).await;
        let result = sql.until(&format!("pgworkflows.result('{terminated}')")).await;
        assert_eq!((&result["status"], &result["reason"]), (&json!("terminated"), &json!("stuck")));

        sql.text(&format!("pgworkflows.pause('{paused}', 'the bank is closed')")).await;
        let is =
            |status: &str| format!("select to_jsonb(true) where pgworkflows.status('{paused}') = '{status}'");
        sql.until(&is("paused")).await;
        sql.text(&format!("pgworkflows.signal('{paused}', 'upgrade', 'true', key => 'click:1')")).await;
        sql.text(&format!("pgworkflows.signal('{paused}', 'upgrade', 'true', key => 'click:1')")).await;
        sql.text(&format!("pgworkflows.retry_now('{paused}')")).await;
        sql.text(&format!("pgworkflows.resume('{paused}')")).await;
        let result = sql.until(&format!("pgworkflows.result('{paused}')")).await;
        assert_eq!(result["result"], "Acme upgraded with 3 seats");
        let received = "select count(*) from pgworkflows.history where name = 'signal.received'";
        assert_eq!(sql.text(received).await, "1");
    };
    worker(&world).run_until(talk).await.unwrap();
}

#[tokio::test]
async fn update_is_answered_refused_or_dropped() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let run = sql.run(START).await;
    let talk = async {
        let mut update = async |request: &str, key: &str| {
            let id = sql.text(&format!("pgworkflows.update('{run}', 'add-seats', '{request}', {key})")).await;
            sql.until(&format!("pgworkflows.reply('{run}', '{id}')")).await
        };
        assert_eq!(update("4", "'a'").await, json!({"status": "answered", "answer": 7}));
        assert_eq!(update("4", "'a'").await, json!({"status": "answered", "answer": 7}));
        assert_eq!(update("0", "null").await, json!({"status": "refused", "refusal": "no seats"}));
        // With the key of Rust, it is the same update
        let handle = client(&world).handle::<Trial>(run);
        assert_eq!(handle.update(ADD, 4).key("a").await.unwrap(), 7);

        sql.text(&format!("pgworkflows.signal('{run}', 'upgrade', 'true')")).await;
        sql.until(&format!("pgworkflows.result('{run}')")).await;
        let refusal = sql.refused(&format!("pgworkflows.update('{run}', 'add-seats', '1')")).await;
        assert_eq!(refusal.code, "PW104");
        let dropped = sql.json(&format!("pgworkflows.reply('{run}', gen_random_uuid())")).await;
        assert_eq!(dropped, json!({"status": "dropped"}));
    };
    worker(&world).run_until(talk).await.unwrap();
}

#[tokio::test]
async fn open_transaction_of_a_caller_blocks_no_append() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let mut writer = world.writer().await;
    let (kept, closing) = (world.run(0), world.run(1));
    let opened = writer.batch().event(kept, 1).event(closing, 1);
    writer
        .append(opened.opened(kept, OpenState::Busy, None).opened(closing, OpenState::Busy, None))
        .await
        .unwrap();
    // Given a transaction that has called everything
    sql.execute("begin").await;
    for run in [kept, closing] {
        for call in [
            "signal('RUN', 'go', key => 'a')",
            "cancel('RUN')",
            "pause('RUN')",
            "update('RUN', 'go', key => 'a')",
            "terminate('RUN', 'enough')",
        ] {
            sql.text(&format!("pgworkflows.{}", call.replace("RUN", &run.to_string()))).await;
        }
    }
    sql.run("pgworkflows.start('trial', key => 'a')").await;
    // Then an owner goes on: with these runs, and with a new one
    let new = world.run(2);
    let batch =
        writer.batch().event(kept, 2).updated(kept, OpenState::Parked).event(closing, 2).closed(closing);
    writer.append(batch.event(new, 1).opened(new, OpenState::Busy, None)).await.unwrap();
    sql.execute("commit").await;
    // And what was accepted is accounted for
    assert_eq!(world.count("inbox").await, 11);
}

#[tokio::test]
async fn message_to_a_run_of_a_chain_reaches_the_one_that_goes_on() {
    struct Count;
    impl Workflow for Count {
        const NAME: &'static str = "count";
        type Input = u32;
        type Output = u32;
        async fn run(ctx: Context, count: u32) -> WorkflowResult<u32> {
            match ctx.wait_for(UPGRADE).await? {
                true => ctx.continue_as_new::<Self>(count + 1).await,
                false => Ok(count),
            }
        }
    }
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let worker = Worker::builder(world.store.clone()).workflow::<Count>();
    let worker = worker.heartbeat_interval(Duration::from_millis(50)).build().unwrap();
    let run = sql.run("pgworkflows.start('count', '0')").await;
    let talk = async {
        sql.text(&format!("pgworkflows.signal('{run}', 'upgrade', 'true')")).await;
        sql.until(&format!("select to_jsonb(true) from pgworkflows.runs where predecessor = '{run}'")).await;
        assert_eq!(sql.json(&format!("pgworkflows.result('{run}')")).await, Value::Null, "the chain goes on");
        assert!(["running", "waiting"].contains(&&*sql.text(&format!("pgworkflows.status('{run}')")).await));
        sql.text(&format!("pgworkflows.signal('{run}', 'upgrade', 'false')")).await;
        let result = sql.until(&format!("pgworkflows.result('{run}')")).await;
        assert_eq!((&result["status"], &result["result"]), (&json!("completed"), &json!(1)));
    };
    worker.run_until(talk).await.unwrap();
}
