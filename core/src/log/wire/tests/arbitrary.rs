//! Proptest strategies for every event and message.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::data::failure::Failure;
use crate::data::id::{CommandId, LeaseId, MessageId};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::{Encoding, Payload};
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;
use crate::log::event::{Event, STORED_NAMES};
use crate::log::message::{Flag, Message};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", "[a-z.-]{0,300}"]
}

fn name() -> impl Strategy<Value = Name> {
    text().prop_map(Name::from)
}

fn id() -> impl Strategy<Value = CommandId> {
    prop_oneof![0..30_u32, any::<u32>()].prop_map(CommandId::new)
}

fn lease() -> impl Strategy<Value = LeaseId> {
    any::<u64>().prop_map(LeaseId::new)
}

fn message_id() -> impl Strategy<Value = MessageId> {
    any::<u128>().prop_map(MessageId::from_u128)
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![-30..30_i64, Just(i64::MIN), Just(i64::MAX), any::<i64>()].prop_map(Timestamp::from_micros)
}

fn duration() -> impl Strategy<Value = Duration> {
    let seconds = prop_oneof![0..400_u64, Just(u64::MAX), any::<u64>()];
    let nanos = prop_oneof![Just(0), Just(999_999_999), 0..1_000_000_000_u32];
    (seconds, nanos).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn payload() -> impl Strategy<Value = Payload> {
    let encoding = prop_oneof![3 => Just(0), 1 => any::<u8>()];
    (encoding, vec(any::<u8>(), 0..300))
        .prop_map(|(number, bytes)| Payload::from_parts(Encoding::from_number(number), Bytes::from(bytes)))
}

fn failure() -> impl Strategy<Value = Failure> {
    let one = (text(), text(), any::<bool>(), of(payload())).prop_map(
        |(type_name, message, retryable, details)| Failure {
            type_name,
            message,
            retryable,
            cause: None,
            details,
        },
    );
    vec(one, 1..5).prop_map(|chain| {
        let caused =
            |cause: Option<Failure>, failure| Some(Failure { cause: cause.map(Box::new), ..failure });
        chain.into_iter().fold(None, caused).expect("the chain has a link")
    })
}

fn options() -> impl Strategy<Value = ActivityOptions> {
    let policy = (duration(), duration(), of(any::<u32>()), vec(text(), 0..3)).prop_map(
        |(initial, delay_max, max_attempts, non_retryable)| RetryPolicy {
            initial,
            delay_max,
            max_attempts,
            non_retryable,
        },
    );
    let policy = prop_oneof![Just(RetryPolicy::none()), Just(RetryPolicy::exponential()), policy];
    (policy, of(duration()), of(duration()), any::<bool>()).prop_map(
        |(retry, start_to_close, schedule_to_close, at_most_once)| ActivityOptions {
            retry,
            start_to_close,
            schedule_to_close,
            at_most_once,
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        payload().prop_map(Outcome::Completed),
        failure().prop_map(Outcome::Failed),
        Just(Outcome::Cancelled)
    ]
}

fn uncompensated() -> impl Strategy<Value = Vec<Uncompensated>> {
    vec((text(), failure()).prop_map(|(activity, failure)| Uncompensated { activity, failure }), 0..30)
}

/// Any event: every stored name is as likely as every other.
pub(super) fn event() -> impl Strategy<Value = Event> {
    prop::sample::select(STORED_NAMES).prop_flat_map(event_named)
}

/// Makes a strategy for one variant from strategies for its fields.
macro_rules! fields {
    ($type:ident::$variant:ident { $($field:ident: $strategy:expr),* $(,)? }) => {
        ($($strategy,)*).prop_map(|($($field,)*)| $type::$variant { $($field),* }).boxed()
    };
}

fn event_named(stored: &str) -> BoxedStrategy<Event> {
    match stored {
        "run.started" => fields!(Event::RunStarted {
            workflow: name(),
            input: payload(),
            key: of(text()),
            start_at: of(time()),
            lease: lease(),
        }),
        "run.adopted" => fields!(Event::RunAdopted { lease: lease(), worker: text() }),
        "activity.scheduled" => fields!(Event::ActivityScheduled {
            id: id(),
            activity: name(),
            input: payload(),
            options: options(),
        }),
        "activity.attempt-started" => {
            fields!(Event::ActivityAttemptStarted { id: id(), attempt: any::<u32>() })
        }
        "activity.attempt-failed" => fields!(Event::ActivityAttemptFailed {
            id: id(),
            attempt: any::<u32>(),
            failure: failure(),
            retry_at: time(),
        }),
        "activity.attempt-lost" => fields!(Event::ActivityAttemptLost { id: id(), attempt: any::<u32>() }),
        "activity.completed" => fields!(Event::ActivityCompleted { id: id(), result: payload() }),
        "activity.failed" => fields!(Event::ActivityFailed { id: id(), failure: failure() }),
        "activity.cancelled" => fields!(Event::ActivityCancelled { id: id() }),
        "step.completed" => fields!(Event::StepCompleted { id: id(), step: name(), result: payload() }),
        "step.failed" => fields!(Event::StepFailed { id: id(), step: name(), failure: failure() }),
        "timer.started" => fields!(Event::TimerStarted { id: id(), fire_at: time() }),
        "timer.fired" => fields!(Event::TimerFired { id: id() }),
        "timer.cancelled" => fields!(Event::TimerCancelled { id: id() }),
        "signal.received" => fields!(Event::SignalReceived {
            message: message_id(),
            signal: name(),
            payload: payload(),
            key: of(text()),
        }),
        "cancel.requested" => fields!(Event::CancelRequested { message: message_id(), reason: of(text()) }),
        "run.stalled" => fields!(Event::RunStalled { reason: text() }),
        "run.resumed" => fields!(Event::RunResumed { released: any::<u32>() }),
        "run.ending" => fields!(Event::RunEnding { outcome: outcome() }),
        "compensation.registered" => fields!(Event::CompensationRegistered {
            id: id(),
            activity: name(),
            input: payload(),
            options: options(),
        }),
        "compensation.scheduled" => fields!(Event::CompensationScheduled { id: id() }),
        "compensation.completed" => fields!(Event::CompensationCompleted { id: id() }),
        "compensation.failed" => fields!(Event::CompensationFailed { id: id(), failure: failure() }),
        "run.completed" => fields!(Event::RunCompleted { result: payload() }),
        "run.failed" => fields!(Event::RunFailed { failure: failure(), uncompensated: uncompensated() }),
        "run.cancelled" => {
            fields!(Event::RunCancelled { reason: of(text()), uncompensated: uncompensated() })
        }
        "run.terminated" => fields!(Event::RunTerminated {
            message: message_id(),
            reason: text(),
            skipped: vec(text(), 0..30),
        }),
        other => panic!("write a strategy for {other}"),
    }
}

/// Any message.
pub(super) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        fields!(Message::Start {
            workflow: name(),
            input: payload(),
            key: of(text()),
            start_at: of(time()),
            repeated: any::<bool>().prop_map(Flag),
        }),
        fields!(Message::Signal { signal: name(), payload: payload(), key: of(text()) }),
        fields!(Message::Cancel { reason: of(text()) }),
        fields!(Message::Terminate { reason: text() }),
    ]
}
