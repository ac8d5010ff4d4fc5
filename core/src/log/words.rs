//! Events as text, for people and for snapshots: the event's name, then its fields in their order. It must not know who
//! reads them.
//!
//! The table says which fields an event has, so a new event with known fields needs no change here. A field of a new type
//! does not compile without an `AsTexts`; a field with a new name is shown with that name.

use std::fmt;
use std::time::Duration;

use super::table::events;
use crate::data::attributes::Attributes;
use crate::data::chain::{ChainLink, KnownMessages, LeftMessages, RunRetry};
use crate::data::child::{ChildPolicy, GivenUp};
use crate::data::failure::Failure;
use crate::data::id::{CommandId, ExecutorId, LeaseId, MessageId, RunId};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::Payload;
use crate::data::recipient::Recipient;
use crate::data::text;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;
use crate::log::event::Event;

/// Writes the stored name, the durable call and the content. `{:#}` writes a short form for use in a sentence:
/// ``activity.scheduled `send-welcome` (call 1)``.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Words { event: self, activity: None, began: None };
        if f.alternate() { words.write_short(f) } else { words.fmt(f) }
    }
}

/// An event as text, by itself or as a line of its history.
pub(crate) struct Words<'a> {
    pub(crate) event: &'a Event,
    /// The name of the activity that the event is about, if the event itself does not contain it.
    pub(crate) activity: Option<&'a str>,
    /// When the history began, for a line of it: times are relative to it, and fields that differ between equal runs
    /// (message ids, leases, workers) are left out.
    pub(crate) began: Option<Timestamp>,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.event.name())?;
        for (field, text) in self.fields() {
            // A failure or a reason may have several lines, and an event has one.
            let text = text::one_line(text);
            match field {
                "id" => {
                    write!(f, " #{text}")?;
                    self.activity.iter().try_for_each(|activity| write!(f, " {activity}"))?;
                }
                "workflow" | "activity" | "step" | "signal" | "update" | "name" | "view" | "attribute"
                | "input" | "payload" | "request" | "answer" | "result" | "value" | "outcome" => {
                    write!(f, " {text}")?;
                }
                "key" => write!(f, " key {text:?}")?,
                "start_at" => write!(f, " at {text}")?,
                "fire_at" => write!(f, " until {text}")?,
                "retry_at" => write!(f, ", again at {text}")?,
                "failure" | "reason" => write!(f, ": {text}")?,
                "given_up" => write!(f, ", given up: {text}")?,
                "released" => write!(f, " {text} released")?,
                "uncompensated" => write!(f, "; compensation {text}")?,
                "skipped" => write!(f, "; compensation {text} left out")?,
                "lease" | "worker" | "message" | "sender" | "child" | "parent" | "parent_call" | "trace"
                    if self.began.is_some() => {}
                other => write!(f, " {other} {text}")?,
            }
        }
        if let Event::AttributeSet { value: None, .. } = self.event {
            f.write_str(", removed")?;
        }
        Ok(())
    }
}

impl Words<'_> {
    /// Writes the event's name, with the name of its subject and the durable call.
    fn write_short(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.event.name())?;
        for (field, name) in self.fields() {
            if matches!(field, "activity" | "step" | "signal" | "update" | "name" | "view" | "attribute") {
                write!(f, " `{name}`")?;
            }
        }
        self.event.call().iter().try_for_each(|id| write!(f, " (call {id})"))
    }
}

/// Defines the list of an event's fields from the table.
macro_rules! make_fields {
    (Event: $(
        $(#[$event_doc:meta])*
        $name:literal $version:literal => $variant:ident = $code:literal:
            $role:ident, $consequence:ident $(($status:ident))?
        {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        impl Words<'_> {
            /// The names of the event's fields, each with a text.
            fn fields(&self) -> Vec<(&'static str, String)> {
                let mut fields = Vec::new();
                match self.event {
                    $(Event::$variant { $($field),* } => {
                        $(fields.extend($field.texts(self).into_iter().map(|text| (stringify!($field), text)));)*
                    })*
                }
                fields
            }
        }
    };
}

events!(make_fields);

/// A field's value as text: one, several for a list, or none if it is not shown.
trait AsTexts {
    fn texts(&self, words: &Words<'_>) -> Vec<String>;
}

/// Implements [`AsTexts`] for some types.
macro_rules! as_texts {
    ($($($type:ty),+ => |$value:ident, $words:ident| $texts:expr;)*) => {
        $($(impl AsTexts for $type {
            fn texts(&self, $words: &Words<'_>) -> Vec<String> {
                let $value = self;
                $texts
            }
        })+)*
    };
}

as_texts! {
    CommandId, ExecutorId, LeaseId, Name, String, u32 => |value, _words| vec![value.to_string()];
    MessageId => |message, _words| vec![format!("{message:?}")];
    RunId => |run, _words| vec![run.to_string()];
    Recipient => |to, words| vec![match (to, words.began) {
        // Its id differs between equal runs.
        (Recipient::Run(_), Some(_)) => "a run".to_owned(),
        (Recipient::Run(_) | Recipient::Key { .. }, _) => to.to_string(),
    }];
    ChainLink => |link, words| vec![match words.began {
        // The ids differ between equal runs.
        Some(_) => format!("number {}", link.number),
        None => format!("number {} from {}, after {}", link.number, link.first, link.predecessor),
    }];
    Box<TraceContext> => |trace, _words| vec![trace.to_string()];
    Attributes => |attributes, _words| {
        let texts: Vec<String> = attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if texts.is_empty() { texts } else { vec![texts.join(", ")] }
    };
    Box<RunRetry> => |retry, _words| vec![retry.attempt.to_string()];
    KnownMessages => |known, _words| vec![known.0.len().to_string()];
    LeftMessages => |left, _words| vec![left.0.len().to_string()];
    GivenUp => |given_up, _words| vec![given_up.0.to_string()];
    // The usual policy is not shown.
    ChildPolicy => |policy, _words| {
        let shown = (*policy != ChildPolicy::default()).then(|| policy.to_string());
        shown.into_iter().collect()
    };
    // Too long for a line.
    ActivityOptions => |_options, _words| Vec::new();
    Timestamp => |at, words| vec![match words.began {
        Some(began) => Span(at.saturating_since(began)).to_string(),
        None => at.to_string(),
    }];
    Failure => |failure, words| vec![match words.began {
        Some(_) => failure.to_string(),
        // With whether it is retryable and its details.
        None => {
            let details = failure.details.as_ref().map(|details| format!(": {details:?}"));
            format!("{failure:?}{}", details.unwrap_or_default())
        }
    }];
    // `()` is not shown.
    Payload => |payload, _words| Some(format!("{payload:?}")).filter(|text| text != "null").into_iter().collect();
    Outcome => |outcome, words| match outcome {
        Outcome::Completed(result) => [vec!["completed".to_owned()], result.texts(words)].concat(),
        Outcome::Failed(failure) => vec![format!("failed: {}", failure.texts(words).concat())],
        Outcome::Cancelled => vec!["cancelled".to_owned()],
    };
    Uncompensated => |left, words| vec![format!("{}: {}", left.activity, left.failure.texts(words).concat())];
}

impl<T: AsTexts> AsTexts for Option<T> {
    fn texts(&self, words: &Words<'_>) -> Vec<String> {
        self.iter().flat_map(|value| value.texts(words)).collect()
    }
}

impl<T: AsTexts> AsTexts for Vec<T> {
    fn texts(&self, words: &Words<'_>) -> Vec<String> {
        self.iter().flat_map(|value| value.texts(words)).collect()
    }
}

/// A duration for people: `11d`, `1h30m`, `0.25s`.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0.as_secs(), self.0.subsec_micros());
        let parts = [(seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm')];
        let mut text: String = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, unit)| format!("{count}{unit}"))
            .collect();
        if micros > 0 {
            let fraction = format!("{micros:06}");
            text.push_str(&format!("{}.{}s", seconds % 60, fraction.trim_end_matches('0')));
        } else if !seconds.is_multiple_of(60) || text.is_empty() {
            text.push_str(&format!("{}s", seconds % 60));
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The event as a line of a history that began at 1970, by itself, and in short.
    fn texts(event: &Event) -> [String; 3] {
        let line = Words { event, activity: Some("charge"), began: Some(Timestamp::from_micros(0)) };
        [line.to_string(), event.to_string(), format!("{event:#}")]
    }

    #[test]
    fn line_of_a_history_has_relative_times_and_an_event_by_itself_has_every_field() {
        let failure = Failure::new("io", "broken pipe").non_retryable();
        let retry_at = Timestamp::from_micros(90_000_000);
        let failed = Event::ActivityAttemptFailed { id: CommandId::new(7), attempt: 2, failure, retry_at };
        assert_eq!(
            texts(&failed),
            [
                "activity.attempt-failed #7 charge attempt 2: broken pipe (io), again at 1m30s",
                "activity.attempt-failed #7 attempt 2: broken pipe (io) (not retryable), again at 1970-01-01T00:01:30.000000Z",
                "activity.attempt-failed (call 7)",
            ]
        );
        let adopted = Event::RunAdopted { lease: LeaseId::new(3), worker: "host-7".to_owned() };
        assert_eq!(texts(&adopted), ["run.adopted", "run.adopted lease 3 worker host-7", "run.adopted"]);
    }

    #[test]
    fn text_of_several_lines_is_in_one_line() {
        let reason = Some("sold out:\n12  run.completed\u{1b}[2J".to_owned());
        let event = Event::RunCancelled { reason, uncompensated: Vec::new() };
        assert_eq!(event.to_string(), r"run.cancelled: sold out:\n12  run.completed\u{1b}[2J");
    }

    #[test]
    fn every_item_of_a_field_is_shown_and_an_empty_field_is_not() {
        let failed = |activity: &str| {
            let failure = Failure::new("io", "broken pipe");
            Uncompensated { activity: activity.to_owned(), failure }
        };
        let cancelled = |reason, uncompensated| Event::RunCancelled { reason, uncompensated }.to_string();
        assert_eq!(cancelled(None, Vec::new()), "run.cancelled");
        assert_eq!(
            cancelled(Some("no need".to_owned()), vec![failed("refund"), failed("release")]),
            "run.cancelled: no need; compensation refund: broken pipe (io); compensation release: broken pipe (io)"
        );
        let completed =
            |result| Event::RunEnding { outcome: Outcome::Completed(result), left: None }.to_string();
        assert_eq!(completed(Payload::encode(&()).unwrap()), "run.ending completed");
        assert_eq!(completed(Payload::encode(&7).unwrap()), "run.ending completed 7");
    }

    #[test]
    fn attribute_is_shown_with_its_value_or_as_removed() {
        let set = |value: Option<&str>| {
            let attribute = Name::from_static("region");
            texts(&Event::AttributeSet { attribute, value: value.map(str::to_owned) })
        };
        assert_eq!(
            set(Some("eu")),
            ["attribute.set region eu", "attribute.set region eu", "attribute.set `region`"]
        );
        assert_eq!(set(None)[0], "attribute.set region, removed");
    }

    #[test]
    fn short_text_names_the_subject_and_the_call() {
        let (id, step, result) =
            (CommandId::FIRST, Name::from_static("charge"), Payload::encode(&7).unwrap());
        let [line, _, short] = texts(&Event::StepCompleted { id, step, result });
        assert!(line.starts_with("step.completed #1"), "{line}");
        assert_eq!(short, "step.completed `charge` (call 1)");
    }

    #[test]
    fn span_leaves_out_parts_that_are_zero() {
        let text = |micros| Span(Duration::from_micros(micros)).to_string();
        let day = 86_400_000_000;
        assert_eq!(
            [0, 1, 250_000, 30_000_000, 90 * 60 * 1_000_000, 11 * day, day + 1_500_000].map(text),
            ["0s", "0.000001s", "0.25s", "30s", "1h30m", "11d", "1d1.5s"]
        );
    }
}
