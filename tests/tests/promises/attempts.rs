//! Attempts: which are made again, when, and what is charged to whom.

use pgworkflows::RunHandle;
use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_tests::{Bed, Journal, activity, count, eventually, promises, workflow};

promises![
    activities_are_tried_once_unless_a_policy_says_otherwise,
    attempts_follow_one_another_after_exponential_delays_up_to_the_maximum,
    failure_of_a_type_that_is_not_retryable_is_the_last,
    error_that_says_it_is_not_retryable_is_the_last,
    attempt_that_takes_too_long_is_told_and_fails_retryably,
    activity_whose_attempts_take_too_long_in_all_fails,
    options_of_the_activity_stand_where_the_call_sets_none,
    attempts_are_counted_over_crashes,
    retry_that_fell_due_while_nobody_worked_is_made,
    activity_of_at_most_once_is_not_repeated_after_a_crash,
    at_most_so_many_activities_run_at_a_time,
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

/// Succeeds with its number at the attempt of that number, and notes them all; before, it fails with its input as
/// the error's type.
fn succeeding_at(attempt: u32, journal: &Journal) -> Try {
    let journal = journal.clone();
    Try::that(move |ctx, input: String| {
        journal.note(format!("attempt {}", ctx.attempt()));
        async move {
            match ctx.attempt() {
                number if number < attempt => Err(ActivityError::new(input, "not yet")),
                number => Ok(number),
            }
        }
    })
}

fn equip(worker: WorkerBuilder, activity: Try) -> WorkerBuilder {
    worker.workflow::<TryOnce>().workflow::<TryOften>().activity(activity)
}

async fn activities_are_tried_once_unless_a_policy_says_otherwise(bed: Bed) {
    let journal = Journal::default();
    bed.work(equip(bed.worker(), succeeding_at(2, &journal)));
    let run = bed.client.start::<TryOnce>("busy".to_owned()).await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.failure().unwrap().is("busy"), "{error}");
    assert_eq!(journal.lines(), ["attempt 1"]);
}

async fn attempts_follow_one_another_after_exponential_delays_up_to_the_maximum(bed: Bed) {
    let journal = Journal::default();
    bed.work(equip(bed.worker(), succeeding_at(9, &journal)));
    let run = bed.client.start::<TryOften>("busy".to_owned()).await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_failed());
    assert_eq!(journal.lines(), ["attempt 1", "attempt 2", "attempt 3", "attempt 4"]);

    // The delays are 20, 40 and 60 ms (not 80), less a quarter at most.
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

async fn failure_of_a_type_that_is_not_retryable_is_the_last(bed: Bed) {
    let journal = Journal::default();
    bed.work(equip(bed.worker(), succeeding_at(2, &journal)));
    let run = bed.client.start::<TryOften>("declined".to_owned()).await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.failure().unwrap().is("declined"), "{error}");
    assert_eq!(journal.lines(), ["attempt 1"]);
}

async fn error_that_says_it_is_not_retryable_is_the_last(bed: Bed) {
    bed.work(equip(
        bed.worker(),
        Try::that(
            |_, input: String| async move { input.parse::<u32>().map_err(ActivityError::non_retryable) },
        ),
    ));
    let run = bed.client.start::<TryOften>("ten".to_owned()).await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(!error.failure().unwrap().retryable);
    assert_eq!(count(&run, "activity.attempt-failed").await, 0);
}

async fn attempt_that_takes_too_long_is_told_and_fails_retryably(bed: Bed) {
    workflow!(Hurry, "hurry", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
        let policy = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(2);
        ctx.activity::<Try>(String::new()).retry(policy).start_to_close(Duration::from_millis(50)).await
    });

    // Given an activity whose first attempt goes on until it is told to stop
    let journal = Journal::default();
    let noted = journal.clone();
    let slow = Try::that(move |ctx, _| {
        let noted = noted.clone();
        async move {
            if ctx.attempt() == 1 {
                ctx.cancellation().cancelled().await;
                noted.note("told");
            }
            Ok(ctx.attempt())
        }
    });
    bed.work(bed.worker().workflow::<Hurry>().activity(slow));
    let run = bed.client.start::<Hurry>(()).await.unwrap();

    assert_eq!(run.result().await.unwrap(), 2);
    journal.shows("told", 1).await;
    let history = run.history().await.unwrap();
    let failure = history.iter().find_map(|event| match &event.event {
        Event::ActivityAttemptFailed { failure, .. } => Some(failure),
        _ => None,
    });
    assert_eq!(failure.unwrap().type_name, "timed-out");
    assert!(failure.unwrap().message.contains("50ms (start_to_close)"), "{failure:?}");
}

async fn activity_whose_attempts_take_too_long_in_all_fails(bed: Bed) {
    workflow!(GiveUp, "give-up", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
        let policy = RetryPolicy::exponential().initial(Duration::from_millis(10));
        let limit = Duration::from_secs(1);
        ctx.activity::<Try>("busy".to_owned()).retry(policy).schedule_to_close(limit).await
    });

    // Given an activity that fails again and again, and then does not end
    let journal = Journal::default();
    let noted = journal.clone();
    let slow = Try::that(move |ctx, _| {
        let noted = noted.clone();
        async move {
            if ctx.attempt() > 2 {
                noted.note("goes on");
                ctx.cancellation().cancelled().await;
                noted.note("told");
            }
            Err(ActivityError::new("busy", "not yet"))
        }
    });
    bed.work(bed.worker().workflow::<GiveUp>().activity(slow));
    let run = bed.client.start::<GiveUp>(()).await.unwrap();

    // Then it fails when its time is over, and the last attempt is told
    let error = run.result().await.unwrap_err();
    let cause = error.failure().unwrap().cause.as_ref().unwrap();
    assert_eq!(cause.type_name, "timed-out");
    assert!(cause.message.contains("within 1s of its scheduling (schedule_to_close)"), "{cause}");
    journal.shows("told", 1).await;
    assert_eq!(count(&run, "activity.attempt-failed").await, 2);
}

async fn options_of_the_activity_stand_where_the_call_sets_none(bed: Bed) {
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
    bed.work(bed.worker().workflow::<Use>().activity(Patient(journal.clone())));
    bed.client.start::<Use>(()).await.unwrap().result().await.unwrap();
    assert_eq!(journal.count("tried"), 3 + 1);
}

/// A run whose first attempt failed, and whose worker was killed in the second.
async fn run_that_crashed_in_its_second_attempt(bed: &Bed, journal: &Journal) -> RunHandle<TryOften> {
    let noted = journal.clone();
    let worker = bed
        .work_until_killed(move |worker| {
            equip(
                worker,
                Try::that(move |ctx, _| {
                    noted.note(format!("attempt {}", ctx.attempt()));
                    async move {
                        if ctx.attempt() == 2 {
                            std::future::pending::<()>().await;
                        }
                        Err(ActivityError::new("busy", "not yet"))
                    }
                }),
            )
        })
        .await;
    let run = bed.client.start::<TryOften>("busy".to_owned()).await.unwrap();
    journal.shows("attempt 2", 1).await;
    worker.kill().await;
    run
}

async fn attempts_are_counted_over_crashes(bed: Bed) {
    let journal = Journal::default();
    let run = run_that_crashed_in_its_second_attempt(&bed, &journal).await;
    bed.work(equip(bed.worker(), succeeding_at(4, &journal)));
    // The attempt that died with its worker is made again, and is not charged.
    assert_eq!(run.result().await.unwrap(), 4);
    assert_eq!(journal.lines(), ["attempt 1", "attempt 2", "attempt 2", "attempt 3", "attempt 4"]);
}

async fn retry_that_fell_due_while_nobody_worked_is_made(bed: Bed) {
    workflow!(TryLater, "try-later", |ctx: Context, input: String| -> WorkflowResult<u32> {
        let policy = RetryPolicy::exponential().initial(Duration::from_millis(500));
        ctx.activity::<Try>(input).retry(policy).await
    });

    let journal = Journal::default();
    let equip = |worker: WorkerBuilder| worker.workflow::<TryLater>().activity(succeeding_at(2, &journal));
    let worker = bed.work(equip(bed.worker()));
    let run = bed.client.start::<TryLater>("busy".to_owned()).await.unwrap();
    eventually("the first attempt failed", async || {
        (count(&run, "activity.attempt-failed").await == 1).then_some(())
    })
    .await;
    worker.stop().await;
    tokio::time::sleep(Duration::from_millis(600)).await;

    bed.work(equip(bed.worker()));
    assert_eq!(run.result().await.unwrap(), 2);
    assert_eq!(journal.lines(), ["attempt 1", "attempt 2"]);
}

async fn activity_of_at_most_once_is_not_repeated_after_a_crash(bed: Bed) {
    workflow!(Once, "once", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        let error = ctx.activity::<Try>(String::new()).at_most_once().await.unwrap_err();
        Ok(error.failure().and_then(|failure| failure.cause.as_ref()).unwrap().type_name.clone())
    });

    let journal = Journal::default();
    let noted = journal.clone();
    let worker = bed
        .work_until_killed(move |worker| {
            worker.workflow::<Once>().activity(Try::that(move |_, _| {
                noted.note("begun");
                std::future::pending()
            }))
        })
        .await;
    let run = bed.client.start::<Once>(()).await.unwrap();
    journal.shows("begun", 1).await;
    // That it begins is in the log before it does.
    assert_eq!(count(&run, "activity.attempt-started").await, 1);
    worker.kill().await;

    bed.work(bed.worker().workflow::<Once>().activity(succeeding_at(1, &journal)));
    assert_eq!(run.result().await.unwrap(), "attempt-lost");
    assert_eq!(journal.lines(), ["begun"]);
}

async fn at_most_so_many_activities_run_at_a_time(bed: Bed) {
    workflow!(TryMany, "try-many", |ctx: Context, count: u32| -> WorkflowResult<usize> {
        let tries = (0..count).map(|_| ctx.activity::<Try>(String::new()));
        Ok(ctx.when_all(tries).await?.len())
    });

    let running = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let most = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let (now, highest) = (running, std::sync::Arc::clone(&most));
    let busy = Try::that(move |_, _| {
        let (now, highest) = (std::sync::Arc::clone(&now), std::sync::Arc::clone(&highest));
        async move {
            use std::sync::atomic::Ordering::SeqCst;
            highest.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, SeqCst);
            Ok(0)
        }
    });
    bed.work(bed.worker().activities_max(3).workflow::<TryMany>().activity(busy));
    let run = bed.client.start::<TryMany>(20).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 20);
    assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 3);
}

async fn attempts_of_one_call_share_an_idempotency_key(bed: Bed) {
    workflow!(TryTwice, "try-twice", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let policy = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(2);
        for _ in 0..2 {
            ctx.activity::<Try>("busy".to_owned()).retry(policy.clone()).await?;
        }
        Ok(())
    });

    let journal = Journal::default();
    let noted = journal.clone();
    let keys = Try::that(move |ctx, _| {
        noted.note(ctx.idempotency_key());
        async move { if ctx.attempt() == 1 { Err(ActivityError::new("busy", "")) } else { Ok(0) } }
    });
    bed.work(bed.worker().workflow::<TryTwice>().activity(keys));
    bed.client.start::<TryTwice>(()).await.unwrap().result().await.unwrap();
    let keys = journal.lines();
    assert_eq!((&keys[0], &keys[2]), (&keys[1], &keys[3]));
    assert_ne!(keys[0], keys[2]);
}
