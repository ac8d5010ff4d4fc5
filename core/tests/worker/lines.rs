//! The log lines of a worker about its runs at `info`, and the spans of users' own lines.

use std::time::Duration;

use pgworkflows::prelude::*;

use crate::fixture::{Fixture, workflow};
use crate::logs;

struct Flaky;

#[async_trait]
impl Activity for Flaky {
    const NAME: &'static str = "flaky";
    type Input = bool;
    type Output = ();

    fn options() -> ActivityOptions {
        ActivityOptions::default().retry(RetryPolicy::exponential().max_attempts(3))
    }

    async fn execute(&self, ctx: ActivityContext, heals: bool) -> ActivityResult<()> {
        tracing::info!(target: "pgworkflows-user", "the activity speaks");
        if heals && ctx.attempt() > 1 { Ok(()) } else { Err(ActivityError::new("unlucky", "no such luck")) }
    }
}

workflow!(Tries, "tries", |ctx, heals: bool| -> () {
    tracing::info!(target: "pgworkflows-user", "the workflow speaks");
    ctx.activity::<Flaky>(heals).await
});

#[tokio::test(start_paused = true)]
async fn log_lines_of_a_run_name_it_and_users_lines_are_in_its_span() {
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("talks").workflow::<Tries>().activity(Flaky).build().unwrap();
    let script = async {
        let heals = fixture.client.start::<Tries>(true).key("heals").await.unwrap();
        heals.result().await.unwrap();
        let fails = fixture.client.start::<Tries>(false).key("fails").await.unwrap();
        fails.result().await.unwrap_err();
        fixture.pass(Duration::from_secs(1)).await;
        [heals.run_id().to_string(), fails.run_id().to_string()]
    };
    let (ended, ids) = tokio::sync::oneshot::channel();
    let shutdown = async {
        let _ = ended.send(script.await);
    };
    fixture.end(worker.run_on_this_thread(shutdown)).await.unwrap();
    let [heals, fails] = ids.await.unwrap();

    // Each failed attempt is logged with its number, the limit, the time of the next attempt, and the failure
    let said = logs::lines(&["WARN", "an attempt failed", &heals, "no such luck"]);
    assert_eq!(said.len(), 1, "{said:?}");
    for part in
        ["workflow=tries", "key=\"heals\"", "activity=\"flaky\"", "attempt=1", "attempts_max=3", "again_at="]
    {
        assert!(said[0].contains(part), "{part}: {said:?}");
    }
    assert_eq!(logs::lines(&["WARN", "an attempt failed", &fails]).len(), 2, "no attempt follows the third");
    assert_eq!(logs::lines(&["WARN", "no attempt is left", &fails, "no such luck"]).len(), 1);
    assert_eq!(logs::lines(&["WARN", "a run failed", &fails, "key=\"fails\""]).len(), 1);
    // The worker logs its start and its end
    for said in [["INFO", "talks", "lease claimed"], ["INFO", "talks", "the worker has stopped"]] {
        assert!(!logs::lines(&said).is_empty(), "{said:?}");
    }
    // Users' own lines are in the span of the run or of the attempt
    let said = logs::lines(&["the workflow speaks", "run{", &heals, "workflow=tries", "key=\"heals\""]);
    assert_eq!(said.len(), 1, "{:?}", logs::lines(&["the workflow speaks"]));
    let said = logs::lines(&["the activity speaks", "attempt{", &heals, "activity=flaky", "attempt=2"]);
    assert_eq!(said.len(), 1, "{:?}", logs::lines(&["the activity speaks"]));
}
