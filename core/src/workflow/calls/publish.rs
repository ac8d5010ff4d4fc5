//! `ctx.publish`: sets a view of the run. It is no durable call: it takes no id, has no future, and a replay passes over it,
//! because the log has the values of that time already, or never had any.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::limits;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::workflow::command::Source;
use crate::workflow::scope::Scope;
use crate::workflow::view::View;

/// Sets a view to a value, which is logged with the decisions of this poll.
pub(crate) fn publish<T>(scope: &Scope, view: View<T>, value: &T, source: Source)
where
    T: Serialize + DeserializeOwned,
{
    if !scope.may_publish(source) {
        return;
    }
    if let Err(problem) = Name::check("name of a view", view.name()) {
        return scope.fault(format!("published at {source}: {problem}"));
    }
    let max = limits::VIEW_BYTES_MAX.min(scope.payload_bytes_max());
    let published =
        encode(value, max).and_then(|value| scope.set_view(Name::from_static(view.name()), value));
    if let Err(problem) = published {
        scope.fault(format!("view `{}` at {source}: {problem}", view.name()));
    }
}

fn encode<T: Serialize + DeserializeOwned>(value: &T, max: usize) -> Result<Payload, String> {
    let value = Payload::encode_readable(value).map_err(|error| error.to_string())?;
    let bytes = value.bytes().len();
    if bytes > max {
        return Err(format!(
            "the value has {bytes} bytes, and the limit is {max}, because it is written anew whenever it changes; publish a \
             summary, or a reference to the data"
        ));
    }
    Ok(value)
}
