//! Events in words, one line each, for people and for snapshots: what happened, to which call, with which content.
//! It leaves out what differs from run to run though nothing happened otherwise: ids, leases, workers.

use std::fmt;
use std::time::Duration;

use crate::data::failure::Failure;
use crate::data::id::CommandId;
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::log::event::Event;

/// An event in words.
pub(crate) struct Words<'a> {
    pub(crate) event: &'a Event,
    /// The name of the activity that the event is about, where the event itself does not say it.
    pub(crate) activity: Option<&'a str>,
    /// When the history began: times are told from there.
    pub(crate) began: Timestamp,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.event.name())?;
        match self.event {
            Event::RunStarted { workflow, input, key, start_at, .. } => {
                write!(f, " {workflow}{}", Content(input))?;
                key.iter().try_for_each(|key| write!(f, " key {key:?}"))?;
                start_at.iter().try_for_each(|at| write!(f, " at {}", self.since(*at)))
            }
            Event::ActivityScheduled { id, activity, input, .. }
            | Event::CompensationRegistered { id, activity, input, .. } => {
                write!(f, " #{id} {activity}{}", Content(input))
            }
            Event::ActivityAttemptStarted { id, attempt } | Event::ActivityAttemptLost { id, attempt } => {
                write!(f, "{} attempt {attempt}", self.call(*id))
            }
            Event::ActivityAttemptFailed { id, attempt, failure, retry_at } => {
                let (call, retry) = (self.call(*id), self.since(*retry_at));
                write!(f, "{call} attempt {attempt}{}, again at {retry}", Failed(failure))
            }
            Event::ActivityCompleted { id, result } => write!(f, "{}{}", self.call(*id), Content(result)),
            Event::ActivityFailed { id, failure } | Event::CompensationFailed { id, failure } => {
                write!(f, "{}{}", self.call(*id), Failed(failure))
            }
            Event::ActivityCancelled { id }
            | Event::CompensationScheduled { id }
            | Event::CompensationCompleted { id } => write!(f, "{}", self.call(*id)),
            Event::StepCompleted { id, step, result } => write!(f, " #{id} {step}{}", Content(result)),
            Event::StepFailed { id, step, failure } => write!(f, " #{id} {step}{}", Failed(failure)),
            Event::TimerStarted { id, fire_at } => write!(f, " #{id} until {}", self.since(*fire_at)),
            Event::TimerFired { id } | Event::TimerCancelled { id } => write!(f, " #{id}"),
            Event::SignalReceived { signal, payload, key, .. } => {
                write!(f, " {signal}{}", Content(payload))?;
                key.iter().try_for_each(|key| write!(f, " key {key:?}"))
            }
            Event::ValueRecorded { name, value } => write!(f, " {name}{}", Content(value)),
            Event::CancelRequested { reason, .. } => {
                reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
            }
            Event::RunAdopted { .. } => Ok(()),
            Event::RunStalled { reason } => write!(f, ": {reason}"),
            Event::RunResumed { released } => write!(f, " {released} released"),
            Event::RunEnding { outcome } => match outcome {
                Outcome::Completed(result) => write!(f, " completed{}", Content(result)),
                Outcome::Failed(failure) => write!(f, " failed{}", Failed(failure)),
                Outcome::Cancelled => f.write_str(" cancelled"),
            },
            Event::RunCompleted { result } => write!(f, "{}", Content(result)),
            Event::RunFailed { failure, uncompensated } => {
                write!(f, "{}", Failed(failure))?;
                uncompensated.iter().try_for_each(|left| write_uncompensated(f, left))
            }
            Event::RunCancelled { reason, uncompensated } => {
                reason.iter().try_for_each(|reason| write!(f, ": {reason}"))?;
                uncompensated.iter().try_for_each(|left| write_uncompensated(f, left))
            }
            Event::RunTerminated { reason, skipped, .. } => {
                write!(f, ": {reason}")?;
                skipped.iter().try_for_each(|activity| write!(f, "; compensation {activity} left out"))
            }
        }
    }
}

impl Words<'_> {
    fn since(&self, at: Timestamp) -> Span {
        Span(at.saturating_since(self.began))
    }

    fn call(&self, id: CommandId) -> String {
        self.activity.map_or_else(|| format!(" #{id}"), |activity| format!(" #{id} {activity}"))
    }
}

fn write_uncompensated(f: &mut fmt::Formatter<'_>, left: &Uncompensated) -> fmt::Result {
    write!(f, "; compensation {}{}", left.activity, Failed(&left.failure))
}

/// A payload, with a space before it; nothing for `()`.
struct Content<'a>(&'a Payload);

impl fmt::Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:?}", self.0);
        if text == "null" { Ok(()) } else { write!(f, " {text}") }
    }
}

/// A failure, behind a colon.
struct Failed<'a>(&'a Failure);

impl fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ": {}", self.0)
    }
}

/// A time as people say it: `11d`, `1h30m`, `0.25s`.
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

    #[test]
    fn span_has_no_part_that_is_zero() {
        let text = |micros| Span(Duration::from_micros(micros)).to_string();
        let day = 86_400_000_000;
        assert_eq!(
            [0, 1, 250_000, 30_000_000, 90 * 60 * 1_000_000, 11 * day, day + 1_500_000].map(text),
            ["0s", "0.000001s", "0.25s", "30s", "1h30m", "11d", "1d1.5s"]
        );
    }
}
