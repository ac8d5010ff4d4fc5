//! What polls publish about their run: the last value of each view and attribute, until it is logged. It must not know who reads
//! them.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::log::event::Event;
use crate::workflow::command::EVENT_BYTES;

/// What a run shows of itself, as far as its code knows.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// What this poll has published.
    pub(super) published: Published,
    /// The names of its attributes.
    pub(super) attributes: BTreeSet<Name>,
}

impl Shown {
    pub(super) fn take_published(&mut self) -> Option<Box<Published>> {
        let is_empty = self.published.views.is_empty() && self.published.attributes.is_empty();
        (!is_empty).then(|| Box::new(std::mem::take(&mut self.published)))
    }
}

/// What was published and is to be logged in one group.
#[derive(Debug, Default)]
pub(crate) struct Published {
    views: BTreeMap<Name, Payload>,
    /// `None` removes the attribute.
    attributes: BTreeMap<Name, Option<String>>,
}

impl Published {
    /// Whether there is a value of that view.
    pub(crate) fn has_view(&self, view: &str) -> bool {
        self.views.contains_key(view)
    }

    /// Of how many views there is a value.
    pub(crate) fn view_count(&self) -> usize {
        self.views.len()
    }

    /// Sets the value of a view. An earlier one will not be logged.
    pub(crate) fn set_view(&mut self, view: Name, value: Payload) {
        self.views.insert(view, value);
    }

    /// Whether that attribute is set or removed.
    pub(crate) fn has_attribute(&self, attribute: &str) -> bool {
        self.attributes.contains_key(attribute)
    }

    /// How many attributes are set or removed.
    pub(crate) fn attribute_count(&self) -> usize {
        self.attributes.len()
    }

    /// Sets an attribute, or removes it. What was set earlier will not be logged.
    pub(crate) fn set_attribute(&mut self, attribute: Name, value: Option<String>) {
        self.attributes.insert(attribute, value);
    }

    /// Adds what a later poll published.
    pub(crate) fn append(&mut self, mut later: Self) {
        self.views.append(&mut later.views);
        self.attributes.append(&mut later.attributes);
    }

    /// Its approximate size in the log, in bytes.
    pub(crate) fn size(&self) -> usize {
        let views = self.views.values().map(|value| value.bytes().len());
        let attributes = self.attributes.values().map(|value| value.as_ref().map_or(0, String::len));
        views.chain(attributes).map(|bytes| EVENT_BYTES + bytes).sum()
    }

    /// The events to log: views first, each in the order of the names.
    pub(crate) fn into_events(self) -> impl Iterator<Item = Event> {
        let views = self.views.into_iter().map(|(view, value)| Event::ViewPublished { view, value });
        let attributes =
            self.attributes.into_iter().map(|(attribute, value)| Event::AttributeSet { attribute, value });
        views.chain(attributes)
    }
}
