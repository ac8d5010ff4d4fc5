//! The views that polls publish: the last value of each, until it is logged. It must not know who reads them.

use std::collections::BTreeMap;

use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::log::event::Event;
use crate::workflow::command::EVENT_BYTES;

/// The views that were published and are to be logged in one group.
#[derive(Debug, Default)]
pub(crate) struct Views(BTreeMap<Name, Payload>);

impl Views {
    /// Whether there is a value of that view.
    pub(crate) fn contains(&self, view: &str) -> bool {
        self.0.contains_key(view)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Sets the value of a view. An earlier one will not be logged.
    pub(crate) fn publish(&mut self, view: Name, value: Payload) {
        self.0.insert(view, value);
    }

    /// Adds the views of a later poll.
    pub(crate) fn append(&mut self, mut later: Self) {
        self.0.append(&mut later.0);
    }

    /// Their approximate size in the log, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.0.values().map(|value| EVENT_BYTES + value.bytes().len()).sum()
    }

    /// The events to log, in the order of the views' names.
    pub(crate) fn into_events(self) -> impl Iterator<Item = Event> {
        self.0.into_iter().map(|(view, value)| Event::ViewPublished { view, value })
    }
}
