//! The end of a run that is continued by another, and the first events of that other: by continue-as-new, or because the
//! whole run is retried. It must not know how both are written.
//!
//! The code of the successor is not polled here. Its first events wait, as those of a stalled run do, and are released once
//! they are in the log: so the end of the predecessor never depends on what the successor's code does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::data::chain::{ChainLink, KnownMessage, KnownMessages, RunRetry};
use crate::data::derived::derived_u64;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, EventSeq, MessageId, RunId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::log::past_event::PastEvent;
use crate::run::carried::CarriedEvents;
use crate::run::left::message_of;
use crate::run::state::RunState;
use crate::run::{Progress, Run};
use crate::workflow::program::Programs;
use crate::workflow::scope::carried::CarriedChild;

/// A run that begins with the end of its predecessor.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) run: RunId,
    pub(crate) workflow: Name,
    pub(crate) key: Option<String>,
    pub(crate) parent: Option<RunId>,
    pub(crate) link: ChainLink,
    /// Its first events, which no code has seen.
    pub(crate) events: Vec<PastEvent>,
}

/// How a successor begins.
struct Beginning {
    input: Payload,
    start_at: Option<Timestamp>,
    retry: Option<Box<RunRetry>>,
    carried: CarriedEvents,
}

impl Run {
    /// Takes up a run of which the log has the first events, and whose code has seen none of them.
    pub(crate) fn take_up(id: RunId, events: &[PastEvent], programs: &dyn Programs) -> Self {
        let mut run = Self::new(id);
        for past in events {
            run.state.apply(past.at, &past.event);
        }
        run.program = programs.program(&run.state.workflow, id);
        run
    }

    /// Ends the run because its workflow continues as new.
    pub(super) fn continue_as_new(
        &mut self,
        at: Timestamp,
        input: Payload,
        carried: BTreeMap<CommandId, CarriedChild>,
        progress: &mut Progress,
    ) {
        let carried = self.state.carry_along(carried);
        let policy = self.state.retry.as_ref().map(|retry| retry.policy.clone());
        let beginning = Beginning { input, start_at: None, retry: policy.and_then(RunRetry::first), carried };
        let successor = self.successor(at, beginning);
        let ended = Event::RunContinued { successor: successor.run };
        self.succeed(at, ended, successor, progress);
    }

    /// Ends the run because it failed and is tried again. Returns false if it is not.
    pub(super) fn retry_whole(&mut self, at: Timestamp, failure: &Failure, progress: &mut Progress) -> bool {
        let Some(retry_at) = self.next_attempt_at(at, failure) else { return false };
        let (Some(input), Some(retry)) = (self.state.input.clone(), self.state.retry.as_deref()) else {
            return false;
        };
        let retry = RunRetry { attempt: retry.attempt.saturating_add(1), policy: retry.policy.clone() };
        let retry = Some(Box::new(retry));
        let carried = CarriedEvents::default();
        let successor = self.successor(at, Beginning { input, start_at: Some(retry_at), retry, carried });
        let ended = Event::RunRetried {
            successor: successor.run,
            failure: failure.clone(),
            retry_at,
            uncompensated: self.state.uncompensated(),
        };
        self.succeed(at, ended, successor, progress);
        true
    }

    /// When the next attempt begins, if there is one. A run that was asked to cancel itself, or whose deadline has passed, is not
    /// tried again.
    pub(super) fn next_attempt_at(&self, at: Timestamp, failure: &Failure) -> Option<Timestamp> {
        let may_go_on = self.state.cancel.is_none() && self.state.timed_out().is_none();
        let retry = self.state.retry.as_ref().filter(|_| may_go_on)?;
        let seed = self.state.id.as_u128() as u64;
        let delay = retry.policy.delay_after(retry.attempt, failure, seed)?;
        Some(at.saturating_add(delay))
    }

    fn successor(&mut self, at: Timestamp, beginning: Beginning) -> Box<Successor> {
        let left = self.left.take();
        let state = &self.state;
        let (run, link) =
            (id_after(state.id, at), ChainLink::after(state.id, state.chain.as_deref().copied()));
        let Beginning { input, start_at, retry, carried: CarriedEvents { children, outcomes } } = beginning;
        let (parent, (deadline, grace_until)) = (state.parent.as_deref(), state.limits());
        let started = Event::RunStarted {
            workflow: state.workflow.clone(),
            input,
            lease: state.lease.expect("a run that has begun has a lease"),
            key: state.key(),
            start_at,
            // The parent is told how the chain ends.
            parent: parent.map(|parent| parent.run),
            parent_call: parent.map(|parent| parent.call),
            chain: Some(link),
            run_retry: retry,
            // They limit the time of the whole chain.
            deadline,
            grace_until,
            trace: state.trace.clone(),
            carried: u32::try_from(children.len()).ok().filter(|count| *count > 0),
            attributes: state.attributes.clone(),
        };
        let known = known_messages(state, &left, at);
        let known = (!known.is_empty()).then_some(Event::MessagesKnown { messages: KnownMessages(known) });
        let mut seq = EventSeq::FIRST;
        let numbered = |event| {
            let past = PastEvent { seq, at, event };
            seq = seq.next();
            past
        };
        let events = [started].into_iter().chain(children).chain(known).chain(outcomes).chain(left);
        let events = events.map(numbered).collect();
        let (workflow, key, parent) = (state.workflow.clone(), state.key(), parent.map(|parent| parent.run));
        Box::new(Successor { run, workflow, key, parent, link, events })
    }

    fn succeed(&mut self, at: Timestamp, ended: Event, successor: Box<Successor>, progress: &mut Progress) {
        self.log(at, ended, progress);
        progress.successor = Some(successor);
    }
}

/// The id of the run that follows a run in its chain: in the same shard, born now, and the same whenever it is computed.
fn id_after(run: RunId, at: Timestamp) -> RunId {
    RunId::new(at, run.shard(), derived_u64(&[b"successor", &run.as_u128().to_be_bytes()]))
}

/// The last messages that the chain has logged. Those that are left to the successor are not among them.
fn known_messages(state: &RunState, left: &[Event], at: Timestamp) -> Vec<KnownMessage> {
    let passed_on: BTreeSet<MessageId> = left.iter().filter_map(message_of).collect();
    let recent = |known: &KnownMessage| at.saturating_since(known.at) <= limits::KNOWN_MESSAGES_AGE_MAX;
    let known =
        state.messages.sorted().into_iter().map(|(message, at)| KnownMessage { message: *message, at: *at });
    let mut known: Vec<KnownMessage> =
        known.filter(|known| recent(known) && !passed_on.contains(&known.message)).collect();
    known.sort_by_key(|known| Reverse(known.at));
    known.truncate(limits::KNOWN_MESSAGES_MAX);
    known
}
