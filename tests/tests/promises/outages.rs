//! Outages of the store: workers wait for their end, and they use up no attempt.

use pgworkflows::prelude::*;
use pgworkflows_tests::{
    ActivityFn, Env, Gate, Journal, activity, count, eventually, history_text, promises, workflow,
};

promises![
    outage_uses_up_no_attempt_and_fails_nothing,
    outage_longer_than_the_lease_uses_up_no_attempt,
    lost_answers_change_nothing,
];

activity!(Try, "try", String => u32);

workflow!(TryOnce, "try-once", |ctx: Context, input: String| -> WorkflowResult<u32> {
    ctx.activity::<Try>(input).await
});

workflow!(TryOften, "try-often", |ctx: Context, input: String| -> WorkflowResult<u32> {
    let policy = RetryPolicy::exponential().initial(Duration::from_millis(20)).max_attempts(4);
    ctx.activity::<Try>(input).retry(policy).await
});

async fn outage_uses_up_no_attempt_and_fails_nothing(env: Env) {
    // Given an activity that may be tried once, and ends while the store is unavailable
    let (journal, gate) = (Journal::default(), Gate::closed());
    let state = (journal.clone(), gate.clone());
    let hold = Try(ActivityFn::with(state, |(journal, gate), ctx, _| async move {
        journal.note("begun");
        gate.pass().await;
        journal.note("ended");
        Ok(ctx.attempt())
    }));
    let (worker, outage) = env.worker_with_outage();
    env.run(worker.workflow::<TryOnce>().activity(hold));
    let run = env.client.start::<TryOnce>(String::new()).await.unwrap();
    journal.has("begun", 1).await;
    outage.begin();
    gate.open();
    journal.has("ended", 1).await;
    let lost = outage.lost();
    eventually("the worker tries to reach the store", async || (outage.lost() > lost + 3).then_some(()))
        .await;
    assert!(!run.status().await.unwrap().is_over());

    // When the store is back
    outage.end();

    // Then the outcome of the only attempt is recorded
    assert_eq!(run.result().await.unwrap(), 1);
    assert_eq!(journal.lines(), ["begun", "ended"]);
    assert_eq!(
        history_text(&run).await,
        ["run.started", "activity.scheduled try", "activity.completed", "run.completed"]
    );
}

async fn outage_longer_than_the_lease_uses_up_no_attempt(env: Env) {
    let journal = Journal::default();
    let hold = Try(ActivityFn::with(journal.clone(), |journal, ctx, _| async move {
        journal.note(format!("attempt {}", ctx.attempt()));
        if journal.lines().len() == 1 {
            ctx.cancellation().cancelled().await;
            journal.note("cancelled");
        }
        Ok(ctx.attempt())
    }));
    let (worker, outage) = env.worker_with_outage();
    env.run(worker.lease_ttl(Duration::from_secs(1)).workflow::<TryOnce>().activity(hold));
    let run = env.client.start::<TryOnce>(String::new()).await.unwrap();
    journal.has("attempt 1", 1).await;
    outage.begin();
    journal.has("cancelled", 1).await;
    outage.end();
    // The same worker continues under another lease.
    assert_eq!(run.result().await.unwrap(), 1);
    assert_eq!(journal.lines(), ["attempt 1", "cancelled", "attempt 1"]);
    assert_eq!(count(&run, "activity.attempt-failed").await, 0);
}

async fn lost_answers_change_nothing(env: Env) {
    let journal = Journal::default();
    let (worker, outage) = env.worker_with_outage();
    outage.lose_answers(12);
    let third = Try(ActivityFn::with(journal.clone(), |journal, ctx, _| async move {
        journal.note(format!("attempt {}", ctx.attempt()));
        if ctx.attempt() < 3 { Err(ActivityError::new("busy", "not yet")) } else { Ok(3) }
    }));
    env.run(worker.workflow::<TryOften>().activity(third));
    let run = env.client.start::<TryOften>(String::new()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 3);
    assert!(outage.lost() >= 3, "{}", outage.lost());
    assert_eq!(journal.lines(), ["attempt 1", "attempt 2", "attempt 3"]);
    assert_eq!(
        history_text(&run).await,
        [
            "run.started",
            "activity.scheduled try",
            "activity.attempt-failed",
            "activity.attempt-failed",
            "activity.completed",
            "run.completed",
        ]
    );
}
