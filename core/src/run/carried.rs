//! The children that a run carries along when it continues as new: they become the first events of its successor. It must not
//! know how the successor is written, or what it makes of its children.

use std::collections::BTreeMap;

use crate::data::child::{ChildPolicy, GivenUp};
use crate::data::failure::Failure;
use crate::data::id::CommandId;
use crate::log::event::Event;
use crate::run::children::PendingChild;
use crate::run::state::RunState;
use crate::workflow::calls::child::CHILD_CANCELLED;
use crate::workflow::scope::call::Resolution;
use crate::workflow::scope::carried::CarriedChild;

/// What a successor is told of the children that go along, and of those that are not bound.
#[derive(Debug, Default)]
pub(super) struct CarriedEvents {
    /// The children, under the first calls of the successor.
    pub(super) children: Vec<Event>,
    /// The outcomes that the run had already, and has not taken.
    pub(super) outcomes: Vec<Event>,
}

impl RunState {
    /// Takes the children that go along: they are none of this run's any more, so its end asks nothing of them.
    pub(super) fn carry_along(&mut self, carried: BTreeMap<CommandId, CarriedChild>) -> CarriedEvents {
        let mut waiting: BTreeMap<CommandId, Resolution> = BTreeMap::new();
        if !carried.is_empty() {
            waiting.extend(self.waiting.iter().filter_map(|past| outcome_in(&past.event)));
        }
        let mut events = CarriedEvents::default();
        let mut id = CommandId::FIRST;
        for (call, CarriedChild { child, outcome }) in carried {
            let start = self.children.remove(call).and_then(|pending| pending.unbound).map(|start| *start);
            let (key, input) = start.as_ref().map(|start| (start.key.clone(), start.input.clone())).unzip();
            events.children.push(Event::ChildCarried {
                id,
                child: child.child,
                workflow: child.workflow,
                on_cancel: child.on_cancel,
                at_end: child.at_end,
                key,
                input,
                deadline: start.as_ref().and_then(|start| start.deadline),
                grace_until: start.as_ref().and_then(|start| start.grace_until),
                given_up: None,
            });
            let outcome = outcome.or_else(|| waiting.remove(&call));
            events.outcomes.extend(outcome.and_then(|outcome| outcome_event(id, outcome)));
            id = id.next();
        }
        for child in self.children.unbound() {
            events.children.push(given_up(id, child));
            id = id.next();
        }
        events
    }
}

/// The successor has a child with a key that the run has given up, until it is known whether the child exists: then it asks of the child
/// what this run has decided.
fn given_up(id: CommandId, pending: &PendingChild) -> Event {
    let policy = match pending.decided.unwrap_or(pending.at_end) {
        // Nothing waits for it.
        ChildPolicy::RequestAndWait | ChildPolicy::Request => ChildPolicy::Request,
        policy @ (ChildPolicy::Terminate | ChildPolicy::Leave) => policy,
    };
    let start = pending.unbound.as_deref();
    Event::ChildCarried {
        id,
        child: pending.child,
        workflow: pending.workflow.clone(),
        on_cancel: policy,
        at_end: policy,
        key: start.map(|start| start.key.clone()),
        input: start.map(|start| start.input.clone()),
        deadline: start.and_then(|start| start.deadline),
        grace_until: start.and_then(|start| start.grace_until),
        given_up: Some(GivenUp(policy)),
    }
}

/// The outcome of a child that an event has, and the child's call.
fn outcome_in(event: &Event) -> Option<(CommandId, Resolution)> {
    if let Event::ChildCompleted { id, result } = event {
        Some((*id, Resolution::Value(result.clone())))
    } else if let Event::ChildFailed { id, failure } = event {
        Some((*id, Resolution::Failed(Box::new(failure.clone()))))
    } else {
        None
    }
}

/// The event by which a successor is told of an outcome.
fn outcome_event(id: CommandId, outcome: Resolution) -> Option<Event> {
    match outcome {
        Resolution::Value(result) => Some(Event::ChildCompleted { id, result }),
        Resolution::Failed(failure) => Some(Event::ChildFailed { id, failure: *failure }),
        Resolution::Cancelled => {
            let message = "the run gave the child up when it was cancelled, and then carried it along";
            let failure = Failure::new(CHILD_CANCELLED, message).non_retryable();
            Some(Event::ChildFailed { id, failure })
        }
        Resolution::Fired | Resolution::Compensated(_) | Resolution::Asked(_) => None,
    }
}
