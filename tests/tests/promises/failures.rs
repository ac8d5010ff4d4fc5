//! Failures keep their structure for the workflow and for the caller: type, message, whether they are retryable, causes
//! and typed details.

use std::error::Error as StdError;
use std::fmt;

use pgworkflows::prelude::*;
use pgworkflows_tests::{ActivityFn, Env, activity, promises, workflow};

promises![
    failure_of_an_activity_reaches_the_caller_with_its_structure,
    workflow_distinguishes_failures_and_reads_their_details,
    error_of_the_workflow_keeps_its_type_and_details,
    error_from_the_standard_library_keeps_its_type_and_causes,
    non_retryable_failure_is_marked_as_such,
    panic_in_an_activity_is_a_failed_attempt,
    result_of_another_type_is_an_error,
];

activity!(Charge, "charge", u32 => ());

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Declined {
    code: String,
    limit: u32,
}

workflow!(Order, "order", |ctx: Context, amount: u32| -> WorkflowResult<String> {
    match ctx.activity::<Charge>(amount).await {
        Err(error) if amount == 1 => {
            let declined: Declined = error.details().unwrap();
            let failure = error.failure().unwrap();
            Ok(format!("{} {} {}", failure.is("card-declined"), failure.is("busy"), declined.limit))
        }
        outcome => outcome.map(|()| "charged".to_owned()),
    }
});

fn declining() -> Charge {
    Charge(ActivityFn::new(|_, _| async {
        let declined = Declined { code: "51".to_owned(), limit: 100 };
        Err(ActivityError::new("card-declined", "not enough money").with_details(&declined))
    }))
}

async fn failure_of_an_activity_reaches_the_caller_with_its_structure(env: Env) {
    env.run(env.worker().workflow::<Order>().activity(declining()));
    let run = env.client.start::<Order>(2).await.unwrap();
    let error = run.result().await.unwrap_err();

    let failure = error.failure().unwrap();
    assert_eq!((&*failure.type_name, &*failure.message), ("call-failed", "activity `charge` failed"));
    let cause = failure.cause.as_ref().unwrap();
    assert_eq!((&*cause.type_name, &*cause.message), ("card-declined", "not enough money"));
    assert!(failure.retryable && failure.is("card-declined") && !failure.is("busy"));
    let details: Declined = failure.details().unwrap();
    assert_eq!(details, Declined { code: "51".to_owned(), limit: 100 });
    assert_eq!(failure.details::<u64>(), None);

    // As an error, it has sources, and its text contains all of them.
    assert_eq!(
        error.to_string(),
        format!("run {} failed: activity `charge` failed: not enough money (card-declined)", run.run_id())
    );
    let call = error.source().unwrap();
    assert_eq!(call.source().unwrap().to_string(), "not enough money (card-declined)");
    // A later request returns the same failure.
    let again = env.client.handle::<Order>(run.run_id()).result().await.unwrap_err();
    assert_eq!(again.failure(), error.failure());
}

async fn workflow_distinguishes_failures_and_reads_their_details(env: Env) {
    env.run(env.worker().workflow::<Order>().activity(declining()));
    let run = env.client.start::<Order>(1).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "true false 100");
}

async fn error_of_the_workflow_keeps_its_type_and_details(env: Env) {
    workflow!(Refuse, "refuse", |_ctx: Context, limit: u32| -> WorkflowResult<()> {
        let details = Declined { code: "own".to_owned(), limit };
        Err(WorkflowError::new("out-of-stock", "there is none left").with_details(&details))
    });

    env.run(env.worker().workflow::<Refuse>());
    let error = env.client.start::<Refuse>(7).await.unwrap().result().await.unwrap_err();
    let failure = error.failure().unwrap();
    assert_eq!((&*failure.type_name, &*failure.message), ("out-of-stock", "there is none left"));
    assert_eq!(failure.details::<Declined>().unwrap().limit, 7);
    assert!(failure.cause.is_none());
}

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the amount cannot be read")
    }
}

impl StdError for Outer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

async fn error_from_the_standard_library_keeps_its_type_and_causes(env: Env) {
    workflow!(Parse, "parse", |_ctx: Context, text: String| -> WorkflowResult<u32> {
        Ok(text.parse().map_err(Outer)?)
    });

    env.run(env.worker().workflow::<Parse>());
    let error = env.client.start::<Parse>("ten".to_owned()).await.unwrap().result().await.unwrap_err();
    let failure = error.failure().unwrap();
    assert!(failure.type_name.ends_with("::Outer"), "{}", failure.type_name);
    assert_eq!(
        failure.to_string(),
        format!("the amount cannot be read ({}): invalid digit found in string", failure.type_name)
    );
}

async fn non_retryable_failure_is_marked_as_such(env: Env) {
    let charge = Charge(ActivityFn::new(|_, _| async {
        Err(ActivityError::non_retryable(ActivityError::new("card-stolen", "call the police")))
    }));
    env.run(env.worker().workflow::<Order>().activity(charge));
    let error = env.client.start::<Order>(2).await.unwrap().result().await.unwrap_err();
    let failure = error.failure().unwrap();
    assert!(!failure.retryable && !failure.cause.as_ref().unwrap().retryable);
}

async fn panic_in_an_activity_is_a_failed_attempt(env: Env) {
    workflow!(TryTwice, "try-twice", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let policy = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(2);
        ctx.activity::<Charge>(0).retry(policy).await
    });

    // A call with a retry succeeds after the panic, and a call without one fails.
    let clumsy = Charge(ActivityFn::new(|ctx, _| async move {
        assert!(ctx.attempt() > 1, "the cup fell");
        Ok(())
    }));
    let worker = env.run(env.worker().workflow::<TryTwice>().workflow::<Order>().activity(clumsy));
    env.client.start::<TryTwice>(()).await.unwrap().result().await.unwrap();
    let error = env.client.start::<Order>(2).await.unwrap().result().await.unwrap_err();
    let cause = error.failure().unwrap().cause.as_ref().unwrap();
    assert_eq!(&*cause.type_name, "panic");
    assert!(cause.message.starts_with("the cup fell (at "), "{}", cause.message);
    worker.stop().await;
}

async fn result_of_another_type_is_an_error(env: Env) {
    mod other {
        pgworkflows_tests::workflow!(Word, "word", |_ctx: Context, _input: ()| -> WorkflowResult<u32> {
            Ok(7)
        });
    }
    workflow!(Word, "word", |_ctx: Context, _input: ()| -> WorkflowResult<String> { Ok("seven".to_owned()) });
    workflow!(Unrelated, "unrelated", |_ctx: Context, _input: ()| -> WorkflowResult<String> {
        Ok(String::new())
    });

    env.run(env.worker().workflow::<Word>());
    let run = env.client.start::<Word>(()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "seven");
    let error = env.client.handle::<other::Word>(run.run_id()).result().await.unwrap_err();
    assert!(error.is_payload(), "{error}");
    assert!(error.to_string().contains(&run.run_id().to_string()), "{error}");
    let error = env.client.handle::<Unrelated>(run.run_id()).result().await.unwrap_err();
    assert!(error.is_invalid(), "{error}");
    assert!(error.to_string().contains("`word`") && error.to_string().contains("`unrelated`"), "{error}");
}
