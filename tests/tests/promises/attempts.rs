//! Attempts: which are repeated, when, and which count against the retry policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use pgworkflows::RunHandle;
use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_tests::{ActivityFn, Env, Journal, activity, count, logged, promises, workflow};

promises![
    activities_are_tried_once_unless_a_policy_says_otherwise,
    delays_between_attempts_grow_exponentially_up_to_the_maximum,
    failure_of_a_non_retryable_type_is_not_retried,
    error_that_is_not_retryable_is_not_retried,
    attempt_that_exceeds_its_timeout_is_cancelled_and_retried,
    activity_whose_attempts_together_exceed_the_timeout_fails,
    options_of_the_activity_apply_where_the_call_sets_none,
    attempts_are_counted_across_crashes,
    retry_that_became_due_without_a_worker_is_made,
    at_most_once_activity_is_not_repeated_after_a_crash,
    no_more_activities_than_activities_max_run_at_a_time,
    attempts_of_one_call_share_an_idempotency_key,
];

activity!(Try, "try", String => u32);

workflow!(TryOnce, "try-once", |ctx: Context, input: String| -> WorkflowResult<u32> {
    ctx.activity::<Try>(input).await
});

workflow!(TryOften, "try-often", |ctx: Context, input: String| -> WorkflowResult<u32> {
    let policy = RetryPolicy::exponential()
        .initial(Duration::from_millis(20))
        .delay_max(Duration::from_millis(60))
        .max_attempts(4)
        .non_retryable(["declined"]);
    ctx.activity::<Try>(input).retry(policy).await
});

/// Notes every attempt. Attempts before that one fail with the input as the type of the error, that one returns its
/// number.
fn succeeding_at(attempt: u32, journal: &Journal) -> Try {
    Try(ActivityFn::with(journal.clone(), move |journal, ctx, input: String| async move {
        journal.note(format!("attempt {}", ctx.attempt()));
        match ctx.attempt() {
            number if number < attempt => Err(ActivityError::new(input, "not yet")),
            number => Ok(number),
        }
    }))
}

fn equip(worker: WorkerBuilder, activity: Try) -> WorkerBuilder {
    worker.workflow::<TryOnce>().workflow::<TryOften>().activity(activity)
}

async fn activities_are_tried_once_unless_a_policy_says_otherwise(env: Env) {
    let journal = Journal::default();
    env.run(equip(env.worker(), succeeding_at(2, &journal)));
    let run = env.client.start::<TryOnce>("busy".to_owned()).await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.failure().unwrap().is("busy"), "{error}");
    assert_eq!(journal.lines(), ["attempt 1"]);
}

async fn delays_between_attempts_grow_exponentially_up_to_the_maximum(env: Env) {
    let journal = Journal::default();
    env.run(equip(env.worker(), succeeding_at(9, &journal)));
    let run = env.client.start::<TryOften>("busy".to_owned()).await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_failed());
    assert_eq!(journal.lines(), ["attempt 1", "attempt 2", "attempt 3", "attempt 4"]);

    // The delays are 20, 40 and 60 ms (not 80), each shorter by up to a quarter.
    let history = run.history().await.unwrap();
    let delays = history.iter().filter_map(|event| match &event.event {
        Event::ActivityAttemptFailed { retry_at, failure, .. } => {
            assert_eq!(failure.type_name, "busy");
            Some((chrono::DateTime::from(*retry_at) - event.at).num_microseconds().unwrap())
        }
        _ => None,
    });
    for (delay, full) in delays.zip([20_000, 40_000, 60_000]) {
        assert!(delay <= full && delay >= full * 3 / 4, "{delay} µs for {full} µs");
    }
    assert_eq!(count(&run, "activity.attempt-failed").await, 3);
}

async fn failure_of_a_non_retryable_type_is_not_retried(env: Env) {
    let journal = Journal::default();
    env.run(equip(env.worker(), succeeding_at(2, &journal)));
    let run = env.client.start::<TryOften>("declined".to_owned()).await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.failure().unwrap().is("declined"), "{error}");
    assert_eq!(journal.lines(), ["attempt 1"]);
}

async fn error_that_is_not_retryable_is_not_retried(env: Env) {
    let parse = |_, input: String| async move { input.parse().map_err(ActivityError::non_retryable) };
    env.run(equip(env.worker(), Try(ActivityFn::new(parse))));
    let run = env.client.start::<TryOften>("ten".to_owned()).await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(!error.failure().unwrap().retryable);
    assert_eq!(count(&run, "activity.attempt-failed").await, 0);
}

async fn attempt_that_exceeds_its_timeout_is_cancelled_and_retried(env: Env) {
    workflow!(Hurry, "hurry", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
        let policy = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(2);
        ctx.activity::<Try>(String::new()).retry(policy).start_to_close(Duration::from_millis(50)).await
    });

    // Given an activity whose first attempt runs until it is cancelled
    let journal = Journal::default();
    let slow = Try(ActivityFn::with(journal.clone(), |journal, ctx, _| async move {
        if ctx.attempt() == 1 {
            ctx.cancellation().cancelled().await;
            journal.note("cancelled");
        }
        Ok(ctx.attempt())
    }));
    env.run(env.worker().workflow::<Hurry>().activity(slow));
    let run = env.client.start::<Hurry>(()).await.unwrap();

    assert_eq!(run.result().await.unwrap(), 2);
    journal.has("cancelled", 1).await;
    let history = run.history().await.unwrap();
    let failure = history.iter().find_map(|event| match &event.event {
        Event::ActivityAttemptFailed { failure, .. } => Some(failure),
        _ => None,
    });
    assert_eq!(failure.unwrap().type_name, "timed-out");
    assert!(failure.unwrap().message.contains("50ms (start_to_close)"), "{failure:?}");
}

async fn activity_whose_attempts_together_exceed_the_timeout_fails(env: Env) {
    workflow!(GiveUp, "give-up", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
        let policy = RetryPolicy::exponential().initial(Duration::from_millis(10));
        let limit = Duration::from_secs(1);
        ctx.activity::<Try>("busy".to_owned()).retry(policy).schedule_to_close(limit).await
    });

    // Given an activity that fails twice, and whose third attempt does not end
    let journal = Journal::default();
    let slow = Try(ActivityFn::with(journal.clone(), |journal, ctx, _| async move {
        if ctx.attempt() > 2 {
            journal.note("runs long");
            ctx.cancellation().cancelled().await;
            journal.note("cancelled");
        }
        Err(ActivityError::new("busy", "not yet"))
    }));
    env.run(env.worker().workflow::<GiveUp>().activity(slow));
    let run = env.client.start::<GiveUp>(()).await.unwrap();

    // Then it fails at its timeout, and the last attempt is cancelled
    let error = run.result().await.unwrap_err();
    let cause = error.failure().unwrap().cause.as_ref().unwrap();
    assert_eq!(cause.type_name, "timed-out");
    assert!(cause.message.contains("within 1s of its scheduling (schedule_to_close)"), "{cause}");
    journal.has("cancelled", 1).await;
    assert_eq!(count(&run, "activity.attempt-failed").await, 2);
}

async fn options_of_the_activity_apply_where_the_call_sets_none(env: Env) {
    struct Patient(Journal);

    #[async_trait]
    impl Activity for Patient {
        const NAME: &'static str = "patient";
        type Input = ();
        type Output = u32;

        fn options() -> ActivityOptions {
            let policy = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(3);
            ActivityOptions::default().retry(policy)
        }

        async fn execute(&self, ctx: ActivityContext, (): ()) -> ActivityResult<u32> {
            self.0.note("tried");
            Err(ActivityError::new("busy", ctx.attempt().to_string()))
        }
    }

    workflow!(Use, "use", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        assert!(ctx.activity::<Patient>(()).await.is_err());
        assert!(ctx.activity::<Patient>(()).retry(RetryPolicy::none()).await.is_err());
        Ok(())
    });

    let journal = Journal::default();
    env.run(env.worker().workflow::<Use>().activity(Patient(journal.clone())));
    env.client.start::<Use>(()).await.unwrap().result().await.unwrap();
    assert_eq!(journal.count("tried"), 3 + 1);
}

/// A run whose first attempt failed, and whose worker was killed during the second.
async fn run_that_crashed_in_its_second_attempt(env: &Env, journal: &Journal) -> RunHandle<TryOften> {
    let hangs = Try(ActivityFn::with(journal.clone(), |journal, ctx, _| async move {
        journal.note(format!("attempt {}", ctx.attempt()));
        if ctx.attempt() == 2 {
            std::future::pending::<()>().await;
        }
        Err(ActivityError::new("busy", "not yet"))
    }));
    let worker = env.run_killable(|worker| equip(worker, hangs)).await;
    let run = env.client.start::<TryOften>("busy".to_owned()).await.unwrap();
    journal.has("attempt 2", 1).await;
    worker.kill().await;
    run
}

async fn attempts_are_counted_across_crashes(env: Env) {
    let journal = Journal::default();
    let run = run_that_crashed_in_its_second_attempt(&env, &journal).await;
    env.run(equip(env.worker(), succeeding_at(4, &journal)));
    // The attempt that was lost with its worker is repeated, and does not count.
    assert_eq!(run.result().await.unwrap(), 4);
    assert_eq!(journal.lines(), ["attempt 1", "attempt 2", "attempt 2", "attempt 3", "attempt 4"]);
}

async fn retry_that_became_due_without_a_worker_is_made(env: Env) {
    workflow!(TryLater, "try-later", |ctx: Context, input: String| -> WorkflowResult<u32> {
        let policy = RetryPolicy::exponential().initial(Duration::from_millis(500));
        ctx.activity::<Try>(input).retry(policy).await
    });

    let journal = Journal::default();
    let equip = |worker: WorkerBuilder| worker.workflow::<TryLater>().activity(succeeding_at(2, &journal));
    let worker = env.run(equip(env.worker()));
    let run = env.client.start::<TryLater>("busy".to_owned()).await.unwrap();
    logged(&run, "activity.attempt-failed", 1).await;
    worker.stop().await;
    tokio::time::sleep(Duration::from_millis(600)).await;

    env.run(equip(env.worker()));
    assert_eq!(run.result().await.unwrap(), 2);
    assert_eq!(journal.lines(), ["attempt 1", "attempt 2"]);
}

async fn at_most_once_activity_is_not_repeated_after_a_crash(env: Env) {
    workflow!(Once, "once", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        let error = ctx.activity::<Try>(String::new()).at_most_once().await.unwrap_err();
        Ok(error.failure().and_then(|failure| failure.cause.as_ref()).unwrap().type_name.clone())
    });

    let journal = Journal::default();
    let hangs = Try(ActivityFn::with(journal.clone(), |journal, _, _| async move {
        journal.note("begun");
        std::future::pending().await
    }));
    let worker = env.run_killable(|worker| worker.workflow::<Once>().activity(hangs)).await;
    let run = env.client.start::<Once>(()).await.unwrap();
    journal.has("begun", 1).await;
    // The log says that the attempt begins before it does.
    assert_eq!(count(&run, "activity.attempt-started").await, 1);
    worker.kill().await;

    env.run(env.worker().workflow::<Once>().activity(succeeding_at(1, &journal)));
    assert_eq!(run.result().await.unwrap(), "attempt-lost");
    assert_eq!(journal.lines(), ["begun"]);
}

async fn no_more_activities_than_activities_max_run_at_a_time(env: Env) {
    workflow!(TryMany, "try-many", |ctx: Context, count: u32| -> WorkflowResult<usize> {
        let tries = (0..count).map(|_| ctx.activity::<Try>(String::new()));
        Ok(ctx.when_all(tries).await?.len())
    });

    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let busy = Try(ActivityFn::with((running, Arc::clone(&most)), |(now, highest), _, _| async move {
        highest.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        now.fetch_sub(1, SeqCst);
        Ok(0)
    }));
    env.run(env.worker().activities_max(3).workflow::<TryMany>().activity(busy));
    let run = env.client.start::<TryMany>(20).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 20);
    assert_eq!(most.load(SeqCst), 3);
}

async fn attempts_of_one_call_share_an_idempotency_key(env: Env) {
    workflow!(TryTwice, "try-twice", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let policy = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(2);
        for _ in 0..2 {
            ctx.activity::<Try>("busy".to_owned()).retry(policy.clone()).await?;
        }
        Ok(())
    });

    let journal = Journal::default();
    let keys = Try(ActivityFn::with(journal.clone(), |journal, ctx, _| async move {
        journal.note(ctx.idempotency_key());
        if ctx.attempt() == 1 { Err(ActivityError::new("busy", "")) } else { Ok(0) }
    }));
    env.run(env.worker().workflow::<TryTwice>().activity(keys));
    env.client.start::<TryTwice>(()).await.unwrap().result().await.unwrap();
    let keys = journal.lines();
    assert_eq!((&keys[0], &keys[2]), (&keys[1], &keys[3]));
    assert_ne!(keys[0], keys[2]);
}
