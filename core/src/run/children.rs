//! The children of a run, according to its log, and what the run asks of them. It must not know how a request is sent.

use crate::data::call_map::CallMap;
use crate::data::child::ChildPolicy;
use crate::data::id::{CommandId, RunId};
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::log::event::{Consequence, Event};

/// A child without an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingChild {
    pub(crate) child: RunId,
    pub(crate) workflow: Name,
    /// What becomes of it at the end of its parent.
    at_end: ChildPolicy,
    /// What the parent has decided to become of it: it gave the child up, or asked it to cancel itself.
    decided: Option<ChildPolicy>,
    /// Its start, until it is bound.
    pub(crate) unbound: Option<Box<KeyedStart>>,
}

/// The start of a child with a key, which leaves after the event that decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyedStart {
    pub(crate) key: String,
    pub(crate) input: Payload,
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
    fn of(policy: ChildPolicy) -> Option<Self> {
        match policy {
            ChildPolicy::RequestAndWait | ChildPolicy::Request => Some(Self::Cancel),
            ChildPolicy::Terminate => Some(Self::Terminate),
            ChildPolicy::Leave => None,
        }
    }
}

/// The children without an outcome that their parent has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Children {
    pending: CallMap<PendingChild>,
    /// How many of them are to be started.
    unbound: usize,
}

impl Children {
    pub(super) fn new() -> Self {
        Self { pending: CallMap::new(), unbound: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn get(&self, id: CommandId) -> Option<&PendingChild> {
        self.pending.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (CommandId, &PendingChild)> {
        self.pending.iter()
    }

    /// Whether a child with a key is to be started. Until it is known whether it is bound, its parent does not end.
    pub(crate) fn are_unbound(&self) -> bool {
        self.unbound > 0
    }

    /// Whether the end of the parent waits for any of them.
    pub(super) fn delay_the_end(&self) -> bool {
        let waits = |child: &PendingChild| {
            child.unbound.is_some() || child.decided.unwrap_or(child.at_end) == ChildPolicy::RequestAndWait
        };
        self.pending.values().any(waits)
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
            Some(id) => self.pending.get(id).and_then(|child| request((id, child))).into_iter().collect(),
            None if ends => self.pending.iter().filter_map(request).collect(),
            None => Vec::new(),
        }
    }

    /// Applies an event of a child.
    pub(super) fn apply(&mut self, event: &Event) {
        if let Event::ChildStarted { id, child, workflow, input, key, at_end } = event {
            let start = |key: &String| Box::new(KeyedStart { key: key.clone(), input: input.clone() });
            let (workflow, unbound) = (workflow.clone(), key.as_ref().map(start));
            self.unbound += usize::from(unbound.is_some());
            let (child, at_end, decided) = (*child, *at_end, None);
            self.pending.insert(*id, PendingChild { child, workflow, at_end, decided, unbound });
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

    fn bind(&mut self, id: CommandId) {
        if let Some(child) = self.pending.get_mut(id) {
            self.unbound -= usize::from(child.unbound.take().is_some());
        }
        self.forget_unless_awaited(id);
    }

    /// The parent has decided what is to become of the child.
    fn decide(&mut self, id: CommandId, policy: ChildPolicy) {
        if let Some(child) = self.pending.get_mut(id) {
            child.decided = Some(policy);
        }
        self.forget_unless_awaited(id);
    }

    /// The child has an outcome.
    fn remove(&mut self, id: CommandId) {
        let removed = self.pending.remove(id);
        self.unbound -= usize::from(removed.is_some_and(|child| child.unbound.is_some()));
    }

    /// The parent ends: it decides about those about which it has not decided before.
    pub(super) fn end(&mut self) {
        let undecided = self.pending.iter().filter(|(_, child)| child.decided.is_none());
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
        self.pending.remove_if(id, is_useless);
    }
}
