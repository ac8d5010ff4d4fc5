//! What polls publish about their run: the last value of each view and attribute, until it is logged. It must not know who reads
//! them.

use std::collections::{BTreeMap, BTreeSet};

use super::Scope;
use crate::data::attributes::Attributes;
use crate::data::limits;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::log::event::Event;
use crate::workflow::command::{EVENT_BYTES, Source};

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

impl Scope {
    /// Notes that the code publishes a view at this line, and returns whether its value is to be logged: not in a replay, and
    /// not while the run leaves memory.
    pub(crate) fn may_publish(&self, source: Source) -> bool {
        self.at(source);
        let inner = self.inner.borrow();
        !inner.detached && !inner.locals.are_recorded()
    }

    /// Sets the value of a view, which is logged with the decisions of this poll. The error says why there is no room.
    pub(crate) fn set_view(&self, view: Name, value: Payload) -> Result<(), String> {
        let mut inner = self.inner.borrow_mut();
        let published = &mut inner.shown.get_or_insert_default().published;
        if published.view_count() >= limits::VIEWS_PER_POLL_MAX && !published.has_view(&view) {
            return Err(format!(
                "one poll publishes more than {} views: make one view of those that change together",
                limits::VIEWS_PER_POLL_MAX
            ));
        }
        published.set_view(view, value);
        Ok(())
    }

    /// The run has these attributes when its code begins.
    pub(crate) fn know_attributes(&self, attributes: &Attributes) {
        if !attributes.is_empty() {
            let names = attributes.iter().map(|(name, _)| name.clone());
            self.inner.borrow_mut().shown.get_or_insert_default().attributes.extend(names);
        }
    }

    /// Sets an attribute at this line, or removes it, which is logged with the decisions of this poll unless it is a replay. The
    /// error says why there is no room.
    pub(crate) fn set_attribute(
        &self,
        name: Name,
        value: Option<String>,
        source: Source,
    ) -> Result<(), String> {
        let is_logged = self.may_publish(source);
        let mut inner = self.inner.borrow_mut();
        let Shown { published, attributes } = &mut **inner.shown.get_or_insert_default();
        if value.is_none() {
            attributes.remove(&name);
        } else {
            attributes.insert(name.clone());
            Attributes::check_count(attributes.len())?;
        }
        if is_logged {
            if published.attribute_count() >= limits::ATTRIBUTES_PER_POLL_MAX
                && !published.has_attribute(&name)
            {
                return Err(format!(
                    "one poll sets or removes more than {} attributes",
                    limits::ATTRIBUTES_PER_POLL_MAX
                ));
            }
            published.set_attribute(name, value);
        }
        Ok(())
    }
}
