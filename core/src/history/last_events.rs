//! The last events of a history that is read part by part: however long it is, only these are kept. It must not know where the parts
//! come from.

use std::collections::VecDeque;
use std::fmt;

use super::{ActivityNames, HistoryEvent, line, write_lines};
use crate::data::id::RunId;
use crate::data::time::Timestamp;
use crate::error::Error;
use crate::log::past_event::StoredEvent;
use crate::log::stored_history::StoredHistory;
use crate::log::wire;
use crate::store::error::StoreError;
use crate::store::history::RunHistory;

/// The last events of a run, made by [`Client::last_events`](crate::client::Client::last_events), which has an example.
///
/// Its text has the same lines as that of the whole [`History`](super::History).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEvents {
    run: RunId,
    limit: usize,
    skipped: usize,
    events: VecDeque<StoredEvent>,
    began: Option<Timestamp>,
    names: ActivityNames,
}

impl LastEvents {
    pub(crate) fn of(run: RunId, limit: usize) -> Self {
        let (events, names) = (VecDeque::new(), ActivityNames::default());
        Self { run, limit, skipped: 0, events, began: None, names }
    }

    /// Takes the next part of the history, and lets earlier events go that are not among the last ones any more.
    pub(crate) fn take(&mut self, part: &RunHistory) -> Result<(), Error> {
        let stored = StoredHistory::new(part);
        let stored = stored.map_err(|problem| StoreError::corrupt(format!("run {}: {problem}", self.run)))?;
        for event in stored.events {
            self.began.get_or_insert(event.at);
            if let Ok(event) = wire::decode_event(event.kind, &event.body) {
                self.names.note(&event);
            }
            self.events.push_back(event);
            if self.events.len() > self.limit {
                self.events.pop_front();
                self.skipped += 1;
            }
        }
        Ok(())
    }

    /// How many events came before them.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Whether the run has no event, because no worker has begun it.
    pub fn is_empty(&self) -> bool {
        self.began.is_none()
    }

    /// Decodes them.
    ///
    /// # Errors
    /// Returns an error that names the event if a newer build wrote it, or its bytes are damaged.
    pub fn events(&self) -> Result<Vec<HistoryEvent>, Error> {
        self.events.iter().map(|event| HistoryEvent::decode(self.run, event)).collect()
    }
}

impl fmt::Display for LastEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let began = self.began.unwrap_or(Timestamp::MIN);
        let lines = self.events.iter().map(|stored| {
            let event = wire::decode_event(stored.kind, &stored.body);
            (stored, line(stored, &event, &self.names, began))
        });
        write_lines(f, began, &lines.collect::<Vec<_>>(), |_| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::id::{CommandId, EventSeq};
    use crate::data::name::Name;
    use crate::data::options::ActivityOptions;
    use crate::history::History;
    use crate::log::event::Event;
    use crate::testing::{BORN, frame, payload, run_id};

    /// The frame of one activity, which is the n-th call of its run.
    fn work(number: u32) -> crate::store::frame::Frame {
        let id = CommandId::new(number);
        let scheduled = Event::ActivityScheduled {
            id,
            activity: Name::from_static("work"),
            input: payload(&number),
            options: ActivityOptions::default(),
        };
        let completed = Event::ActivityCompleted { id, result: payload(&number) };
        frame(run_id(7), EventSeq::new(2 * number - 1), BORN, &[scheduled, completed])
    }

    #[test]
    fn last_events_are_those_of_the_whole_history_and_no_more_are_kept() {
        let (run, frames) = (run_id(7), (1..=40).map(work).collect::<Vec<_>>());
        for limit in [1, 3, 80, usize::MAX] {
            let mut last = LastEvents::of(run, limit);
            assert!(last.is_empty());
            for part in frames.chunks(3) {
                last.take(&RunHistory { run, frames: part.to_vec() }).unwrap();
                assert!(last.events.len() <= limit);
            }
            let whole = History::new(&RunHistory { run, frames: frames.clone() }).unwrap();
            let skipped = 80 - limit.min(80);
            assert_eq!(last.skipped(), skipped);
            assert_eq!(last.events().unwrap(), whole.events().unwrap()[skipped..]);
            // Also the name of an activity that was scheduled long before.
            let lines = whole.to_string();
            assert_eq!(
                last.to_string(),
                lines.lines().skip(skipped).map(|line| format!("{line}\n")).collect::<String>()
            );
        }
    }
}
