//! The stored form of each type with fields of its own. It must not know which event has which fields.
//!
//! Defaults are repeated here instead of taken from the types: if a type's default changes, stored bodies keep their
//! meaning.

use std::time::Duration;

use super::cbor::{Decoded, Fault, Reader, Writer};
use super::fields::Part;
use crate::data::attributes::Attributes;
use crate::data::chain::{ChainLink, KnownMessages, LeftMessages, RunRetry};
use crate::data::child::{ChildPolicy, GivenUp, Parent};
use crate::data::failure::Failure;
use crate::data::id::RunId;
use crate::data::limits;
use crate::data::name::Name;
use crate::data::options::{ActivityOptions, Settings};
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::recipient::Recipient;
use crate::data::retry::RetryPolicy;
use crate::data::trace_context::TraceContext;

/// How many causes of a failure are stored; further ones are dropped. The bound keeps the reading and dropping of a chain
/// of causes from exhausting the stack. It may be raised, never lowered.
pub(super) const CAUSES_MAX: usize = 64;

/// Failures are cut before they are logged, so this bound is only a second safeguard.
const _: () = assert!(limits::FAILURE_CAUSES_MAX < CAUSES_MAX);

/// The retry policy that stored options leave out.
const ONE_ATTEMPT: RetryPolicy =
    RetryPolicy { initial: INITIAL, delay_max: DELAY_MAX, max_attempts: Some(1), non_retryable: Vec::new() };

/// The initial delay that a stored retry policy leaves out.
const INITIAL: Duration = Duration::from_secs(1);

/// The longest delay that a stored retry policy leaves out.
const DELAY_MAX: Duration = Duration::from_secs(100);

/// `[run]` or `[null, workflow, key]`.
impl Part for Recipient {
    fn write(&self, to: &mut Writer) {
        to.fields(|fields| match self {
            Self::Run(run) => fields.put(run),
            Self::Key { workflow, key } => {
                fields.put(&None::<RunId>);
                fields.put(workflow);
                fields.put(key);
            }
        });
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.fields(|fields| match fields.take("run")? {
            Some(run) => Ok(Self::Run(run)),
            None => Ok(Self::Key { workflow: fields.take("workflow")?, key: fields.take("key")? }),
        })
    }
}

/// The policy's name; that of a request and a wait is left out.
impl Part for ChildPolicy {
    fn write(&self, to: &mut Writer) {
        if *self == Self::RequestAndWait { to.null() } else { to.text(self.name()) }
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let start = from.at();
        let name = from.text()?;
        Self::named(name).ok_or_else(|| {
            Fault::new(start, format!("policy `{name}`, which this build does not know; use a newer build"))
        })
    }

    fn absent() -> Option<Self> {
        Some(Self::RequestAndWait)
    }
}

/// The policy's name, never left out.
impl Part for GivenUp {
    fn write(&self, to: &mut Writer) {
        to.text(self.0.name());
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        ChildPolicy::read(from).map(Self)
    }
}

/// `[run, call]`.
impl Part for Parent {
    fn write(&self, to: &mut Writer) {
        to.fields(|fields| {
            fields.put(&self.run);
            fields.put(&self.call);
        });
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.fields(|fields| Ok(Self { run: fields.take("run")?, call: fields.take("call")? }))
    }
}

/// `[type, message, retryable, cause, details]`; an absent `retryable` means `true`.
impl Part for Failure {
    fn write(&self, to: &mut Writer) {
        write_failure(self, CAUSES_MAX, to);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        read_failure(CAUSES_MAX, from)
    }
}

fn write_failure(failure: &Failure, causes_left: usize, to: &mut Writer) {
    to.fields(|fields| {
        fields.put(&failure.type_name);
        fields.put(&failure.message);
        fields.put(&(!failure.retryable).then_some(false));
        fields.put_with(|to| match &failure.cause {
            Some(cause) if causes_left > 0 => write_failure(cause, causes_left - 1, to),
            _ => to.null(),
        });
        fields.put(&failure.details);
    });
}

fn read_failure(causes_left: usize, from: &mut Reader<'_>) -> Decoded<Failure> {
    from.fields(|fields| {
        Ok(Failure {
            type_name: fields.take("type")?,
            message: fields.take("message")?,
            retryable: fields.take::<Option<bool>>("retryable")?.unwrap_or(true),
            cause: fields.take_or(
                "cause",
                || Some(None),
                |from| match causes_left.checked_sub(1) {
                    Some(left) => read_failure(left, from).map(|cause| Some(Box::new(cause))),
                    None => Err(Fault::new(from.at(), format!("more than {CAUSES_MAX} causes"))),
                },
            )?,
            details: fields.take("details")?,
        })
    })
}

/// `[retry, start-to-close, schedule-to-close, at-most-once, queue, transactional]`; absent means one attempt, no timeout,
/// `false`, and no queue.
impl Part for ActivityOptions {
    fn write(&self, to: &mut Writer) {
        if Self::absent().as_ref() == Some(self) {
            return to.null();
        }
        to.fields(|fields| {
            let Settings { retry, start_to_close, schedule_to_close, at_most_once, queue, transactional } =
                self.get();
            fields.put(retry);
            fields.put(start_to_close);
            fields.put(schedule_to_close);
            fields.put(&at_most_once.then_some(true));
            fields.put(queue);
            fields.put(&transactional.then_some(true));
        });
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.fields(|fields| {
            Ok(Self::from(Settings {
                retry: fields.take("retry")?,
                start_to_close: fields.take("start_to_close")?,
                schedule_to_close: fields.take("schedule_to_close")?,
                at_most_once: fields.take::<Option<bool>>("at_most_once")?.unwrap_or(false),
                queue: fields.take("queue")?,
                transactional: fields.take::<Option<bool>>("transactional")?.unwrap_or(false),
            }))
        })
    }

    fn absent() -> Option<Self> {
        let settings = Settings {
            retry: ONE_ATTEMPT,
            start_to_close: None,
            schedule_to_close: None,
            at_most_once: false,
            queue: None,
            transactional: false,
        };
        Some(settings.into())
    }
}

/// `[max-attempts, initial, delay-max, non-retryable]`; an absent `max-attempts` means no limit.
/// One attempt with the default delays is null.
impl Part for RetryPolicy {
    fn write(&self, to: &mut Writer) {
        if *self == ONE_ATTEMPT {
            return to.null();
        }
        to.fields(|fields| {
            fields.put(&self.max_attempts);
            fields.put(&(self.initial != INITIAL).then_some(self.initial));
            fields.put(&(self.delay_max != DELAY_MAX).then_some(self.delay_max));
            fields.put(&self.non_retryable);
        });
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.fields(|fields| {
            Ok(Self {
                max_attempts: fields.take("max_attempts")?,
                initial: fields.take::<Option<_>>("initial")?.unwrap_or(INITIAL),
                delay_max: fields.take::<Option<_>>("delay_max")?.unwrap_or(DELAY_MAX),
                non_retryable: fields.take("non_retryable")?,
            })
        })
    }

    fn absent() -> Option<Self> {
        Some(ONE_ATTEMPT)
    }
}

/// A map of the names and the values; no attributes are null.
impl Part for Attributes {
    fn write(&self, to: &mut Writer) {
        if self.is_empty() {
            return to.null();
        }
        to.map(self.len());
        for (name, value) in self.iter() {
            to.text(name);
            to.text(value);
        }
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let entries = from.map()?;
        (0..entries).map(|_| Ok((Name::read(from)?, String::read(from)?))).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

/// `[first, predecessor, number]`
impl Part for ChainLink {
    fn write(&self, to: &mut Writer) {
        to.fields(|fields| {
            fields.put(&self.first);
            fields.put(&self.predecessor);
            fields.put(&self.number);
        });
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.fields(|fields| {
            Ok(Self {
                first: fields.take("first")?,
                predecessor: fields.take("predecessor")?,
                number: fields.take("number")?,
            })
        })
    }
}

/// Its 25 bytes: the trace, the span, the flags.
impl Part for Box<TraceContext> {
    fn write(&self, to: &mut Writer) {
        to.bytes(&self.to_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let start = from.at();
        let read = TraceContext::from_bytes(from.byte_array()?);
        read.map(Self::new).ok_or_else(|| Fault::new(start, "a trace or a span with the id 0"))
    }
}

/// `[attempt, policy]`
impl Part for Box<RunRetry> {
    fn write(&self, to: &mut Writer) {
        to.fields(|fields| {
            fields.put(&self.attempt);
            fields.put(&self.policy);
        });
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.fields(|fields| {
            Ok(Self::new(RunRetry { attempt: fields.take("attempt")?, policy: fields.take("policy")? }))
        })
    }
}

/// The bytes of each message together, because they are many.
macro_rules! message_parts {
    ($($type:ty: $length:literal;)*) => { $(
        impl Part for $type {
            fn write(&self, to: &mut Writer) {
                to.bytes(&self.to_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Decoded<Self> {
                let start = from.at();
                let bytes = from.bytes()?;
                Self::from_bytes(&bytes).ok_or_else(|| {
                    Fault::new(start, format!("{} bytes are not some times {}", bytes.len(), $length))
                })
            }
        }
    )* };
}

message_parts! {
    KnownMessages: 24;
    LeftMessages: 16;
}

/// `[0, result]`, `[1, failure]` or `[2]`.
impl Part for Outcome {
    fn write(&self, to: &mut Writer) {
        to.fields(|fields| match self {
            Self::Completed(result) => {
                fields.put(&0_u64);
                fields.put(result);
            }
            Self::Failed(failure) => {
                fields.put(&1_u64);
                fields.put(failure);
            }
            Self::Cancelled => fields.put(&2_u64),
        });
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.fields(|fields| {
            let start = fields.at();
            match fields.take::<u64>("kind")? {
                0 => fields.take("result").map(Self::Completed),
                1 => fields.take("failure").map(Self::Failed),
                2 => Ok(Self::Cancelled),
                kind => Err(Fault::new(
                    start,
                    format!("outcome {kind}, and this build knows 0 to 2; use a newer build"),
                )),
            }
        })
    }
}

/// `[activity, failure]`.
impl Part for Uncompensated {
    fn write(&self, to: &mut Writer) {
        to.fields(|fields| {
            fields.put(&self.activity);
            fields.put(&self.failure);
        });
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.fields(|fields| {
            Ok(Self { activity: fields.take("activity")?, failure: fields.take("failure")? })
        })
    }
}
