//! The handlers of a program that are at work, polled in the order of their arrivals. It must not know what they serve.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Wake, Waker};

use crate::workflow::fault::Fault;
use crate::workflow::scope::Scope;
use crate::workflow::scope::handlers::{HandlerFuture, Service};

/// The handlers at work. Boxed, because most runs have none.
#[derive(Default)]
pub(super) struct RunningHandlers(Option<Box<Handlers>>);

#[derive(Default)]
struct Handlers {
    /// By their numbers: in the order in which they began.
    running: BTreeMap<u64, RunningHandler>,
    /// How many have begun and were not done after their first poll.
    numbered: u64,
    /// How many bytes their futures take.
    bytes: usize,
    woken: Arc<Woken>,
}

struct RunningHandler {
    service: Service,
    future: HandlerFuture,
    waker: Waker,
}

/// The handlers that were woken since their last polls began, so that a poll looks at no others: there may be thousands.
#[derive(Debug, Default)]
struct Woken(Mutex<BTreeSet<u64>>);

impl Woken {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the first one from a number on.
    fn take_from(&self, number: u64) -> Option<u64> {
        let mut woken = self.lock();
        let first = woken.range(number..).next().copied()?;
        woken.remove(&first);
        Some(first)
    }
}

/// The waker of a handler, which only records that it was woken. It may outlive the handler.
#[derive(Debug)]
struct WakeHandler {
    number: u64,
    woken: Arc<Woken>,
}

impl Wake for WakeHandler {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.lock().insert(self.number);
    }
}

impl RunningHandlers {
    /// Whether one of them was woken since its last poll began.
    pub(super) fn take_woken(&self) -> bool {
        self.0.as_ref().is_some_and(|handlers| handlers.take_woken())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|handlers| handlers.running.is_empty())
    }

    /// How many bytes their futures take.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |handlers| handlers.bytes)
    }

    /// Polls those that were woken, and then begins those whose arrivals wait. `settle` is called after each poll. Returns
    /// whether any was polled.
    pub(super) fn poll(
        &mut self,
        scope: &Scope,
        mut settle: impl FnMut() -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let mut polled = false;
        if let Some(handlers) = &mut self.0 {
            polled = handlers.poll_woken(scope, &mut settle)?;
        }
        // What has arrived is left to the successor of a run that continues.
        while !scope.is_continuing()
            && let Some((service, future)) = scope.begin_handler()
        {
            polled = true;
            if let Some(future) = future {
                self.0.get_or_insert_default().begin(service, future, scope);
            }
            settle()?;
        }
        Ok(polled)
    }

    /// Drops them, in the order in which they began.
    pub(super) fn clear(&mut self) {
        let handlers = self.0.take().into_iter().flat_map(|handlers| handlers.running);
        handlers.for_each(drop);
    }
}

impl Handlers {
    fn take_woken(&self) -> bool {
        let woken = std::mem::take(&mut *self.woken.lock());
        woken.iter().any(|number| self.running.contains_key(number))
    }

    fn poll_woken(
        &mut self,
        scope: &Scope,
        settle: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let (mut polled, mut next) = (false, 0);
        while let Some(number) = self.woken.take_from(next) {
            next = number + 1;
            let Some(handler) = self.running.get_mut(&number) else { continue };
            polled = true;
            if handler.poll() {
                self.end(number, scope);
            }
            settle()?;
        }
        Ok(polled)
    }

    fn begin(&mut self, service: Service, future: HandlerFuture, scope: &Scope) {
        self.numbered += 1;
        let (number, woken) = (self.numbered, Arc::clone(&self.woken));
        let waker = Waker::from(Arc::new(WakeHandler { number, woken }));
        let mut handler = RunningHandler { service, future, waker };
        if handler.poll() {
            scope.handler_done(&handler.service);
        } else {
            self.bytes += handler.bytes();
            self.running.insert(number, handler);
        }
    }

    fn end(&mut self, number: u64, scope: &Scope) {
        let Some(done) = self.running.remove(&number) else { return };
        self.bytes -= done.bytes();
        scope.handler_done(&done.service);
        // Dropping what it still holds is part of this poll.
        drop(done);
    }
}

impl RunningHandler {
    /// Polls it, and returns whether it is done.
    fn poll(&mut self) -> bool {
        self.future.as_mut().poll(&mut TaskContext::from_waker(&self.waker)).is_ready()
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.future)
    }
}
