//! The handlers of a run: which names they serve, which of them are at work, and what waits for what they do. It must not poll
//! one.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures::future::LocalBoxFuture;

use super::arrivals::{Arrival, Kind};
use super::call::CallKind;
use super::{Inner, Scope};
use crate::data::id::CommandId;
use crate::data::name::Name;
use crate::workflow::command::Source;

/// Makes the future of a handler that takes an arrival; `None` after a fault of the run.
pub(crate) type Begin = dyn Fn(Arrival) -> Option<HandlerFuture>;

/// The future of a handler at work.
pub(crate) type HandlerFuture = LocalBoxFuture<'static, ()>;

/// What a handler serves.
pub(crate) type Service = (Kind, Name);

/// The handlers of a run. Boxed in the scope, because most runs have none.
pub(super) struct Handlers {
    served: BTreeMap<Service, Registration>,
    registered: u64,
    /// What has a handler at work, which may have outlived its registration.
    working: BTreeSet<Service>,
    /// What is served, has no handler at work and has an arrival that no handler has taken, by the oldest of these.
    ready: BTreeMap<u64, Service>,
    /// The open calls of `until`, in the order of their ids.
    conditions: BTreeSet<CommandId>,
    /// Whether something may have changed since conditions were looked at: a resolution came, or a wait for a condition ended.
    progressed: bool,
}

struct Registration {
    number: u64,
    source: Source,
    begin: Rc<Begin>,
}

impl Default for Handlers {
    fn default() -> Self {
        Self {
            served: BTreeMap::new(),
            registered: 0,
            working: BTreeSet::new(),
            ready: BTreeMap::new(),
            conditions: BTreeSet::new(),
            // The poll in which it is made goes on.
            progressed: true,
        }
    }
}

impl Handlers {
    /// Notes that the oldest arrival of a service, which no handler has taken, has this number.
    pub(super) fn note_oldest(&mut self, service: &Service, no: u64) {
        if self.served.contains_key(service) && !self.working.contains(service) {
            self.ready.insert(no, service.clone());
        }
    }
}

impl Inner {
    /// The line of a call that waits for arrivals of that name, if one does.
    fn source_of_wait(&mut self, (kind, name): &Service) -> Option<Source> {
        if !self.arrivals(*kind).has_calls(name) {
            return None;
        }
        let awaited = CallKind::Arrival(*kind, name.clone());
        let waits = self.calls.values().find(|call| call.resolution.is_none() && call.kind == awaited);
        waits.map(|call| call.source)
    }

    /// The handler of a service may be at leisure while something of it has arrived.
    fn note_ready(&mut self, service: &Service) {
        if let Some(no) = self.arrivals(service.0).first_no(&service.1)
            && let Some(handlers) = &mut self.handlers
        {
            handlers.note_oldest(service, no);
        }
    }
}

impl Scope {
    /// Has a handler take the arrivals of a name, and returns the number of the registration. The error says why it cannot.
    pub(crate) fn serve(&self, service: &Service, begin: Rc<Begin>, source: Source) -> Result<u64, String> {
        self.at(source);
        let (kind, name) = service;
        Name::check(kind.noun(), name)?;
        let mut inner = self.inner.borrow_mut();
        if let Some(source) = inner.source_of_wait(service) {
            return Err(format!(
                "{kind} `{name}` is waited for at {source}: a name has either a handler or waits; end the wait before, or \
                 use another name"
            ));
        }
        let handlers = inner.handlers.get_or_insert_default();
        if let Some(registration) = handlers.served.get(service) {
            return Err(format!(
                "{kind} `{name}` has a handler already, of {}: drop its guard before",
                registration.source
            ));
        }
        handlers.registered += 1;
        let number = handlers.registered;
        handlers.served.insert(service.clone(), Registration { number, source, begin });
        inner.note_ready(service);
        Ok(number)
    }

    /// Ends a registration. A handler at work goes on.
    pub(crate) fn stop_serving(&self, service: &Service, number: u64) {
        let ended = {
            let mut inner = self.inner.borrow_mut();
            let oldest = inner.arrivals(service.0).first_no(&service.1);
            let Some(handlers) = &mut inner.handlers else { return };
            let is_it = handlers.served.get(service).is_some_and(|served| served.number == number);
            oldest.filter(|_| is_it).inspect(|no| _ = handlers.ready.remove(no));
            is_it.then(|| handlers.served.remove(service))
        };
        // The handler's code is the user's, and may call back into this scope when it is dropped.
        drop(ended);
    }

    /// Ends all registrations, and returns what is left of them, to be dropped.
    pub(crate) fn stop_serving_all(&self) -> Vec<Rc<Begin>> {
        let Some(handlers) = self.inner.borrow_mut().handlers.take() else { return Vec::new() };
        handlers.served.into_values().map(|registration| registration.begin).collect()
    }

    /// Begins the handler of the oldest arrival that has one at leisure. `None` if there is none.
    pub(crate) fn begin_handler(&self) -> Option<(Service, Option<HandlerFuture>)> {
        let (service, begin, arrival) = {
            let mut guard = self.inner.borrow_mut();
            let inner = &mut *guard;
            let handlers = inner.handlers.as_mut()?;
            let (_, service) = handlers.ready.pop_first()?;
            let begin = Rc::clone(&handlers.served.get(&service)?.begin);
            handlers.working.insert(service.clone());
            let arrival = inner.arrivals(service.0).take_next(&service.1)?;
            inner.took(&arrival);
            (service, begin, arrival)
        };
        let future = begin(arrival);
        Some((service, future))
    }

    /// A handler is done.
    pub(crate) fn handler_done(&self, service: &Service) {
        let mut inner = self.inner.borrow_mut();
        if let Some(handlers) = &mut inner.handlers {
            handlers.working.remove(service);
            inner.note_ready(service);
        }
    }

    /// Whether nothing of a name waits for its handler or is with it.
    pub(crate) fn is_drained(&self, service: &Service) -> bool {
        let mut inner = self.inner.borrow_mut();
        let is_idle = inner.handlers.as_ref().is_none_or(|handlers| !handlers.working.contains(service));
        is_idle && inner.arrivals(service.0).first_no(&service.1).is_none()
    }

    /// Why the code cannot wait for arrivals of this name, if it cannot.
    pub(crate) fn may_wait_for(&self, kind: Kind, name: &Name) -> Result<(), String> {
        Name::check(kind.noun(), name)?;
        let inner = self.inner.borrow();
        let Some(handlers) = &inner.handlers else { return Ok(()) };
        match handlers.served.get(&(kind, name.clone())) {
            None => Ok(()),
            Some(registration) => Err(format!(
                "it has a handler, of {}: a name has either a handler or waits; drop the handler's guard before, or use \
                 another name",
                registration.source
            )),
        }
    }

    // Conditions.

    /// A call waits until its condition is true.
    pub(crate) fn wait_for_condition(&self, call: CommandId) {
        self.inner.borrow_mut().handlers.get_or_insert_default().conditions.insert(call);
    }

    /// The call does not wait any more. What its code does next may make other conditions true.
    pub(crate) fn forget_condition(&self, call: CommandId) {
        if let Some(handlers) = &mut self.inner.borrow_mut().handlers {
            handlers.conditions.remove(&call);
            handlers.progressed = true;
        }
    }

    /// Notes that a poll begins, so that conditions may be true after it. All that a poll does follows from its resolution, or
    /// from a wait for a condition that ends in it.
    pub(crate) fn note_progress(&self) {
        if let Some(handlers) = &mut self.inner.borrow_mut().handlers {
            handlers.progressed = true;
        }
    }

    /// Wakes all calls that wait for conditions, if one may be true now. Returns whether there was one.
    pub(crate) fn wake_conditions(&self) -> bool {
        let waiting: Vec<CommandId> = {
            let mut inner = self.inner.borrow_mut();
            let Some(handlers) = &mut inner.handlers else { return false };
            if !std::mem::replace(&mut handlers.progressed, false) {
                return false;
            }
            handlers.conditions.iter().copied().collect()
        };
        waiting.iter().for_each(|call| self.wake(*call));
        !waiting.is_empty()
    }

    /// The line of a condition that is waited for, and whether a handler may make it true.
    pub(crate) fn condition(&self) -> Option<(Source, bool)> {
        let inner = self.inner.borrow();
        let handlers = inner.handlers.as_ref()?;
        let call = inner.calls.get(*handlers.conditions.first()?)?;
        Some((call.source, !handlers.served.is_empty()))
    }
}
