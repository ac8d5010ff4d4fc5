//! Messages that a run sends to runs: they are written with the event that says so. It must not know how they arrive.

use crate::data::derived::derived_u128;
use crate::data::id::{CommandId, MessageId, RunId};
use crate::data::recipient::Recipient;
use crate::data::trace_context::TraceContext;
use crate::log::event::Event;
use crate::log::message::Message;
use crate::log::wire::encode_message;
use crate::run::state::RunState;
use crate::store::append::{RunKey, SentMessage};

/// The message that an event of a run sends, if it sends one, from the place in a trace that the run continues. If there is no
/// such run, the message comes back to its sender, so that none is lost.
pub(super) fn sent_by(run: RunId, trace: Option<&TraceContext>, event: &Event) -> Option<SentMessage> {
    let Event::SignalSent { id, to, signal, payload } = event else { return None };
    let (signal, payload) = (signal.clone(), payload.clone());
    let (sender, trace) = (run, trace.copied().map(Box::new));
    let body = encode_message(&Message::RunSignal { signal, payload, sender, to: to.clone(), trace });
    let (receiver, key) = match to {
        Recipient::Run(receiver) => (*receiver, None),
        Recipient::Key { workflow, key } => {
            (run, Some(RunKey { workflow: workflow.clone(), key: key.clone() }))
        }
    };
    let otherwise = (receiver != run).then_some(run);
    Some(SentMessage { message: message_of(run, *id), run: receiver, key, otherwise, body, opens: None })
}

/// The id of the message that a durable call sends: derived, so that no client's message has it.
fn message_of(run: RunId, call: CommandId) -> MessageId {
    let (run, call) = (run.as_u128().to_be_bytes(), call.get().to_be_bytes());
    MessageId::from_u128(derived_u128(&[b"sent", &run, &call]))
}

/// Whether a message has come back to the run that sent it, because the run that it is for does not exist. Another run of the
/// sender's chain may receive it by now: it was `sent_to` the sender all the same.
pub(super) fn is_returned(state: &RunState, sent_to: RunId, sender: RunId, to: &Recipient) -> bool {
    let is_addressed = match to {
        Recipient::Run(run) => *run == sent_to,
        Recipient::Key { workflow, key } => {
            state.workflow == *workflow && state.key.as_deref() == Some(key.as_str())
        }
    };
    sender == sent_to && !is_addressed
}
