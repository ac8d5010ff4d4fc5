//! Virtual time, and what tasks wait on: a wheel of timers and the list of woken tasks. It polls nothing itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;

use super::dice::Dice;
use super::trace::Trace;

/// Whose task it is: one life of a worker, or the world's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner(pub(crate) u32);

impl Owner {
    /// Clients and checkers: they never crash.
    pub(crate) const WORLD: Self = Self(0);
}

/// What all parts of a simulation share. There is one thread; the lock is for the compiler.
#[derive(Debug)]
pub(crate) struct Time(Mutex<Inner>);

pub(crate) struct Inner {
    pub(crate) now: Duration,
    /// How far the store's clock has leapt ahead.
    leapt: Duration,
    pub(crate) trace: Trace,
    pub(crate) dice: Dice,
    /// Whose task is being polled.
    pub(crate) current: Owner,
    timers: BTreeMap<(Duration, u64), Waker>,
    timers_made: u64,
    pub(crate) woken: Vec<u64>,
    pub(crate) spawned: Vec<(Owner, BoxFuture<'static, ()>)>,
}

impl Time {
    pub(crate) fn new(dice: Dice, in_words: bool) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            now: Duration::ZERO,
            leapt: Duration::ZERO,
            trace: Trace::new(in_words),
            dice,
            current: Owner::WORLD,
            timers: BTreeMap::new(),
            timers_made: 0,
            woken: Vec::new(),
            spawned: Vec::new(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Duration {
        self.lock().now
    }

    /// The time by the store's clock, since the beginning of the world.
    pub(crate) fn store_now(&self) -> Duration {
        let inner = self.lock();
        inner.now + inner.leapt
    }

    /// Has the store's clock leap ahead.
    pub(crate) fn leap(&self, by: Duration) {
        self.lock().leapt += by;
    }

    /// Adds to the trace that something happened, now.
    pub(crate) fn trace(&self, tag: &'static str, number: u64, words: impl FnOnce() -> String) {
        let mut inner = self.lock();
        let now = inner.now;
        inner.trace.add(now, tag, number, words);
    }

    /// Waits for a time.
    pub(crate) fn sleep(self: &Arc<Self>, time: Duration) -> Sleep {
        Sleep { time: Arc::clone(self), until: self.now().saturating_add(time), place: None }
    }

    /// When the next timer rings.
    pub(crate) fn next_timer(&self) -> Option<Duration> {
        self.lock().timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves time on, never back, and rings what is due.
    pub(crate) fn advance_to(&self, time: Duration) {
        let due = {
            let mut inner = self.lock();
            inner.now = inner.now.max(time);
            let after = inner.now + Duration::from_nanos(1);
            let later = inner.timers.split_off(&(after, 0));
            std::mem::replace(&mut inner.timers, later)
        };
        due.into_values().for_each(Waker::wake);
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("now", &self.now).finish_non_exhaustive()
    }
}

/// A wait for a virtual time.
#[derive(Debug)]
pub(crate) struct Sleep {
    time: Arc<Time>,
    until: Duration,
    place: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let time = Arc::clone(&self.time);
        let mut inner = time.lock();
        if inner.now >= self.until {
            return Poll::Ready(());
        }
        let place = match self.place {
            Some(place) => place,
            None => {
                inner.timers_made += 1;
                (self.until, inner.timers_made)
            }
        };
        inner.timers.insert(place, task.waker().clone());
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let waker = self.time.lock().timers.remove(&place);
            drop(waker);
        }
    }
}

/// Puts a task on the list of woken ones, once.
#[derive(Debug)]
pub(crate) struct TaskWaker {
    pub(crate) task: u64,
    pub(crate) time: Arc<Time>,
    pub(crate) is_woken: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::Relaxed) {
            self.time.lock().woken.push(self.task);
        }
    }
}
