//! Outages of the store: they are waited for, and cost no run anything.

use pgworkflows::prelude::*;
use pgworkflows_tests::{Bed, Gate, Journal, activity, count, eventually, promises, story, workflow};

promises![
    outage_of_the_store_costs_no_attempt_and_fails_nothing,
    outage_longer_than_the_lease_costs_no_attempt,
    answers_that_are_lost_change_nothing,
];

activity!(Try, "try", String => u32);

workflow!(TryOnce, "try-once", |ctx: Context, input: String| -> WorkflowResult<u32> {
    ctx.activity::<Try>(input).await
});

workflow!(TryOften, "try-often", |ctx: Context, input: String| -> WorkflowResult<u32> {
    let policy = RetryPolicy::exponential().initial(Duration::from_millis(20)).max_attempts(4);
    ctx.activity::<Try>(input).retry(policy).await
});

async fn outage_of_the_store_costs_no_attempt_and_fails_nothing(bed: Bed) {
    // Given an activity that may be tried once, and ends while the store is away
    let (journal, gate) = (Journal::default(), Gate::shut());
    let (noted, held) = (journal.clone(), gate.clone());
    let hold = Try::that(move |ctx, _| {
        let (noted, held) = (noted.clone(), held.clone());
        async move {
            noted.note("begun");
            held.pass().await;
            noted.note("ended");
            Ok(ctx.attempt())
        }
    });
    let (worker, outage) = bed.fragile_worker();
    bed.work(worker.workflow::<TryOnce>().activity(hold));
    let run = bed.client.start::<TryOnce>(String::new()).await.unwrap();
    journal.shows("begun", 1).await;
    outage.begin();
    gate.open();
    journal.shows("ended", 1).await;
    let lost = outage.lost();
    eventually("the worker tries in vain", async || (outage.lost() > lost + 3).then_some(())).await;
    assert!(!run.status().await.unwrap().is_over());

    // When the store is back
    outage.end();

    // Then the outcome is recorded, of the one attempt that there was
    assert_eq!(run.result().await.unwrap(), 1);
    assert_eq!(journal.lines(), ["begun", "ended"]);
    assert_eq!(
        story(&run).await,
        ["run.started", "activity.scheduled try", "activity.completed", "run.completed"]
    );
}

async fn outage_longer_than_the_lease_costs_no_attempt(bed: Bed) {
    let journal = Journal::default();
    let noted = journal.clone();
    let hold = Try::that(move |ctx, _| {
        let noted = noted.clone();
        async move {
            noted.note(format!("attempt {}", ctx.attempt()));
            if noted.lines().len() == 1 {
                ctx.cancellation().cancelled().await;
                noted.note("told");
            }
            Ok(ctx.attempt())
        }
    });
    let (worker, outage) = bed.fragile_worker();
    bed.work(worker.lease_ttl(Duration::from_secs(1)).workflow::<TryOnce>().activity(hold));
    let run = bed.client.start::<TryOnce>(String::new()).await.unwrap();
    journal.shows("attempt 1", 1).await;
    outage.begin();
    journal.shows("told", 1).await;
    outage.end();
    // The same worker comes back under another lease.
    assert_eq!(run.result().await.unwrap(), 1);
    assert_eq!(journal.lines(), ["attempt 1", "told", "attempt 1"]);
    assert_eq!(count(&run, "activity.attempt-failed").await, 0);
}

async fn answers_that_are_lost_change_nothing(bed: Bed) {
    let journal = Journal::default();
    let (worker, outage) = bed.fragile_worker();
    outage.lose_answers(12);
    let noted = journal.clone();
    let third = Try::that(move |ctx, _| {
        noted.note(format!("attempt {}", ctx.attempt()));
        async move { if ctx.attempt() < 3 { Err(ActivityError::new("busy", "not yet")) } else { Ok(3) } }
    });
    bed.work(worker.workflow::<TryOften>().activity(third));
    let run = bed.client.start::<TryOften>(String::new()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 3);
    assert!(outage.lost() >= 3, "{}", outage.lost());
    assert_eq!(journal.lines(), ["attempt 1", "attempt 2", "attempt 3"]);
    assert_eq!(
        story(&run).await,
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
