//! The children of runs: the messages that start them and ask something of them, and those that tell their parents how they
//! ended. It must not know what a run makes of an outcome.

use crate::data::attributes::Attributes;
use crate::data::child::Parent;
use crate::data::derived::derived_u128;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, MessageId, RunId};
use crate::data::name::Name;
use crate::data::outcome::Outcome;
use crate::data::payload::Payload;
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;
use crate::log::event::Event;
use crate::log::message::{Flag, Message};
use crate::log::wire::encode_message;
use crate::processor::Processor;
use crate::processor::effect::Effect;
use crate::processor::received::Received;
use crate::processor::record::Recorder;
use crate::run::children::{ChildRequest, KeyedStart, PendingChild, Request};
use crate::run::state::RunState;
use crate::store::append::{ChildRun, SentMessage};
use crate::store::inbox::{NewRun, Submission, Submitted};

/// The type of the failure of a child whose key another run has.
const KEY_TAKEN: &str = "key-taken";

/// The start of a child with a key.
#[derive(Clone, Debug)]
pub(crate) struct ChildStart {
    pub(crate) parent: RunId,
    /// The parent's durable call.
    pub(crate) call: CommandId,
    pub(crate) submission: Submission,
}

/// How a child is started.
pub(super) enum Start {
    /// By a message that leaves with the event.
    Message(SentMessage),
    /// By an effect: only a submission inserts keys.
    Effect(Effect),
}

/// The place in a trace that a run hands on to its children.
type Trace<'a> = Option<&'a TraceContext>;

/// The start of the child that an event decides.
pub(super) fn start_of(parent: RunId, trace: Trace<'_>, event: &Event) -> Option<Start> {
    let Event::ChildStarted { id, child, workflow, input, key, at_end: _, deadline, grace_until } = event
    else {
        return None;
    };
    let parent = Parent { run: parent, call: *id };
    let (child, key, deadline, grace_until) = (*child, key.as_deref(), *deadline, *grace_until);
    let started = Started { parent, child, workflow, input, key, deadline, grace_until, trace };
    Some(match key {
        None => Start::Message(SentMessage {
            message: start_message(child),
            run: child,
            key: None,
            otherwise: None,
            body: started.body(),
            opens: Some(ChildRun { workflow: workflow.clone(), parent: parent.run }),
        }),
        Some(_) => Start::Effect(started.submitted()),
    })
}

/// The starts of children that are to be bound, for a new owner of their parent.
fn unbound_starts(state: &RunState) -> Vec<Effect> {
    let unbound = state.children.iter().filter_map(|(id, child)| Some((id, child, child.unbound.as_ref()?)));
    unbound
        .map(|(call, pending, start)| {
            let PendingChild { child, workflow, .. } = pending;
            let (parent, child) = (Parent { run: state.id, call }, *child);
            let KeyedStart { key, input, deadline, grace_until } = &**start;
            let (key, deadline, grace_until) = (Some(key.as_str()), *deadline, *grace_until);
            let trace = state.trace.as_deref();
            Started { parent, child, workflow, input, key, deadline, grace_until, trace }.submitted()
        })
        .collect()
}

/// What a child is started with.
struct Started<'a> {
    parent: Parent,
    child: RunId,
    workflow: &'a Name,
    input: &'a Payload,
    key: Option<&'a str>,
    deadline: Option<Timestamp>,
    grace_until: Option<Timestamp>,
    trace: Trace<'a>,
}

impl Started<'_> {
    /// As the submission of a child with a key.
    fn submitted(&self) -> Effect {
        let submission = Submission {
            message: start_message(self.child),
            run: self.child,
            body: self.body(),
            opens: Some(NewRun {
                workflow: self.workflow.to_string(),
                key: self.key.map(str::to_owned),
                parent: Some(self.parent.run),
                input_digest: Some(self.input.canonical_digest()),
                followed_by: None,
                attributes: Attributes::default(),
            }),
        };
        let Parent { run: parent, call } = self.parent;
        Effect::StartChild(Box::new(ChildStart { parent, call, submission }))
    }

    fn body(&self) -> bytes::Bytes {
        encode_message(&Message::Start {
            workflow: self.workflow.clone(),
            input: self.input.clone(),
            key: self.key.map(str::to_owned),
            start_at: None,
            repeated: Flag(false),
            parent: Some(self.parent),
            retry: RetryPolicy::none(),
            deadline: self.deadline,
            grace_until: self.grace_until,
            trace: self.trace.copied().map(Box::new),
            attributes: Attributes::default(),
        })
    }
}

/// A run is started once, so its id can be the message's id.
fn start_message(child: RunId) -> MessageId {
    MessageId::from_u128(child.as_u128())
}

/// The message by which a run asks something of a child. If it is not wanted any more, it is dropped.
pub(super) fn request(parent: RunId, request: ChildRequest) -> SentMessage {
    let ChildRequest { id, child, what } = request;
    let (word, body) = match what {
        Request::Cancel => {
            let reason = Some(format!("its parent, run {parent}, asked for it"));
            ("cancel", Message::Cancel { reason, parent: Some(parent) })
        }
        Request::Terminate => {
            let reason = format!("its parent, run {parent}, gave it up or is over");
            ("terminate", Message::Terminate { reason, parent: Some(parent) })
        }
    };
    let message = message_of(word, parent, id);
    let body = encode_message(&body);
    SentMessage { message, run: child, key: None, otherwise: None, body, opens: None }
}

/// The message that tells a parent how its child ended. If the child was continued, it is the end of its chain, and the parent
/// knows the first run.
pub(super) fn ended(state: &RunState, terminal: &Event) -> Option<SentMessage> {
    let parent = state.parent.as_deref()?;
    let child = state.chain.as_deref().map_or(state.id, |link| link.first);
    let outcome = match terminal {
        Event::RunCompleted { result } => Outcome::Completed(result.clone()),
        Event::RunFailed { failure, .. } => Outcome::Failed(failure.clone()),
        Event::RunCancelled { .. } => Outcome::Cancelled,
        Event::RunTerminated { reason, .. } => {
            let message = format!("the child was terminated: {reason}");
            Outcome::Failed(Failure::new("child-terminated", message).non_retryable())
        }
        Event::RunTimedOut { deadline, .. } => {
            let message = format!("the child was not over at its deadline, {deadline}");
            Outcome::Failed(Failure::new("child-timed-out", message).non_retryable())
        }
        _ => return None,
    };
    let body = encode_message(&Message::ChildEnded { id: parent.call, child, outcome });
    let message = message_of("ended", child, parent.call);
    Some(SentMessage { message, run: parent.run, key: None, otherwise: None, body, opens: None })
}

/// The id of a message between parent and child: derived, so that no client's message has it.
fn message_of(word: &str, sender: RunId, call: CommandId) -> MessageId {
    let (sender, call) = (sender.as_u128().to_be_bytes(), call.get().to_be_bytes());
    MessageId::from_u128(derived_u128(&[b"child ", word.as_bytes(), &sender, &call]))
}

/// Why a start was refused, if it was.
fn refusal(start: &ChildStart, answer: Result<Submitted, String>) -> Option<Failure> {
    let failure = match answer {
        Ok(Submitted::Accepted | Submitted::RunOver) => return None,
        Ok(
            Submitted::Existing(holder) | Submitted::ExistingOver(holder) | Submitted::KeyConflict(holder),
        ) => {
            let opens = start.submission.opens.as_ref();
            let key = opens.and_then(|opens| opens.key.as_deref()).unwrap_or_default();
            Failure::new(
                KEY_TAKEN,
                format!("run {holder} has the key `{key}`, and this run did not start it"),
            )
        }
        Ok(Submitted::UnknownRun) => Failure::new("child-refused", "the store did not take the start"),
        Err(reason) => Failure::new("child-refused", reason),
    };
    Some(failure.non_retryable())
}

impl Recorder<'_> {
    /// Has the children of a run started that are to be bound.
    pub(super) fn start_children(&mut self, id: RunId) {
        if let Some(live) = self.runs.get_mut(id)
            && live.state().children.are_unbound()
        {
            for start in unbound_starts(live.state()) {
                live.cause(start, self.outbox);
            }
        }
    }

    /// A run with children to be bound is to be terminated: that waits, because it is not known whether they exist.
    pub(super) fn hold_termination(&mut self, id: RunId, received: Received) {
        let Some(live) = self.runs.get_mut(id) else { return };
        live.hold(received);
        // Its owner may not know its workflow, and not have started them.
        self.start_children(id);
    }

    /// Delivers the terminations that waited, as soon as all children are bound.
    pub(super) fn take_in_held(&mut self, id: RunId, now: Timestamp) {
        let Some(live) = self.runs.get_mut(id) else { return };
        if !live.state().children.are_unbound() {
            for held in live.take_held() {
                self.take_in(id, held, now);
            }
        }
    }
}

impl Processor {
    /// The store has answered to the start of a child with a key.
    pub(crate) fn child_submitted(
        &mut self,
        start: &ChildStart,
        answer: Result<Submitted, String>,
        now: Timestamp,
    ) {
        let (id, refused) = (start.parent, refusal(start, answer));
        let mut recorder = self.recorder();
        // If it was continued before the answer, its successor has the child, and has submitted the start as well.
        let Some(live) = recorder.runs.get_mut(id).filter(|live| !live.is_over()) else { return };
        let progress = live.run().child_submitted(now, start.call, refused);
        if progress.events.is_empty() {
            return;
        }
        recorder.record(id, progress, &[], now);
        recorder.take_in_held(id, now);
        recorder.evict_if_idle(id);
    }
}
