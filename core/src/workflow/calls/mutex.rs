//! `ctx.mutex`: a value that one branch of a run uses at a time, over several awaits. It is a semaphore with one permit, and
//! must not know what the value is.

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use futures::future::FusedFuture;

use super::scoped::Scoped;
use super::select::Arm;
use super::semaphore::{AcquireFuture, Permit, Semaphore};
use super::timeout::Durable;
use crate::workflow::error::WorkflowResult;
use crate::workflow::scope::Scope;

/// A value that one branch of a run uses at a time: see [`Context::mutex`](crate::workflow::context::Context::mutex).
pub struct Mutex<T> {
    lock: Semaphore,
    value: RefCell<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(scope: &Rc<Scope>, name: &'static str, value: T) -> Self {
        Self { lock: Semaphore::new(scope, "mutex", name, 1), value: RefCell::new(value) }
    }

    /// Waits until no other branch has the value. Whoever waits longest gets it next; dropping the guard returns it. See
    /// the example of [`Context::mutex`](crate::workflow::context::Context::mutex).
    ///
    /// # Errors
    /// The future returns an error if the run is cancelled while it waits. The run stalls if nothing but locks and
    /// permits is waited for, because none of them can be returned any more: for example if one branch locks a mutex twice.
    #[track_caller]
    pub fn lock(&self) -> LockFuture<'_, T> {
        LockFuture { mutex: self, permit: self.lock.acquire() }
    }

    /// Returns the value. See the example of [`Context::mutex`](crate::workflow::context::Context::mutex).
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mutex({:?})", self.lock)
    }
}

/// The value of a [`Mutex`], which no other branch has meanwhile. See the example of
/// [`Context::mutex`](crate::workflow::context::Context::mutex).
#[must_use = "the mutex is unlocked when the guard is dropped"]
pub struct MutexGuard<'a, T> {
    // Dropped before the permit.
    value: RefMut<'a, T>,
    _permit: Permit<'a>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// A wait for the value of a mutex: see [`Mutex::lock`].
#[must_use = "a mutex is locked when the future is awaited"]
pub struct LockFuture<'a, T> {
    mutex: &'a Mutex<T>,
    permit: AcquireFuture<'a>,
}

impl<'a, T> Future for LockFuture<'a, T> {
    type Output = WorkflowResult<MutexGuard<'a, T>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let permit = ready!(Pin::new(&mut self.permit).poll(task))?;
        Poll::Ready(Ok(MutexGuard { value: self.mutex.value.borrow_mut(), _permit: permit }))
    }
}

impl<T> FusedFuture for LockFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.permit.is_terminated()
    }
}

impl<T> Scoped for LockFuture<'_, T> {
    fn scope(&self) -> &Rc<Scope> {
        self.permit.scope()
    }

    fn subject(&self) -> String {
        self.permit.subject()
    }
}

impl<'a, T> Durable<MutexGuard<'a, T>> for LockFuture<'a, T> {}
impl<T> Arm for LockFuture<'_, T> {}

impl<T> fmt::Debug for LockFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockFuture({:?})", self.permit)
    }
}
