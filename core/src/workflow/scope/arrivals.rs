//! The signals of a run, and its updates: those that nothing has taken yet, and the calls that wait for one. It must not know
//! how a call is woken.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use crate::data::id::{CommandId, MessageId, RunId};
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::trace_context::TraceContext;
use crate::log::event::Event;

/// How many names stay that have no signal and no call.
const NAMES_KEPT: usize = 16;

/// What arrives at a run from outside and waits until its code takes it. Signals and updates of one name are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Signal,
    Update,
}

impl Kind {
    /// What it is called.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Update => "update",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.noun())
    }
}

/// A signal or an update that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Its place among all arrivals of the run.
    pub(crate) no: u64,
    /// The message that carried it.
    pub(crate) message: MessageId,
    pub(crate) payload: Payload,
    pub(crate) key: Option<String>,
    pub(crate) sender: Option<RunId>,
    /// The place in a trace at which it was sent.
    pub(crate) trace: Option<Box<TraceContext>>,
}

impl Arrival {
    /// An arrival that has no place yet, with no more than its content.
    pub(crate) fn new(message: MessageId, payload: Payload) -> Self {
        Self { no: 0, message, payload, key: None, sender: None, trace: None }
    }

    /// The event that says so.
    fn into_event(self, kind: Kind, name: Name) -> Event {
        let Self { no: _, message, payload, key, sender, trace } = self;
        match kind {
            Kind::Signal => Event::SignalReceived { message, signal: name, payload, key, sender, trace },
            Kind::Update => Event::UpdateReceived { message, update: name, request: payload, key, trace },
        }
    }
}

/// The arrivals of one kind, by name.
#[derive(Default)]
pub(super) struct Arrivals {
    /// A few names stay, because code that waited for one mostly waits for it again.
    by_name: BTreeMap<Name, OfName>,
    /// The name of the last signal that arrived, as long as it may be buffered although a call waits for it.
    arrived: Option<Name>,
    /// The size of the payloads that are buffered.
    bytes: usize,
}

#[derive(Default)]
struct OfName {
    buffer: VecDeque<Arrival>,
    /// Calls that were not woken since their last poll, ascending.
    waiters: VecDeque<CommandId>,
    /// How many calls there are, those that were woken or cancelled as well.
    calls: usize,
}

impl OfName {
    fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.calls == 0
    }

    fn end_call(&mut self, call: CommandId) {
        self.calls -= 1;
        if let Ok(place) = self.waiters.binary_search(&call) {
            self.waiters.remove(place);
        }
    }
}

impl Arrivals {
    /// Buffers an arrival. Returns the oldest call that waits for its name and is to be woken.
    pub(super) fn receive(&mut self, signal: &Name, arrival: Arrival) -> Option<CommandId> {
        self.bytes += arrival.payload.bytes().len();
        let of_name = self.of_name(signal);
        of_name.buffer.push_back(arrival);
        let oldest = of_name.waiters.pop_front();
        if !of_name.waiters.is_empty() {
            self.arrived = Some(signal.clone());
        }
        oldest
    }

    /// Takes the next arrival of that name for a call.
    pub(super) fn take(&mut self, signal: &Name, call: CommandId) -> Option<Arrival> {
        let of_name = self.by_name.get_mut(signal)?;
        let taken = of_name.buffer.pop_front()?;
        of_name.end_call(call);
        self.bytes -= taken.payload.bytes().len();
        self.tidy(signal);
        Some(taken)
    }

    /// Takes the next arrival of that name, which no call waits for.
    pub(super) fn take_next(&mut self, name: &Name) -> Option<Arrival> {
        let taken = self.by_name.get_mut(name)?.buffer.pop_front()?;
        self.bytes -= taken.payload.bytes().len();
        self.tidy(name);
        Some(taken)
    }

    /// Takes all that nothing has taken, as events with their numbers.
    pub(super) fn take_left(&mut self, kind: Kind) -> Vec<(u64, Event)> {
        self.bytes = 0;
        let mut left = Vec::new();
        for (name, of_name) in &mut self.by_name {
            let arrivals = of_name.buffer.drain(..);
            left.extend(arrivals.map(|arrival| (arrival.no, arrival.into_event(kind, name.clone()))));
        }
        left
    }

    /// The number of the next arrival of that name, if one waits to be taken.
    pub(super) fn first_no(&self, name: &Name) -> Option<u64> {
        self.by_name.get(name)?.buffer.front().map(|first| first.no)
    }

    /// The size of the payloads that nothing has taken.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A call for the next signal of that name is open from now on.
    pub(super) fn open(&mut self, signal: &Name) {
        self.of_name(signal).calls += 1;
    }

    /// Whether a call for signals of that name is open.
    pub(super) fn has_calls(&self, signal: &Name) -> bool {
        self.by_name.get(signal).is_some_and(|of_name| of_name.calls > 0)
    }

    /// The call waits for the next signal of that name.
    pub(super) fn wait(&mut self, signal: &Name, call: CommandId) {
        let waiters = &mut self.of_name(signal).waiters;
        if let Err(place) = waiters.binary_search(&call) {
            waiters.insert(place, call);
        }
    }

    /// The call is open no more, and has taken nothing.
    pub(super) fn forget_call(&mut self, signal: &Name, call: CommandId) {
        if let Some(of_name) = self.by_name.get_mut(signal) {
            of_name.end_call(call);
            self.tidy(signal);
        }
    }

    /// Forgets a name that has no signal and no call, if there are many names: code may choose a new one for each signal.
    fn tidy(&mut self, signal: &Name) {
        if self.by_name.len() > NAMES_KEPT && self.by_name.get(signal).is_some_and(OfName::is_empty) {
            self.by_name.remove(signal);
        }
    }

    /// Returns a call that waits for a buffered signal and is to be woken, if there is one: the code may hold the call that
    /// was woken for it, and not poll it. A call that begins to wait has found the buffer empty, so only the last signal that
    /// arrived can be left in this way.
    pub(super) fn next_stranded(&mut self) -> Option<CommandId> {
        let of_name = self.by_name.get_mut(self.arrived.as_ref()?)?;
        let oldest = if of_name.buffer.is_empty() { None } else { of_name.waiters.pop_front() };
        if oldest.is_none() {
            self.arrived = None;
        }
        oldest
    }

    fn of_name(&mut self, signal: &Name) -> &mut OfName {
        if !self.by_name.contains_key(signal) {
            self.by_name.insert(signal.clone(), OfName::default());
        }
        self.by_name.get_mut(signal).expect("it was just inserted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_used_once_do_not_pile_up() {
        let mut signals = Arrivals::default();
        let arrival = Arrival::new(MessageId::from_u128(1), Payload::encode(&1).unwrap());
        for number in 1..1_000 {
            let (name, call) = (Name::from(format!("reply-{number}")), CommandId::new(number));
            signals.open(&name);
            signals.wait(&name, call);
            assert_eq!(signals.receive(&name, arrival.clone()), Some(call));
            assert_eq!(signals.take(&name, call), Some(arrival.clone()));
            // A call that is dropped
            signals.open(&name);
            signals.wait(&name, call);
            signals.forget_call(&name, call);
            assert!(!signals.has_calls(&name));
        }
        assert!(signals.by_name.len() <= NAMES_KEPT, "{} names", signals.by_name.len());
    }
}
