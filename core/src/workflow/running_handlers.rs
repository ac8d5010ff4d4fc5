//! The handlers of a program that are at work, polled in the order of their arrivals. It must not know what they serve.

use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};

use crate::workflow::async_program::WakeFlag;
use crate::workflow::fault::Fault;
use crate::workflow::scope::Scope;
use crate::workflow::scope::handlers::{HandlerFuture, Service};

/// The handlers at work, in the order in which they began.
#[derive(Default)]
pub(super) struct RunningHandlers(Vec<RunningHandler>);

struct RunningHandler {
    service: Service,
    future: HandlerFuture,
    flag: Arc<WakeFlag>,
    waker: Waker,
}

impl RunningHandlers {
    /// Whether one of them was woken since its last poll began.
    pub(super) fn take_woken(&self) -> bool {
        self.0.iter().any(|handler| handler.flag.take())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes their futures take.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|handler| size_of::<RunningHandler>() + size_of_val(&*handler.future)).sum()
    }

    /// Polls those that were woken, and then begins those whose arrivals wait. `settle` is called after each poll. Returns
    /// whether any was polled.
    pub(super) fn poll(
        &mut self,
        scope: &Scope,
        mut settle: impl FnMut() -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let mut polled = false;
        let mut next = 0;
        while next < self.0.len() {
            if self.0[next].flag.take() {
                polled = true;
                if self.0[next].poll() {
                    let done = self.0.remove(next);
                    scope.handler_done(&done.service);
                    // Dropping what it still holds is part of this poll.
                    drop(done);
                } else {
                    next += 1;
                }
                settle()?;
            } else {
                next += 1;
            }
        }
        while let Some((service, future)) = scope.begin_handler() {
            polled = true;
            if let Some(future) = future {
                let flag = Arc::new(WakeFlag::default());
                let waker = Waker::from(Arc::clone(&flag));
                let mut handler = RunningHandler { service, future, flag, waker };
                if handler.poll() {
                    scope.handler_done(&handler.service);
                } else {
                    self.0.push(handler);
                }
            }
            settle()?;
        }
        Ok(polled)
    }

    /// Drops them, in the order in which they began.
    pub(super) fn clear(&mut self) {
        for handler in std::mem::take(&mut self.0) {
            drop(handler);
        }
    }
}

impl RunningHandler {
    /// Polls it, and returns whether it is done.
    fn poll(&mut self) -> bool {
        self.future.as_mut().poll(&mut TaskContext::from_waker(&self.waker)).is_ready()
    }
}
