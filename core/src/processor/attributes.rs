//! The attributes that events give to runs, as rows. It must not know who reads them.

use crate::data::id::RunId;
use crate::log::event::Event;
use crate::store::append::AttributeChange;

/// Those with which a run begins.
pub(super) fn first_attributes(run: RunId, event: &Event) -> Vec<AttributeChange> {
    let Event::RunStarted { attributes, .. } = event else { return Vec::new() };
    let set = |(name, value): (&_, &str)| AttributeChange {
        run,
        attribute: Clone::clone(name),
        value: Some(value.to_owned()),
    };
    attributes.iter().map(set).collect()
}

/// The one that an event sets or removes.
pub(super) fn changed_attribute(run: RunId, event: &Event) -> Option<AttributeChange> {
    let Event::AttributeSet { attribute, value } = event else { return None };
    Some(AttributeChange { run, attribute: attribute.clone(), value: value.clone() })
}
