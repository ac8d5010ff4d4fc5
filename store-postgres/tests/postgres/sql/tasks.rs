//! Tasks that are claimed and completed in SQL.

use pgworkflows_core::activity::ActivityOptions;
use serde_json::json;

use super::*;

/// An activity that no worker in Rust has.
struct Render;

#[async_trait]
impl Activity for Render {
    const NAME: &'static str = "render";
    type Input = (String, u32);
    type Output = Value;

    async fn execute(&self, _: ActivityContext, _: Self::Input) -> ActivityResult<Value> {
        unreachable!("it is executed in SQL")
    }
}

struct Film;

impl Workflow for Film {
    const NAME: &'static str = "film";
    type Input = String;
    type Output = Value;

    async fn run(ctx: Context, scene: String) -> WorkflowResult<Value> {
        let retry = RetryPolicy::exponential().initial(Duration::from_millis(1)).max_attempts(3);
        let render = ctx.activity::<Render>((scene.clone(), 24)).queue("sql").retry(retry);
        let render = render.start_to_close(Duration::from_millis(90_500));
        match &*scene {
            "once" => render.at_most_once().await,
            _ => render.await,
        }
    }
}

/// One whose outcome is committed with what it writes.
struct Pay;

#[async_trait]
impl Activity for Pay {
    const NAME: &'static str = "pay";
    type Input = u32;
    type Output = ();

    fn options() -> ActivityOptions {
        ActivityOptions::default().transactional()
    }

    async fn execute(&self, _: ActivityContext, _: u32) -> ActivityResult<()> {
        unreachable!("it is executed in SQL")
    }
}

struct Payment;

impl Workflow for Payment {
    const NAME: &'static str = "payment";
    type Input = u32;
    type Output = ();

    async fn run(ctx: Context, amount: u32) -> WorkflowResult<()> {
        ctx.activity::<Pay>(amount).queue("sql").await
    }
}

/// A worker that owns the runs, while a test executes their tasks.
async fn served(world: &World, test: impl Future<Output = ()>) {
    let worker = Worker::builder(world.store.clone()).workflow::<Film>().workflow::<Payment>();
    worker.heartbeat_interval(Duration::from_millis(50)).build().unwrap().run_until(test).await.unwrap();
}

impl Caller {
    async fn executor(&mut self) -> String {
        self.text("pgworkflows.open_executor('test', lease => '1 h')").await
    }

    /// Claims a task as soon as there is one.
    async fn claimed(&mut self, executor: &str) -> Value {
        let claim = format!("select to_jsonb(t) from pgworkflows.claim_tasks({executor}, 'sql') t");
        self.until(&claim).await
    }

    async fn ended(&mut self, run: RunId) -> Value {
        self.until(&format!("pgworkflows.result('{run}')")).await
    }
}

/// A task as an argument.
fn quoted(task: &Value) -> String {
    format!("'{}'", task["task"].as_str().unwrap())
}

#[tokio::test]
async fn task_is_claimed_with_its_arguments_and_completed_in_sql() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let start =
        format!(r#"pgworkflows.start('film', '"Earth"', key => 'film:1', traceparent => '{traceparent}')"#);
    let run = sql.run(&start).await;
    served(&world, async {
        let executor = sql.executor().await;
        let mut task = sql.claimed(&executor).await;
        let name = quoted(&task);
        for field in ["task", "scheduled_at"] {
            assert!(task.as_object_mut().unwrap().remove(field).unwrap().is_string());
        }
        assert_eq!(
            task,
            json!({"activity": "render", "input": ["Earth", 24], "attempt": 1, "run": run, "workflow": "film",
                   "key": "film:1", "idempotency_key": format!("{run}:1"), "start_to_close": "00:01:30.5", "traceparent": traceparent})
        );
        assert_eq!(
            sql.json(&format!(
                "select jsonb_agg(t) from pgworkflows.renew_executor({executor}, array[{name}]) t"
            ))
            .await,
            json!([name.trim_matches('\'')])
        );
        sql.text(&format!("pgworkflows.complete_task({name}, '{{\"frames\": 24}}')")).await;
        assert_eq!(sql.ended(run).await["result"], json!({"frames": 24}));
        sql.text(&format!("pgworkflows.close_executor({executor})")).await;
        sql.until("select to_jsonb(true) where not exists (select from pgworkflows.executors)").await;
        assert_eq!(world.count("tasks").await, 0);
    })
    .await;
}

#[tokio::test]
async fn failed_task_is_retried_by_the_policy_of_its_activity() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let run = sql.run(r#"pgworkflows.start('film', '"Earth"')"#).await;
    served(&world, async {
        let executor = sql.executor().await;
        let first = sql.claimed(&executor).await;
        sql.text(&format!(
            "pgworkflows.fail_task({}, 'io', repeat('x', 20000), details => '[1]')",
            quoted(&first)
        ))
        .await;
        let second = sql.claimed(&executor).await;
        assert_eq!((&second["attempt"], &second["idempotency_key"]), (&json!(2), &first["idempotency_key"]));
        sql.text(&format!(
            "pgworkflows.fail_task({}, 'bad-scene', 'no', retryable => false)",
            quoted(&second)
        ))
        .await;
        let result = sql.ended(run).await;
        assert_eq!(
            (&result["status"], &result["failure"]["cause"]["type"]),
            (&json!("failed"), &json!("bad-scene"))
        );
        let failed =
            "select data -> 'failure' from pgworkflows.history where name = 'activity.attempt-failed'";
        let failed = sql.json(failed).await;
        assert_eq!((&failed["type"], &failed["details"]), (&json!("io"), &json!([1])));
        assert!(failed["message"].as_str().unwrap().ends_with("x… (cut)"));
    })
    .await;
}

#[tokio::test]
async fn outcome_is_part_of_the_callers_transaction() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    sql.execute("create table payments (amount int)").await;
    let run = sql.run("pgworkflows.start('payment', '7')").await;
    served(&world, async {
        let executor = sql.executor().await;
        let task = sql.claimed(&executor).await;
        let pay = format!(
            "begin; insert into payments values (7); select pgworkflows.complete_task({})",
            quoted(&task)
        );
        sql.execute(&format!("{pay}; rollback")).await;
        sql.execute(&format!("{pay}; commit")).await;
        assert_eq!(sql.ended(run).await["status"], "completed");
        assert_eq!(world_count(&mut sql).await, "1");
        // A second outcome is refused, and what was written with it is rolled back
        sql.execute("begin; insert into payments values (8)").await;
        let refusal = sql.refused(&format!("pgworkflows.complete_task({})", quoted(&task))).await;
        assert_eq!(refusal.code, "PW106");
        sql.execute("commit").await;
        assert_eq!(world_count(&mut sql).await, "1");
    })
    .await;
}

async fn world_count(sql: &mut Caller) -> String {
    sql.text("select count(*) from payments").await
}

#[tokio::test]
async fn what_was_committed_with_its_task_is_in_the_history_of_a_run_that_gave_it_up() {
    let world = World::new().await;
    let (mut sql, mut other) = (Caller::new(&world).await, Caller::new(&world).await);
    let run = sql.run("pgworkflows.start('payment', '7')").await;
    served(&world, async {
        let executor = sql.executor().await;
        let task = sql.claimed(&executor).await;
        // Given a transaction that has completed the task, and is not committed
        sql.execute(&format!("begin; select pgworkflows.complete_task({})", quoted(&task))).await;
        // When the run is cancelled in the meantime
        other.text(&format!("pgworkflows.cancel('{run}')")).await;
        let cancelled =
            "select to_jsonb(true) from pgworkflows.history where name in ('activity.cancelled', 'cancel.requested') limit 1";
        other.until(cancelled).await;
        sql.execute("commit").await;
        // Then the history tells what happened, or the message came after the end of the run and is kept
        let told = "select to_jsonb(true) where exists (select from pgworkflows.history where name = 'activity.completed') \
                    or exists (select from pgworkflows.undelivered)";
        other.until(told).await;
        assert_eq!(other.ended(run).await["status"], "cancelled");
    })
    .await;
}

#[tokio::test]
async fn task_of_an_executor_whose_lease_ended_goes_to_another() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let run = sql.run(r#"pgworkflows.start('film', '"Earth"')"#).await;
    served(&world, async {
        let (dies, lives) = (sql.executor().await, sql.executor().await);
        let lost = sql.claimed(&dies).await;
        sql.execute(&format!("update pgworkflows.executors set expires_at = now() where executor = {dies}"))
            .await;
        let task = sql.claimed(&lives).await;
        assert_eq!((&task["run"], &task["attempt"]), (&lost["run"], &lost["attempt"]));
        for call in
            [format!("complete_task({})", quoted(&lost)), format!("fail_task({}, 'a', 'b')", quoted(&lost))]
        {
            assert_eq!(sql.refused(&format!("pgworkflows.{call}")).await.code, "PW106");
        }
        for call in ["renew_executor", "close_executor"] {
            assert_eq!(sql.refused(&format!("pgworkflows.{call}({dies})")).await.code, "PW107");
        }
        sql.text(&format!("pgworkflows.complete_task({})", quoted(&task))).await;
        assert_eq!(sql.ended(run).await["status"], "completed");
    })
    .await;
}

#[tokio::test]
async fn released_task_goes_to_another_executor_and_one_that_must_not_be_repeated_is_lost() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let run = sql.run(r#"pgworkflows.start('film', '"Earth"')"#).await;
    served(&world, async {
        let (first, second) = (sql.executor().await, sql.executor().await);
        let task = sql.claimed(&first).await;
        sql.text(&format!("pgworkflows.release_task({}, '1 ms')", quoted(&task))).await;
        let task = sql.claimed(&second).await;
        sql.text(&format!("pgworkflows.complete_task({})", quoted(&task))).await;
        assert_eq!(sql.ended(run).await["status"], "completed");

        let once = sql.run(r#"pgworkflows.start('film', '"once"')"#).await;
        let task = sql.claimed(&second).await;
        sql.text(&format!("pgworkflows.release_task({})", quoted(&task))).await;
        assert_eq!(sql.ended(once).await["status"], "failed");
    })
    .await;
}

#[tokio::test]
async fn task_that_its_run_gave_up_is_not_held_any_more() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let run = sql.run(r#"pgworkflows.start('film', '"Earth"')"#).await;
    served(&world, async {
        let executor = sql.executor().await;
        let task = sql.claimed(&executor).await;
        sql.text(&format!("pgworkflows.cancel('{run}')")).await;
        sql.ended(run).await;
        let held = format!(
            "select to_jsonb(count(*)) from pgworkflows.renew_executor({executor}, array[{}])",
            quoted(&task)
        );
        while sql.json(&held).await != json!(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(sql.refused(&format!("pgworkflows.complete_task({})", quoted(&task))).await.code, "PW106");
    })
    .await;
}

#[tokio::test]
async fn task_that_sql_cannot_read_rests_and_says_why() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    sql.run(r#"pgworkflows.start('film', '"Earth"')"#).await;
    served(&world, async {
        sql.until("select to_jsonb(true) from pgworkflows.tasks").await;
        sql.execute("update pgworkflows.tasks set body = set_byte(body, 1, 2)").await;
        let executor = sql.executor().await;
        let problem = loop {
            let claimed =
                sql.text(&format!("select count(*) from pgworkflows.claim_tasks({executor}, 'sql')")).await;
            assert_eq!(claimed, "0");
            let problem = sql.text("select problem from pgworkflows.activity_queues").await;
            if !problem.is_empty() {
                break problem;
            }
        };
        assert!(problem.contains("version 2, which this schema does not know"), "{problem}");
    })
    .await;
}

#[tokio::test]
async fn open_transaction_of_an_executor_blocks_no_append_and_no_heartbeat() {
    let world = World::new().await;
    let (mut held, mut sql) = (Caller::new(&world).await, Caller::new(&world).await);
    let film = |scene| format!("pgworkflows.start('film', '\"{scene}\"')");
    let (first, second) = (sql.run(&film("Earth")).await, sql.run(&film("Mars")).await);
    served(&world, async {
        sql.until("select to_jsonb(true) from pgworkflows.tasks having count(*) = 2").await;
        // Given a transaction that has claimed, renewed, released and completed, and stays open
        let executor = held.executor().await;
        held.execute("begin").await;
        let (one, other) = (held.claimed(&executor).await, held.claimed(&executor).await);
        held.text(&format!("select count(*) from pgworkflows.renew_executor({executor})")).await;
        held.text(&format!("pgworkflows.release_task({})", quoted(&one))).await;
        held.text(&format!("pgworkflows.complete_task({})", quoted(&other))).await;
        // Then tasks of the same activity are enqueued, claimed, freed by a heartbeat, claimed again and completed
        let third = sql.run(&film("Venus")).await;
        let dies = sql.executor().await;
        let lost = sql.claimed(&dies).await;
        sql.text(&format!("pgworkflows.close_executor({dies})")).await;
        let lives = sql.executor().await;
        let task = sql.claimed(&lives).await;
        assert_eq!((&lost["run"], &task["run"]), (&json!(third), &json!(third)));
        sql.text(&format!("pgworkflows.complete_task({})", quoted(&task))).await;
        sql.ended(third).await;
        // And the open transaction is committed as a whole
        held.execute("commit").await;
        let released = sql.claimed(&lives).await;
        sql.text(&format!("pgworkflows.complete_task({})", quoted(&released))).await;
        sql.ended(first).await;
        sql.ended(second).await;
    })
    .await;
}

#[tokio::test]
async fn claim_takes_the_activities_that_are_named_or_any() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    sql.run(r#"pgworkflows.start('film', '"Earth"')"#).await;
    sql.run("pgworkflows.start('payment', '7')").await;
    served(&world, async {
        sql.until("select to_jsonb(true) from pgworkflows.tasks having count(*) = 2").await;
        let executor = sql.executor().await;
        let mut claim = async |options: &str| {
            let claim = format!("pgworkflows.claim_tasks({executor}, 'sql', 9{options})");
            sql.text(&format!("select string_agg(activity, ' ' order by activity) from {claim}")).await
        };
        assert_eq!(claim(", array['unknown']").await, "");
        assert_eq!(claim(", array['unknown', 'pay']").await, "pay");
        assert_eq!(claim("").await, "render");
        assert_eq!(claim("").await, "");
    })
    .await;
}
