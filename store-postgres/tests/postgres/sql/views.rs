//! The view `runs`: what it says of failing and of ended runs.

use pgworkflows_core::client::RunStatus;
use serde_json::json;

use super::*;

struct Flaky;

#[async_trait]
impl Activity for Flaky {
    const NAME: &'static str = "flaky";
    type Input = bool;
    type Output = ();

    async fn execute(&self, _: ActivityContext, ends: bool) -> ActivityResult<()> {
        let error = ActivityError::new("io", "the bank is down");
        Err(if ends { ActivityError::non_retryable(error) } else { error })
    }
}

struct Charge;

impl Workflow for Charge {
    const NAME: &'static str = "charge";
    type Input = bool;
    type Output = ();

    async fn run(ctx: Context, ends: bool) -> WorkflowResult<()> {
        let hour = Duration::from_secs(3600);
        ctx.activity::<Flaky>(ends).retry(RetryPolicy::exponential().initial(hour).delay_max(hour)).await
    }
}

#[tokio::test]
async fn runs_are_shown_with_their_last_failure_and_their_outcome() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let signup = r#"'{"company": "Acme", "seats": 3}'"#;
    let worker =
        Worker::builder(world.store.clone()).workflow::<Trial>().workflow::<Charge>().activity(Flaky);
    let worker = worker.heartbeat_interval(Duration::from_millis(50)).build().unwrap();
    let failing = sql.run("pgworkflows.start('charge', 'false')").await;
    let failed = sql.run("pgworkflows.start('charge', 'true')").await;
    let completed = sql
        .run(&format!("pgworkflows.start('trial', {signup}, signal => 'upgrade', payload => 'true')"))
        .await;
    let terminated = sql.run(&format!("pgworkflows.start('trial', {signup})")).await;
    let row = |run: RunId| {
        format!(
            "select jsonb_build_array(status, attempt, last_failure, result, failure #>> '{{cause,message}}', reason) \
                 from pgworkflows.runs where run_id = '{run}'"
        )
    };
    let talk = async {
        for run in [failed, completed] {
            sql.until(&format!("pgworkflows.result('{run}')")).await;
        }
        sql.text(&format!("pgworkflows.terminate('{terminated}', 'stuck')")).await;
        sql.until(&format!("pgworkflows.result('{terminated}')")).await;
        sql.until(&format!("select to_jsonb(attempt) from pgworkflows.runs where run_id = '{failing}'"))
            .await;
        assert_eq!(
            sql.json(&row(failing)).await,
            json!(["waiting", 2, "the bank is down (io)", null, null, null])
        );
        assert_eq!(
            sql.json(&row(failed)).await,
            json!(["failed", null, null, null, "the bank is down", null])
        );
        assert_eq!(
            sql.json(&row(completed)).await,
            json!(["completed", null, null, "Acme upgraded with 3 seats", null, null])
        );
        assert_eq!(sql.json(&row(terminated)).await, json!(["terminated", null, null, null, null, "stuck"]));
    };
    worker.run_until(talk).await.unwrap();
}

#[tokio::test]
async fn statuses_in_sql_are_the_words_of_rust() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let view = sql.text("pg_catalog.pg_get_viewdef('pgworkflows.runs')").await;
    let (open, closed): (Vec<RunStatus>, Vec<RunStatus>) =
        RunStatus::ALL.iter().copied().partition(|status| !status.is_over());
    let words = open.iter().map(|status| format!("'{status}'::text")).collect::<Vec<_>>().join(", ");
    assert!(view.contains(&format!("ARRAY[{words}]")), "{words}: {view}");
    for (number, status) in closed.iter().enumerate() {
        assert_eq!(sql.text(&format!("pgworkflows.closed_word({number}::smallint)")).await, status.name());
    }
}
