//! Events as JSON, for web handlers and tools, as the SQL view `history` shows them: `name`, and the fields as `data`. It must
//! not know who reads them.
//!
//! As in [`words`](super::words), the table says which fields an event has. A field without a value is left out.

use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::table::events;
use crate::data::attributes::Attributes;
use crate::data::chain::{ChainLink, KnownMessages, LeftMessages, RunRetry};
use crate::data::child::{ChildPolicy, GivenUp};
use crate::data::failure::Failure;
use crate::data::id::{CommandId, ExecutorId, LeaseId, MessageId, RunId};
use crate::data::name::Name;
use crate::data::options::{ActivityOptions, Settings};
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::Payload;
use crate::data::recipient::Recipient;
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;
use crate::log::event::Event;

/// Writes `name` and `data`, such as `{"name": "timer.fired", "data": {"id": 1}}`.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut event = serializer.serialize_struct("Event", 2)?;
        event.serialize_field("name", self.name())?;
        event.serialize_field("data", &self.data())?;
        event.end()
    }
}

/// Defines the fields of an event as JSON.
macro_rules! make_data {
    (Event: $(
        $(#[$event_doc:meta])*
        $name:literal $version:literal => $variant:ident = $code:literal:
            $role:ident, $consequence:ident $(($status:ident))?
        {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        impl Event {
            /// The event's fields by their names.
            pub(crate) fn data(&self) -> Value {
                let mut data = Map::new();
                match self {
                    $(Self::$variant { $($field),* } => {
                        $(data.extend($field.as_json().map(|value| (stringify!($field).to_owned(), value)));)*
                    })*
                }
                Value::Object(data)
            }
        }
    };
}

events!(make_data);

/// A field's value as JSON; `None` if it is left out.
trait AsJson {
    fn as_json(&self) -> Option<Value>;
}

/// Implements [`AsJson`] for some types.
macro_rules! as_json {
    ($($($type:ty),+ => |$value:ident| $json:expr;)*) => {
        $($(impl AsJson for $type {
            fn as_json(&self) -> Option<Value> {
                let $value = self;
                Some($json)
            }
        })+)*
    };
}

as_json! {
    CommandId, LeaseId, ExecutorId => |number| number.get().into();
    u32 => |number| (*number).into();
    RunId => |run| json!(run);
    Name => |name| name.as_str().into();
    String => |text| text.as_str().into();
    MessageId => |message| uuid::Uuid::from_u128(message.as_u128()).to_string().into();
    ChildPolicy => |policy| policy.name().into();
    GivenUp => |given_up| given_up.0.name().into();
    Timestamp => |at| time(*at);
    Duration => |time| time.as_secs_f64().into();
    Payload => |payload| json!(payload);
    Failure => |failure| json!(failure);
    Outcome => |outcome| json!(outcome);
    Uncompensated => |left| json!(left);
    ChainLink => |link| json!(link);
    KnownMessages => |known| known.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    LeftMessages => |left| left.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    Box<TraceContext> => |trace| trace.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    Box<RunRetry> => |retry| json!({ "attempt": retry.attempt, "policy": policy(&retry.policy) });
}

/// A time as SQL writes it, up to a microsecond; outside of the years 1 to 9999, a number of microseconds since 1970.
pub(crate) fn time(at: Timestamp) -> Value {
    let date = DateTime::<Utc>::from(at);
    if !(1..=9999).contains(&date.year()) {
        return at.as_micros().into();
    }
    let text = date.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    format!("{}+00:00", text.trim_end_matches('0').trim_end_matches('.')).into()
}

impl AsJson for Attributes {
    fn as_json(&self) -> Option<Value> {
        let texts: Map<String, Value> =
            self.iter().map(|(name, value)| (name.to_string(), value.into())).collect();
        (!texts.is_empty()).then(|| texts.into())
    }
}

impl AsJson for Recipient {
    fn as_json(&self) -> Option<Value> {
        Some(match self {
            Self::Run(run) => json!({ "run": run }),
            Self::Key { workflow, key } => json!({ "workflow": workflow.as_str(), "key": key }),
        })
    }
}

impl AsJson for ActivityOptions {
    fn as_json(&self) -> Option<Value> {
        let Settings { retry, start_to_close, schedule_to_close, at_most_once, queue, transactional } =
            self.get();
        let mut options = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            options.extend(value.map(|value| (name.to_owned(), value)));
        };
        set("retry", Some(policy(retry)));
        set("start_to_close", start_to_close.as_json());
        set("schedule_to_close", schedule_to_close.as_json());
        set("at_most_once", at_most_once.then_some(Value::Bool(true)));
        set("queue", queue.as_json());
        set("transactional", transactional.then_some(Value::Bool(true)));
        Some(Value::Object(options))
    }
}

fn policy(retry: &RetryPolicy) -> Value {
    let mut policy = Map::new();
    policy.insert("initial".to_owned(), retry.initial.as_secs_f64().into());
    policy.insert("delay_max".to_owned(), retry.delay_max.as_secs_f64().into());
    policy.extend(retry.max_attempts.map(|attempts| ("max_attempts".to_owned(), attempts.into())));
    let final_ones = retry.non_retryable.as_json();
    policy.extend(final_ones.map(|names| ("non_retryable".to_owned(), names)));
    Value::Object(policy)
}

impl<T: AsJson> AsJson for Option<T> {
    fn as_json(&self) -> Option<Value> {
        self.as_ref()?.as_json()
    }
}

impl<T: AsJson> AsJson for Vec<T> {
    fn as_json(&self) -> Option<Value> {
        let items: Vec<Value> = self.iter().filter_map(T::as_json).collect();
        (!items.is_empty()).then_some(Value::Array(items))
    }
}
