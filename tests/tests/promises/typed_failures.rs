//! Typed failures: the stored name decides what a failure is, for the retry policy, the workflow and the client.

use pgworkflows::error::TypedFailure;
use pgworkflows::prelude::*;
use pgworkflows_tests::{ActivityFn, Env, Journal, activity, promises, workflow};

promises![
    failures_of_a_type_are_caught_by_their_stored_names,
    fatal_failure_is_not_retried_and_others_are,
    failure_of_a_workflow_reaches_the_client_with_its_type,
    name_that_the_code_lacks_is_no_stall,
    details_that_do_not_fit_are_no_stall_and_stay_in_the_causes,
];

#[derive(Clone, Debug, PartialEq, Failure)]
enum ChargeError {
    #[failure("card-declined", fatal, "declined: {0}")]
    Declined(String),
    #[failure("over-limit", "{cents} cents are over the limit")]
    OverLimit { cents: u64, limit: Option<u64> },
    #[failure("busy")]
    Busy,
}

/// The same failures in later code: other Rust names, another field under one name, and one name is gone.
mod renamed {
    use super::*;

    #[derive(Debug, PartialEq, Failure)]
    pub(super) enum PaymentFailure {
        #[failure("card-declined", fatal, "refused: {reason}")]
        Refused { reason: u8 },
        #[failure("over-limit", "over the limit by {cents}")]
        TooMuch {
            cents: u64,
            #[serde(default)]
            currency: String,
        },
    }
}

activity!(Charge, "charge", u64 => ());

/// Fails by the number of cents.
fn bank(journal: &Journal) -> Charge {
    Charge(ActivityFn::with(journal.clone(), |journal, ctx, cents| async move {
        journal.note(format!("attempt {}", ctx.attempt()));
        Err(match cents {
            0 => ChargeError::Busy,
            1..=100 => ChargeError::Declined("no money".to_owned()),
            cents => ChargeError::OverLimit { cents, limit: None },
        })?
    }))
}

workflow!(Order, "order", |ctx: Context, cents: u64| -> WorkflowResult<String> {
    let retry = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(3);
    match ctx.activity::<Charge>(cents).retry(retry).await.map_err(CallError::of) {
        Err(CallError::Failed(ChargeError::Declined(why))) => Ok(format!("declined: {why}")),
        Err(CallError::Failed(ChargeError::OverLimit { cents, limit })) => Ok(format!("{cents} {limit:?}")),
        charged => charged.map(|()| "charged".to_owned()).map_err(WorkflowError::from),
    }
});

async fn failures_of_a_type_are_caught_by_their_stored_names(env: Env) {
    env.run(env.worker().workflow::<Order>().activity(bank(&Journal::default())));
    let result = async |cents| env.client.start::<Order>(cents).await.unwrap().result().await;
    assert_eq!(result(50).await.unwrap(), "declined: no money");
    assert_eq!(result(900).await.unwrap(), "900 None");
}

async fn fatal_failure_is_not_retried_and_others_are(env: Env) {
    let journal = Journal::default();
    env.run(env.worker().workflow::<Order>().activity(bank(&journal)));
    env.client.start::<Order>(50).await.unwrap().result().await.unwrap();
    assert_eq!(journal.lines(), ["attempt 1"]);
    env.client.start::<Order>(900).await.unwrap().result().await.unwrap();
    assert_eq!(journal.lines(), ["attempt 1", "attempt 1", "attempt 2", "attempt 3"]);
}

async fn failure_of_a_workflow_reaches_the_client_with_its_type(env: Env) {
    env.run(env.worker().workflow::<Order>().activity(bank(&Journal::default())));
    let run = env.client.start::<Order>(0).await.unwrap();
    let error = run.result().await.unwrap_err();
    assert_eq!(error.typed(), Some(ChargeError::Busy));
    assert_eq!(error.failure().unwrap(), &ChargeError::Busy.into_failure());
    assert_eq!(error.typed::<renamed::PaymentFailure>(), None);
}

/// What `CallError::of` makes of a failed charge.
fn seen<E: TypedFailure + std::fmt::Debug>(error: WorkflowError) -> String {
    match CallError::<E>::of(error) {
        CallError::Failed(failed) => format!("{failed:?}"),
        CallError::Other(error) => format!("other: {error}"),
    }
}

workflow!(LaterOrder, "order", |ctx: Context, cents: u64| -> WorkflowResult<String> {
    let error = ctx.activity::<Charge>(cents).await.unwrap_err();
    assert!(error.is("busy") || error.is("card-declined") || error.is("over-limit"));
    Ok(seen::<renamed::PaymentFailure>(error))
});

async fn name_that_the_code_lacks_is_no_stall(env: Env) {
    env.run(env.worker().workflow::<LaterOrder>().activity(bank(&Journal::default())));
    let seen = env.client.start::<LaterOrder>(0).await.unwrap().result().await.unwrap();
    assert_eq!(seen, "other: activity `charge` failed: busy (busy)");
}

async fn details_that_do_not_fit_are_no_stall_and_stay_in_the_causes(env: Env) {
    env.run(env.worker().workflow::<LaterOrder>().activity(bank(&Journal::default())));
    let seen = async |cents| env.client.start::<LaterOrder>(cents).await.unwrap().result().await.unwrap();
    let unreadable = seen(50).await;
    assert!(
        unreadable.starts_with("other: the details of `card-declined` are not those of "),
        "{unreadable}"
    );
    assert!(
        unreadable.contains("PaymentFailure") && unreadable.contains("(unreadable-details)"),
        "{unreadable}"
    );
    assert!(
        unreadable.ends_with("activity `charge` failed: declined: no money (card-declined)"),
        "{unreadable}"
    );
    // A field that is gone is ignored, and one that is missing has its default.
    assert_eq!(seen(900).await, r#"TooMuch { cents: 900, currency: "" }"#);
}
