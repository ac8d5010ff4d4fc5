//! Arbitrary events and messages: values of each type that a field can have. The table says which fields there are.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::strategy::Union;

use crate::data::attributes::Attributes;
use crate::data::chain::{ChainLink, KnownMessage, KnownMessages, LeftMessages, RunRetry};
use crate::data::child::{ChildPolicy, GivenUp, Parent};
use crate::data::failure::Failure;
use crate::data::id::{CommandId, EventSeq, ExecutorId, LeaseId, MessageId, RunId};
use crate::data::name::Name;
use crate::data::options::{ActivityOptions, Settings};
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::{Encoding, Payload};
use crate::data::recipient::Recipient;
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;
use crate::log::event::Event;
use crate::log::message::{Flag, Message};
use crate::log::table::{events, messages};

/// Defines the arbitrary values of some types.
macro_rules! arbitrary {
    ($($type:ty => $strategy:expr;)*) => {
        $(impl Arbitrary for $type {
            type Parameters = ();
            type Strategy = BoxedStrategy<Self>;

            fn arbitrary_with((): ()) -> BoxedStrategy<Self> {
                $strategy.boxed()
            }
        })*
    };
}

/// Nested pairs of the fields, because a tuple of strategies has at most 12.
macro_rules! fields {
    (any) => { Just(()) };
    (any $type:ty, $($rest:tt)*) => { (any::<$type>(), fields!(any $($rest)*)) };
    (names) => { () };
    (names $name:ident, $($rest:tt)*) => { ($name, fields!(names $($rest)*)) };
}

/// Defines arbitrary events or messages from the rows of the table, in which every kind is equally likely.
macro_rules! make_arbitrary {
    ($type:ident: $(
        $(#[$doc:meta])*
        $name:literal $version:literal => $variant:ident = $code:literal
            $(: $role:ident, $consequence:ident $(($status:ident))?)?
        {
            $($(#[$field_doc:meta])* $field:ident: $field_type:ty,)*
        }
    )*) => {
        arbitrary! {
            $type => Union::new([$(
                fields!(any $($field_type,)*).prop_map(|fields!(names $($field,)*)| $type::$variant { $($field),* }).boxed(),
            )*]);
        }
    };
}

events!(make_arbitrary);
messages!(make_arbitrary);

arbitrary! {
    CommandId => prop_oneof![0..30_u32, any::<u32>()].prop_map(Self::new);
    EventSeq => any::<u32>().prop_map(Self::new);
    LeaseId => any::<u64>().prop_map(Self::new);
    ExecutorId => any::<u64>().prop_map(Self::new);
    MessageId => any::<u128>().prop_map(Self::from_u128);
    RunId => any::<u128>().prop_map(Self::from_u128);
    Recipient => prop_oneof![
        any::<RunId>().prop_map(Self::Run),
        (text(), text()).prop_map(|(workflow, key)| Self::named(workflow, key)),
    ];
    ChildPolicy => (0..4_usize).prop_map(|index| Self::ALL[index]);
    GivenUp => any::<ChildPolicy>().prop_map(Self);
    Parent => (any::<RunId>(), any::<CommandId>()).prop_map(|(run, call)| Self { run, call });
    Name => text().prop_map(Self::from);
    Attributes => vec((any::<Name>(), text()), 0..3).prop_map(|attributes| attributes.into_iter().collect());
    ChainLink => any::<(RunId, RunId, u32)>()
        .prop_map(|(first, predecessor, number)| Self { first, predecessor, number });
    Box<TraceContext> => any::<(u128, u64, u8)>().prop_map(|(trace, span, flags)| {
        let (trace, span) = (trace.max(1).to_be_bytes(), span.max(1).to_be_bytes());
        Self::new(TraceContext::new(trace, span, flags).expect("neither id is 0"))
    });
    Box<RunRetry> => any::<(u32, RetryPolicy)>()
        .prop_map(|(attempt, policy)| Self::new(RunRetry { attempt, policy }));
    KnownMessages => vec(any::<(MessageId, Timestamp)>(), 0..3).prop_map(|known| {
        Self(known.into_iter().map(|(message, at)| KnownMessage { message, at }).collect())
    });
    LeftMessages => vec(any::<MessageId>(), 0..3).prop_map(Self);
    Flag => any::<bool>().prop_map(Self);
    Timestamp => {
        prop_oneof![-30..30_i64, Just(i64::MIN), Just(i64::MAX), any::<i64>()].prop_map(Self::from_micros)
    };
    Payload => {
        let encoding = prop_oneof![3 => Just(0), 1 => any::<u8>()];
        (encoding, vec(any::<u8>(), 0..300))
            .prop_map(|(number, bytes)| Self::from_parts(Encoding::from_number(number), Bytes::from(bytes)))
    };
    Failure => vec(failure_without_cause(), 1..5).prop_map(|chain| {
        let caused = |cause: Option<Self>, failure| Some(Self { cause: cause.map(Box::new), ..failure });
        chain.into_iter().fold(None, caused).expect("the chain has a link")
    });
    RetryPolicy => {
        let policy = (duration(), duration(), of(any::<u32>()), vec(text(), 0..3)).prop_map(
            |(initial, delay_max, max_attempts, non_retryable)| {
                Self { initial, delay_max, max_attempts, non_retryable }
            },
        );
        prop_oneof![Just(Self::none()), Just(Self::exponential()), policy]
    };
    ActivityOptions => {
        let queue = of(text().prop_map(Name::from));
        (any::<RetryPolicy>(), of(duration()), of(duration()), any::<bool>(), queue, any::<bool>()).prop_map(
            |(retry, start_to_close, schedule_to_close, at_most_once, queue, transactional)| {
                Settings { retry, start_to_close, schedule_to_close, at_most_once, queue, transactional }.into()
            },
        )
    };
    Outcome => prop_oneof![
        any::<Payload>().prop_map(Self::Completed),
        any::<Failure>().prop_map(Self::Failed),
        Just(Self::Cancelled),
    ];
    Uncompensated => {
        (text(), any::<Failure>()).prop_map(|(activity, failure)| Self { activity, failure })
    };
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", "[a-z.-]{0,300}"]
}

fn duration() -> impl Strategy<Value = Duration> {
    let seconds = prop_oneof![0..400_u64, Just(u64::MAX), any::<u64>()];
    let nanos = prop_oneof![Just(0), Just(999_999_999), 0..1_000_000_000_u32];
    (seconds, nanos).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn failure_without_cause() -> impl Strategy<Value = Failure> {
    (text(), text(), any::<bool>(), of(any::<Payload>())).prop_map(
        |(type_name, message, retryable, details)| Failure {
            type_name,
            message,
            retryable,
            cause: None,
            details,
        },
    )
}
