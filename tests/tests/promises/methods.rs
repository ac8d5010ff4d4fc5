//! Workflows that are functions and activities that are methods: what is stored of them, and what may change while runs are
//! open.

use pgworkflows::activity::ActivityDef;
use pgworkflows::history::Event;
use pgworkflows::prelude::*;
use pgworkflows_tests::{Env, Journal, assert_contains, logged, promises, stall_reason};

promises![
    run_of_a_function_calls_methods_with_their_options,
    arguments_are_stored_as_one_array_under_the_stored_name,
    argument_that_is_added_at_the_end_is_none_in_calls_that_are_scheduled_already,
    arguments_that_the_method_does_not_take_stall_the_run_with_both_signatures,
    typed_failure_of_a_method_is_caught_and_passed_on,
    compensation_by_definition_is_executed_after_a_failure,
];

#[derive(Debug, PartialEq, Failure)]
enum ChargeError {
    #[failure("card-declined", fatal, "declined: {0}")]
    Declined(String),
    #[failure("busy")]
    Busy,
}

struct Billing {
    journal: Journal,
}

#[activities]
impl Billing {
    #[activity(
        name = "billing.charge",
        retry = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(3)
    )]
    async fn charge(
        &self,
        ctx: &ActivityContext,
        payment: String,
        cents: u64,
    ) -> Result<String, ChargeError> {
        self.journal.note(format!("{payment} {cents}, attempt {}", ctx.attempt()));
        match cents {
            0 => Err(ChargeError::Busy),
            1..=100 => Ok(format!("receipt of {payment}")),
            _ => Err(ChargeError::Declined("no money".to_owned())),
        }
    }

    #[activity(name = "billing.refund")]
    async fn refund(&self, payment: String) -> ActivityResult<()> {
        self.journal.note(format!("refund {payment}"));
        Ok(())
    }
}

/// The same activity in later code.
struct LaterBilling {
    journal: Journal,
}

#[activities]
impl LaterBilling {
    #[activity(name = "billing.charge")]
    async fn charge_in(
        &self,
        payment: String,
        cents: u64,
        currency: Option<String>,
    ) -> ActivityResult<String> {
        self.journal.note(format!("{payment} {cents} {currency:?}"));
        Ok(currency.unwrap_or_default())
    }
}

#[workflow(name = "order")]
async fn order(ctx: Context, cents: u64) -> WorkflowResult<String> {
    match ctx.call(Billing::CHARGE, ("p1".to_owned(), cents)).await {
        Err(CallError::Failed(ChargeError::Declined(why))) => Ok(why),
        receipt => Ok(receipt?),
    }
}

async fn run_of_a_function_calls_methods_with_their_options(env: Env) {
    let journal = Journal::default();
    env.run(env.worker().workflow::<order>().activities(Billing { journal: journal.clone() }));
    let receipt = env.client.start::<order>(50).await.unwrap().result().await.unwrap();
    assert_eq!(receipt, "receipt of p1");
    let error = env.client.start::<order>(0).await.unwrap().result().await.unwrap_err();
    assert_eq!(error.typed(), Some(ChargeError::Busy));
    let attempts = ["p1 50, attempt 1", "p1 0, attempt 1", "p1 0, attempt 2", "p1 0, attempt 3"];
    assert_eq!(journal.lines(), attempts);
}

async fn arguments_are_stored_as_one_array_under_the_stored_name(env: Env) {
    #[workflow(name = "refunds")]
    async fn refunds(ctx: Context) -> WorkflowResult<()> {
        ctx.call(Billing::REFUND, "p1".to_owned()).await
    }

    env.run(env.worker().workflow::<refunds>().activities(Billing { journal: Journal::default() }));
    let run = env.client.start::<refunds>(()).await.unwrap();
    run.result().await.unwrap();
    let history = run.history().await.unwrap();
    let scheduled = history.iter().find_map(|event| match &event.event {
        Event::ActivityScheduled { activity, input, .. } => {
            Some((activity.to_string(), input.to_json().unwrap()))
        }
        _ => None,
    });
    let (activity, input) = scheduled.unwrap();
    assert_eq!((activity.as_str(), input.to_string().as_str()), ("billing.refund", r#"["p1"]"#));
}

async fn argument_that_is_added_at_the_end_is_none_in_calls_that_are_scheduled_already(env: Env) {
    // Given a call that waits for a worker with its activity
    let worker = env.run(env.worker().workflow::<order>());
    let run = env.client.start::<order>(50).await.unwrap();
    logged(&run, "activity.scheduled", 1).await;
    worker.stop().await;

    // When a worker has later code, with one more argument
    let journal = Journal::default();
    env.run(env.worker().workflow::<order>().activities(LaterBilling { journal: journal.clone() }));

    // Then the call is executed without it
    assert_eq!(run.result().await.unwrap(), "");
    assert_eq!(journal.lines(), ["p1 50 None"]);
}

async fn arguments_that_the_method_does_not_take_stall_the_run_with_both_signatures(env: Env) {
    // Given a workflow that passes other arguments than the method takes
    const OTHER: ActivityDef<(u64, bool, Vec<u8>), String> = ActivityDef::new("billing.charge");

    #[workflow(name = "order")]
    async fn other_order(ctx: Context, cents: u64) -> WorkflowResult<String> {
        ctx.call(OTHER, (cents, true, vec![1])).await
    }

    // When its activity is executed
    let billing = || Billing { journal: Journal::default() };
    env.run(env.worker().workflow::<other_order>().activities(billing()));
    let run = env.client.start::<other_order>(7).await.unwrap();

    // Then the run stalls, and nothing is lost
    let reason = stall_reason(&run).await;
    assert_contains(&reason, &["`billing.charge`", "(integer, bool, array)", "String, u64)", "deploy code"]);
}

async fn typed_failure_of_a_method_is_caught_and_passed_on(env: Env) {
    env.run(env.worker().workflow::<order>().activities(Billing { journal: Journal::default() }));
    assert_eq!(env.client.start::<order>(900).await.unwrap().result().await.unwrap(), "no money");
}

async fn compensation_by_definition_is_executed_after_a_failure(env: Env) {
    #[workflow(name = "refunded")]
    async fn refunded(ctx: Context, cents: u64) -> Result<(), CallError<ChargeError>> {
        ctx.compensate_with(Billing::REFUND, "p1".to_owned());
        ctx.call(Billing::CHARGE, ("p1".to_owned(), cents)).await?;
        Ok(())
    }

    let journal = Journal::default();
    env.run(env.worker().workflow::<refunded>().activities(Billing { journal: journal.clone() }));
    let error = env.client.start::<refunded>(900).await.unwrap().result().await.unwrap_err();
    assert_eq!(error.typed(), Some(ChargeError::Declined("no money".to_owned())));
    assert_eq!(journal.lines(), ["p1 900, attempt 1", "refund p1"]);
}
