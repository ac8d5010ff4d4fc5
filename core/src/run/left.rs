//! What the code of a run has not taken when it is over: it goes along to the run that continues this one. It must not know how a
//! successor is written.

use std::collections::BTreeSet;

use crate::data::chain::LeftMessages;
use crate::data::id::MessageId;
use crate::data::limits;
use crate::data::outcome::Outcome;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::run::{ENTRY_BYTES, Run};
use crate::workflow::program::{Decisions, How};

/// Signals and updates that the code has not taken, once it is over, and a request to cancel the run, in the order of their arrival.
/// Boxed, because most runs leave none.
#[derive(Debug, Default)]
pub(super) struct Left(Option<Box<LeftEvents>>);

#[derive(Debug, Default)]
struct LeftEvents {
    events: Vec<Event>,
    bytes: usize,
}

impl Left {
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |left| left.bytes)
    }

    pub(super) fn take(&mut self) -> Vec<Event> {
        self.0.take().map(|left| left.events).unwrap_or_default()
    }

    fn events(&self) -> &[Event] {
        self.0.as_ref().map_or(&[], |left| &left.events)
    }

    fn extend(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            let left = self.0.get_or_insert_default();
            left.bytes += bytes_of(&event);
            left.events.push(event);
        }
    }

    /// Whether there is no room for a further message. One of any size fits if there is no other.
    fn is_full(&self, payload: &Payload) -> bool {
        let bytes = self.bytes() + ENTRY_BYTES + payload.bytes().len();
        !self.events().is_empty() && bytes > limits::LEFT_BYTES_MAX
    }
}

impl Run {
    /// Keeps what the code has not taken, and what waited for it, for a successor.
    pub(super) fn leave_behind(&mut self, left: Vec<Event>) {
        let waiting = self.state.waiting.iter().map(|past| &past.event);
        let waiting = waiting.filter(|event| is_passed_on(event)).cloned();
        self.left.extend(left.into_iter().chain(waiting));
    }

    /// The code has returned, and compensations or children follow: what goes along to the next attempt, if there may be one, is
    /// told to the log, because a worker without the code could not tell what the code has taken.
    pub(super) fn left_for_the_log(&mut self, outcome: &Outcome) -> Option<LeftMessages> {
        if self.state.retry.is_none() || !matches!(outcome, Outcome::Failed(_)) {
            self.left = Left::default();
        }
        let left: Vec<MessageId> = self.left.events().iter().filter_map(message_of).collect();
        (!left.is_empty()).then_some(LeftMessages(left))
    }

    /// The log says what of these arrivals goes along to the next attempt.
    pub(super) fn leave_logged(&mut self, arrived: Vec<Event>, left: Option<&LeftMessages>) {
        let left: BTreeSet<MessageId> = left.iter().flat_map(|left| left.0.iter().copied()).collect();
        let is_left = |event: &Event| message_of(event).is_some_and(|message| left.contains(&message));
        self.left.extend(arrived.into_iter().filter(is_left));
    }

    /// A resolution arrives after the end of the code: it is kept for the next attempt, if there may be one.
    pub(super) fn leave_late(&mut self, resolution: &Event) {
        if self.keeps_late() && is_passed_on(resolution) {
            self.left.extend([resolution.clone()]);
        }
    }

    /// Whether what arrives now goes along to the next attempt, if there is one: its code is over, and its compensations are not.
    fn keeps_late(&self) -> bool {
        self.state.retry.is_some() && matches!(self.state.ending.as_deref(), Some(Outcome::Failed(_)))
    }

    /// Whether a signal or an update that arrives now would have to go along to the next attempt, and there is no room for it.
    pub(crate) fn has_no_room_for(&self, payload: &Payload) -> bool {
        self.keeps_late() && self.left.is_full(payload)
    }

    /// Why a workflow that ends with these decisions cannot be continued, if it is to be: it leaves too much. `waiting` is how many
    /// resolutions its code has not seen.
    pub(super) fn leaves_too_much(
        &self,
        at: Timestamp,
        resolution: &Event,
        decisions: &Decisions,
        waiting: usize,
    ) -> Option<String> {
        let end = decisions.end.as_deref()?;
        let how = match &end.how {
            How::Continued(_) => "continues as new",
            How::Returned(Outcome::Failed(_)) if is_cancellation(resolution) => return None,
            How::Returned(Outcome::Failed(failure)) => {
                self.next_attempt_at(at, failure).map(|_| "returns an error and is to be tried again")?
            }
            How::Returned(Outcome::Completed(_) | Outcome::Cancelled) => return None,
        };
        let unseen = self.state.waiting.iter().rev().take(waiting).map(|past| &past.event);
        let left = end.left.iter().chain(unseen.filter(|event| is_passed_on(event)));
        let (count, bytes) = left.fold((0, 0), |(count, bytes), event| (count + 1, bytes + bytes_of(event)));
        (bytes > limits::LEFT_BYTES_MAX).then(|| {
            format!(
                "workflow `{}` {how} while {count} signals and updates of {bytes} bytes wait for it, and the limit is {}: \
                 deploy code that takes some of them before, and the run resumes",
                self.state.workflow,
                limits::LEFT_BYTES_MAX
            )
        })
    }
}

/// Whether a resolution that the code of a run has not taken is left to the successor.
pub(super) fn is_passed_on(event: &Event) -> bool {
    message_of(event).is_some()
}

/// The message that a resolution came with, if a successor can take it as well.
pub(super) fn message_of(event: &Event) -> Option<MessageId> {
    if let Event::SignalReceived { message, .. }
    | Event::UpdateReceived { message, .. }
    | Event::CancelRequested { message, .. } = event
    {
        Some(*message)
    } else {
        None
    }
}

/// Whether it cancels the run, which is not tried again then.
fn is_cancellation(resolution: &Event) -> bool {
    matches!(resolution, Event::CancelRequested { .. } | Event::DeadlinePassed { .. })
}

/// About how many bytes a resolution takes that is left.
fn bytes_of(event: &Event) -> usize {
    let (Event::SignalReceived { payload, .. } | Event::UpdateReceived { request: payload, .. }) = event
    else {
        return ENTRY_BYTES;
    };
    ENTRY_BYTES + payload.bytes().len()
}
