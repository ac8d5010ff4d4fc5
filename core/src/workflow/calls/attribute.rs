//! `ctx.set_attribute` and `ctx.remove_attribute`: what the run is found by. They are no durable calls: they take no id and have
//! no future, and a replay passes over them, as it does over views.

use crate::data::attributes::Attributes;
use crate::data::name::Name;
use crate::workflow::command::Source;
use crate::workflow::scope::Scope;

/// Sets an attribute, or removes it, which is logged with the decisions of this poll.
pub(crate) fn set_attribute(scope: &Scope, name: &str, value: Option<String>, source: Source) {
    let checked = Attributes::check(name, value.as_deref());
    let set = checked.and_then(|()| scope.set_attribute(Name::from(name), value, source));
    if let Err(problem) = set {
        scope.fault(format!("attribute at {source}: {problem}"));
    }
}
