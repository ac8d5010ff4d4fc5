//! How a future drives its world: while it waits, all woken tasks are polled, and when none is woken, time passes. It
//! must not know what the future waits for.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

use super::{Prospect, Turn, World};

/// A future waits for something that can never happen: no run continues by itself, however much time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stuck;

impl World {
    /// Polls a future, and the world while it waits. Time passes only when nothing else happens, and not while an
    /// activity waits for something real.
    ///
    /// Several futures may drive one world: each lets the others have a turn before time passes.
    pub(crate) async fn drive<F: Future>(&self, future: F) -> Result<F::Output, Stuck> {
        self.drive_unless(future, || false).await
    }

    /// As [`World::drive`], but gives up before time passes if there is a problem that time does not solve.
    pub(crate) async fn drive_unless<F: Future>(
        &self,
        future: F,
        is_hopeless: impl Fn() -> bool,
    ) -> Result<F::Output, Stuck> {
        // The task budget of the surrounding runtime is not for this world.
        let mut future = pin!(tokio::task::unconstrained(future));
        let driver = Arc::new(Driver::default());
        let waker = Waker::from(Arc::clone(&driver));
        let mut had_turn = false;
        let result = poll_fn(|outer| {
            loop {
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Poll::Ready(Ok(output));
                }
                // Poll it again even if only the world was polled: it may look at what the world has done.
                if self.settle() | driver.is_woken() {
                    had_turn = false;
                    continue;
                }
                match self.prospect() {
                    Prospect::Outside => {
                        had_turn = false;
                        if self.is_quiet(&driver, outer.waker()) {
                            return Poll::Pending;
                        }
                    }
                    Prospect::Time(_) | Prospect::Nothing if !had_turn => {
                        had_turn = true;
                        driver.outer.register(outer.waker());
                        outer.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    prospect @ (Prospect::Time(_) | Prospect::Nothing) => {
                        had_turn = false;
                        match (self.turn(), prospect) {
                            (Turn::Continues, _) => {}
                            (Turn::TimePasses, Prospect::Time(next)) if !is_hopeless() => {
                                self.advance_to(next);
                            }
                            (Turn::TimePasses | Turn::Ends, _) => return Poll::Ready(Err(Stuck)),
                        }
                    }
                }
            }
        });
        let result = result.await;
        // What is due at this moment happens before the caller continues.
        self.settle();
        result
    }

    /// Polls a future that waits for something real, and the world meanwhile. No time passes.
    pub(crate) async fn serve<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let driver = Arc::new(Driver::default());
        let waker = Waker::from(Arc::clone(&driver));
        poll_fn(|outer| {
            loop {
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Poll::Ready(output);
                }
                if !(self.settle() | driver.is_woken()) && self.is_quiet(&driver, outer.waker()) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Has `outer` woken when something happens. Whether nothing has happened until then.
    fn is_quiet(&self, driver: &Driver, outer: &Waker) -> bool {
        driver.outer.register(outer);
        let has_task = self.time.wake_outside(outer);
        !(has_task | driver.is_woken())
    }
}

/// Notes that the future was woken, and wakes the task that polls it.
#[derive(Debug, Default)]
struct Driver {
    woken: AtomicBool,
    outer: AtomicWaker,
}

impl Driver {
    fn is_woken(&self) -> bool {
        self.woken.swap(false, Ordering::Acquire)
    }
}

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.outer.wake();
    }
}
