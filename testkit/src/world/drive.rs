//! How a future drives its world: while it waits, everything that is woken is polled, and when nothing is, time
//! passes. It must not know what the future waits for.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::{Prospect, Turn, World};

/// A future waits for what can never happen: no run goes on by itself, however much time passes.
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

    /// As [`World::drive`], giving up before time passes if there is a problem that no time will mend.
    pub(crate) async fn drive_unless<F: Future>(
        &self,
        future: F,
        is_hopeless: impl Fn() -> bool,
    ) -> Result<F::Output, Stuck> {
        // The budget of the runtime around is not this world's.
        let mut future = pin!(tokio::task::unconstrained(future));
        let driver = Arc::new(Driver::default());
        let waker = Waker::from(Arc::clone(&driver));
        let mut had_turn = false;
        let result = poll_fn(|outer| {
            loop {
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Poll::Ready(Ok(output));
                }
                // Not only its waker: it may look at what the world has done.
                if self.settle() | driver.is_woken() {
                    had_turn = false;
                    continue;
                }
                match self.prospect() {
                    Prospect::Outside => {
                        had_turn = false;
                        if self.rest(&driver, outer.waker()) {
                            return Poll::Pending;
                        }
                    }
                    Prospect::Time(_) | Prospect::Nothing if !had_turn => {
                        had_turn = true;
                        driver.rest(outer.waker());
                        outer.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    prospect @ (Prospect::Time(_) | Prospect::Nothing) => {
                        had_turn = false;
                        match (self.turn(), prospect) {
                            (Turn::GoesOn, _) => {}
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
        // What is to happen at this very moment has happened when the caller goes on.
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
                if !(self.settle() | driver.is_woken()) && self.rest(&driver, outer.waker()) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Has `outer` woken when anything happens. Whether nothing has, while that was arranged.
    fn rest(&self, driver: &Driver, outer: &Waker) -> bool {
        driver.rest(outer);
        let has_task = self.time.wake_outside(outer);
        !(has_task | driver.is_woken())
    }
}

/// Notes that the future was woken, and wakes whoever polls it if that happens between two polls.
#[derive(Debug, Default)]
struct Driver {
    woken: AtomicBool,
    resting: Mutex<Option<Waker>>,
}

impl Driver {
    fn is_woken(&self) -> bool {
        self.woken.swap(false, Ordering::Acquire)
    }

    /// The future is not polled until this waker is woken.
    fn rest(&self, outer: &Waker) {
        *self.resting.lock().unwrap_or_else(PoisonError::into_inner) = Some(outer.clone());
    }
}

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner).take();
        resting.inspect(Waker::wake_by_ref);
    }
}
