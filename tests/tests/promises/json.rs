//! Clients without the workflow's types start and signal runs with JSON, and read results as payloads.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use pgworkflows::client::Untyped;
use pgworkflows::payload::{Encoding, Payload};
use pgworkflows::prelude::*;
use pgworkflows_tests::{Env, assert_contains, promises, stall_reason, workflow};
use uuid::Uuid;

promises![
    json_is_decoded_into_the_types_of_the_workflow,
    json_start_and_typed_start_of_an_equal_value_share_a_key,
    json_of_another_type_stalls_its_run_at_the_named_place,
    invalid_json_is_refused_before_it_is_sent,
];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    id: Uuid,
    ordered_at: DateTime<Utc>,
    rate: f64,
    count: u64,
    seats: BTreeMap<u16, f32>,
    customer: Customer,
    shipping: Shipping,
    note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub(crate) enum Customer {
    Person { born: u16 },
    Company { share: f64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Shipping {
    Pickup,
    Parcel(String),
}

const PAID: Signal<(f64, Uuid)> = Signal::new("paid");

workflow!(Sell, "sell", |ctx: Context, order: Order| -> WorkflowResult<(Order, f64, Uuid)> {
    let (amount, payment) = ctx.wait_for(PAID).await?;
    Ok((order, amount, payment))
});

/// Values that CBOR would read differently: whole numbers for floats, and texts for ids, times and numbers.
const ORDER: &str = r#" {
    "id": "0198c0de-7fff-4000-8000-0123456789ab", "ordered_at": "2026-01-01T12:00:00+01:00",
    "rate": 5, "count": 7, "seats": {"3": 1, "70": 0.5},
    "customer": {"kind": "Company", "share": 1}, "shipping": {"Parcel": "Berlin"}
} "#;

const PAYMENT: Uuid = Uuid::from_u128(7);

fn order() -> Order {
    Order {
        id: Uuid::from_u128(0x0198_c0de_7fff_4000_8000_0123_4567_89ab),
        ordered_at: DateTime::from_timestamp(1_767_265_200, 0).unwrap(),
        rate: 5.0,
        count: 7,
        seats: BTreeMap::from([(3, 1.0), (70, 0.5)]),
        customer: Customer::Company { share: 1.0 },
        shipping: Shipping::Parcel("Berlin".to_owned()),
        note: None,
    }
}

async fn json_is_decoded_into_the_types_of_the_workflow(env: Env) {
    // Given a run that was started and signalled by name with JSON, before a worker started
    let run =
        env.client.start_named("sell", Payload::from_json(ORDER).unwrap()).key("order:7").await.unwrap();
    let paid = Payload::from_json(format!(r#"[20, "{PAYMENT}"]"#)).unwrap();
    env.client.signal_named(run.run_id(), "paid", paid).key("payment:7").await.unwrap();
    // When a worker executes it
    env.run(env.worker().workflow::<Sell>());
    // Then its code gets values of its own types, and the result is encoded as CBOR
    let result = run.result().await.unwrap();
    assert_eq!(result.encoding(), Encoding::CBOR);
    assert_eq!(result.decode::<(Order, f64, Uuid)>().unwrap(), (order(), 20.0, PAYMENT));
    assert_eq!(result.to_json().unwrap()[0]["shipping"]["Parcel"], "Berlin");
    // Then typed and untyped handles return the same result
    let typed = env.client.handle::<Sell>(run.run_id()).result().await.unwrap();
    assert_eq!(typed, (order(), 20.0, PAYMENT));
    let untyped = env.client.handle::<Untyped>(run.run_id()).result().await.unwrap();
    assert_eq!(untyped, result);
}

async fn json_start_and_typed_start_of_an_equal_value_share_a_key(env: Env) {
    workflow!(Rates, "rates", |_ctx: Context, rates: BTreeMap<String, f64>| -> WorkflowResult<f64> {
        Ok(rates.values().sum())
    });
    // Given a start from Rust
    let rates = BTreeMap::from([("one".to_owned(), 1.0), ("half".to_owned(), 0.5)]);
    let typed = env.client.start::<Rates>(rates).key("rates").await.unwrap();
    // When the same value is started in JSON, then it finds that run, however the JSON is written
    let start = |json: &str| env.client.start_named("rates", Payload::from_json(json).unwrap()).key("rates");
    for json in [r#"{"half":0.5,"one":1}"#, r#"{ "one": 1.0, "half": 5e-1 }"#] {
        let again = start(json).await.unwrap();
        assert_eq!((again.run_id(), again.is_existing()), (typed.run_id(), true));
    }
    // When another value is started, then the error says where they differ
    env.run(env.worker().workflow::<Rates>());
    assert_eq!(typed.result().await.unwrap(), 1.5);
    let error = start(r#"{"half": 0.5, "one": 2}"#).await.unwrap_err();
    assert!(error.is_key_conflict() && error.to_string().contains("differs in `one`"), "{error}");
}

async fn json_of_another_type_stalls_its_run_at_the_named_place(env: Env) {
    // Given a start whose JSON is not of the workflow's type
    env.run(env.worker().workflow::<Sell>());
    let wrong = Payload::from_json(ORDER.replace("7,", "7.5,")).unwrap();
    let run = env.client.start_named("sell", wrong).await.unwrap();
    // Then its run stalls, and the reason names the field and the line
    let place = "`count`: invalid type: floating point, expected u64 at line 3";
    let run = env.client.handle::<Sell>(run.run_id());
    assert_contains(stall_reason(&run).await, &[place]);
}

async fn invalid_json_is_refused_before_it_is_sent(env: Env) {
    let damaged = || Payload::from_parts(Encoding::JSON, "{\"id\": ".into());
    let error = env.client.start_named("sell", damaged()).await.unwrap_err();
    assert!(error.is_payload() && error.to_string().contains("the input of workflow `sell`"), "{error}");
    let run = env.client.start_named("sell", Payload::from_json(ORDER).unwrap()).await.unwrap();
    let error = env.client.signal_named(run.run_id(), "paid", damaged()).await.unwrap_err();
    assert!(error.is_payload() && error.to_string().contains("the content of signal `paid`"), "{error}");
    assert_eq!(env.client.list().workflow("sell").await.unwrap().len(), 1);
}
