//! The children of a run, according to its log, and what the run asks of them. It must not know how a request is sent.

use std::collections::BTreeMap;

use crate::data::call_map::CallMap;
use crate::data::child::ChildPolicy;
use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::log::event::{Consequence, Event};

/// A child without an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingChild {
    pub(crate) child: RunId,
    pub(crate) workflow: Name,
    /// What becomes of it at the end of its parent.
    pub(crate) at_end: ChildPolicy,
    /// What the parent has decided to become of it: it gave the child up, or asked it to cancel itself.
    pub(super) decided: Option<ChildPolicy>,
    /// Its start, until it is bound.
    pub(crate) unbound: Option<Box<KeyedStart>>,
}

/// The start of a child with a key, which leaves after the event that decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyedStart {
    pub(crate) key: String,
    pub(crate) input: Payload,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) grace_until: Option<Timestamp>,
}

/// What a run asks of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChildRequest {
    pub(crate) id: CommandId,
    pub(crate) child: RunId,
    pub(crate) what: Request,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Cancel,
    Terminate,
}

impl Request {
    /// What a policy asks of a child.
    pub(crate) fn of(policy: ChildPolicy) -> Option<Self> {
        match policy {
            ChildPolicy::RequestAndWait | ChildPolicy::Request => Some(Self::Cancel),
            ChildPolicy::Terminate => Some(Self::Terminate),
            ChildPolicy::Leave => None,
        }
    }
}

/// The children without an outcome that their parent has to do with. Boxed, because most runs have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Children(Option<Box<Pending>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pending {
    children: CallMap<PendingChild>,
    /// How many of them are to be started.
    unbound: usize,
    /// The calls of those that the predecessor carried along, and that may have an outcome.
    carried: BTreeMap<RunId, CommandId>,
}

impl Children {
    pub(super) fn new() -> Self {
        Self(None)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |pending| pending.children.len())
    }

    pub(crate) fn get(&self, id: CommandId) -> Option<&PendingChild> {
        self.0.as_ref()?.children.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (CommandId, &PendingChild)> {
        self.0.iter().flat_map(|pending| pending.children.iter())
    }

    fn get_mut(&mut self, id: CommandId) -> Option<&mut PendingChild> {
        self.0.as_mut()?.children.get_mut(id)
    }

    /// Whether a child with a key is to be started. Until it is known whether it is bound, its parent does not end.
    pub(crate) fn are_unbound(&self) -> bool {
        self.0.as_ref().is_some_and(|pending| pending.unbound > 0)
    }

    /// The children that are to be started.
    pub(super) fn unbound(&self) -> impl Iterator<Item = &PendingChild> {
        self.iter().map(|(_, child)| child).filter(|child| child.unbound.is_some())
    }

    /// Whether the end of the parent waits for any of them.
    pub(super) fn delay_the_end(&self) -> bool {
        let waits = |child: &PendingChild| {
            child.unbound.is_some() || child.decided.unwrap_or(child.at_end) == ChildPolicy::RequestAndWait
        };
        self.iter().any(|(_, child)| waits(child))
    }

    /// What an event, which is about to be applied, asks of children. One that is not bound yet is asked when it is.
    pub(super) fn requests(&self, event: &Event) -> Vec<ChildRequest> {
        let ends = matches!(event.consequence(), Consequence::Ending | Consequence::Terminal(_));
        let asks = |child: &PendingChild| {
            let asked = child.decided.and_then(Request::of);
            if let Event::ChildBound { .. } = event {
                // It could not be asked before.
                return asked;
            }
            let policy = if let Event::ChildCancelled { policy, .. } = *event {
                Some(policy)
            } else if let Event::ChildCancelRequested { .. } = event {
                Some(ChildPolicy::RequestAndWait)
            } else {
                child.decided.is_none().then_some(child.at_end).filter(|_| ends)
            };
            let asks = policy.filter(|_| child.unbound.is_none()).and_then(Request::of);
            asks.filter(|asks| asked != Some(*asks))
        };
        let request = |(id, child): (CommandId, &PendingChild)| {
            Some(ChildRequest { id, child: child.child, what: asks(child)? })
        };
        match event.call() {
            Some(id) => self.get(id).and_then(|child| request((id, child))).into_iter().collect(),
            None if ends => self.iter().filter_map(request).collect(),
            None => Vec::new(),
        }
    }

    /// Applies an event of a child.
    pub(super) fn apply(&mut self, event: &Event) {
        if let Event::ChildStarted { id, child, workflow, input, key, at_end, deadline, grace_until } = event
        {
            let (deadline, grace_until) = (*deadline, *grace_until);
            let start = |key: &String| {
                Box::new(KeyedStart { key: key.clone(), input: input.clone(), deadline, grace_until })
            };
            let (workflow, unbound) = (workflow.clone(), key.as_ref().map(start));
            let (child, at_end, decided) = (*child, *at_end, None);
            let pending = self.0.get_or_insert_default();
            pending.unbound += usize::from(unbound.is_some());
            pending.children.insert(*id, PendingChild { child, workflow, at_end, decided, unbound });
        } else if let Event::ChildCarried { .. } = event {
            self.carry_on(event);
        } else if let Event::ChildBound { id } = event {
            self.bind(*id);
        } else if let Event::ChildCancelRequested { id } = event {
            self.decide(*id, ChildPolicy::RequestAndWait);
        } else if let Event::ChildCancelled { id, policy } = event {
            self.decide(*id, *policy);
        } else if let Event::ChildCompleted { id, .. } | Event::ChildFailed { id, .. } = event {
            self.remove(*id);
        }
    }

    /// The run has a child that its predecessor carried along, or has given up.
    fn carry_on(&mut self, event: &Event) {
        let Event::ChildCarried {
            id,
            child,
            workflow,
            on_cancel: _,
            at_end,
            key,
            input,
            deadline,
            grace_until,
            given_up,
        } = event
        else {
            return;
        };
        let decided = given_up.map(|given_up| given_up.0);
        let (id, child, workflow, at_end) = (*id, *child, workflow.clone(), *at_end);
        let (deadline, grace_until) = (*deadline, *grace_until);
        let start = key.clone().zip(input.clone());
        let unbound = start.map(|(key, input)| Box::new(KeyedStart { key, input, deadline, grace_until }));
        let pending = self.0.get_or_insert_default();
        pending.unbound += usize::from(unbound.is_some());
        pending.children.insert(id, PendingChild { child, workflow, at_end, decided, unbound });
        pending.carried.insert(child, id);
    }

    /// The call by which the run has a child, given the number of the call that started it: its own call, or one of a run that
    /// carried the child along.
    pub(super) fn call_of(&self, child: RunId, started_by: CommandId) -> Option<CommandId> {
        let pending = self.0.as_ref()?;
        let is_it = |id: &CommandId| pending.children.get(*id).is_some_and(|pending| pending.child == child);
        Some(started_by).filter(is_it).or_else(|| pending.carried.get(&child).copied().filter(is_it))
    }

    fn bind(&mut self, id: CommandId) {
        if let Some(pending) = &mut self.0
            && let Some(child) = pending.children.get_mut(id)
        {
            pending.unbound -= usize::from(child.unbound.take().is_some());
        }
        self.forget_unless_awaited(id);
    }

    /// The parent has decided what is to become of the child.
    fn decide(&mut self, id: CommandId, policy: ChildPolicy) {
        if let Some(child) = self.get_mut(id) {
            child.decided = Some(policy);
        }
        self.forget_unless_awaited(id);
    }

    /// The child has an outcome, or the run has nothing to do with it any more.
    pub(super) fn remove(&mut self, id: CommandId) -> Option<PendingChild> {
        let pending = self.0.as_mut()?;
        let removed = pending.children.remove(id);
        pending.unbound -= usize::from(removed.as_ref().is_some_and(|child| child.unbound.is_some()));
        self.forget_if_empty();
        removed
    }

    /// The parent ends: it decides about those about which it has not decided before.
    pub(super) fn end(&mut self) {
        let undecided = self.iter().filter(|(_, child)| child.decided.is_none());
        let undecided: Vec<_> = undecided.map(|(id, child)| (id, child.at_end)).collect();
        undecided.into_iter().for_each(|(id, policy)| self.decide(id, policy));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// The outcome of a child that was given up is of no use, unless the end of the parent waits for it.
    fn forget_unless_awaited(&mut self, id: CommandId) {
        let is_useless = |child: &PendingChild| {
            child.unbound.is_none()
                && child.decided.is_some_and(|policy| policy != ChildPolicy::RequestAndWait)
        };
        if let Some(pending) = &mut self.0 {
            pending.children.remove_if(id, is_useless);
        }
        self.forget_if_empty();
    }

    fn forget_if_empty(&mut self) {
        if self.len() == 0 {
            self.clear();
        }
    }
}
