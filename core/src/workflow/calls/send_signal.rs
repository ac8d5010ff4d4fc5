//! `ctx.signal`: sends a signal to a run. It must not know how the signal arrives.

use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::name::Name;
use crate::data::recipient::Recipient;
use crate::workflow::command::{Command, SendSignal, Source};
use crate::workflow::scope::Scope;

/// Decides to send a signal. What cannot be sent faults the run.
pub(crate) fn send_signal<T: Serialize + DeserializeOwned>(
    scope: &Rc<Scope>,
    to: Recipient,
    signal: Name,
    content: &T,
    source: Source,
) {
    let id = scope.next_id(source);
    if let Err(problem) = Name::check("signal", &signal).and_then(|()| to.check()) {
        return scope.fault(format!("the signal to {to} at {source}: {problem}"));
    }
    if let Some(payload) = scope.encode(&format_args!("the content of signal `{signal}`"), content) {
        scope.issue(Command::SendSignal(Box::new(SendSignal { id, to, signal, payload })), source);
    }
}
