//! Virtual time, and what tasks wait for: the timers and the list of woken tasks. It must not poll a task.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};

use super::dice::Dice;
use super::trace::Trace;

/// The owner of a task: one life of a worker, or the world itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(pub u32);

impl Owner {
    /// Clients and checks, which never crash.
    pub const WORLD: Self = Self(0);
}

/// The order in which woken tasks are polled.
#[derive(Debug)]
pub enum Order {
    /// In the order of waking. A poll takes no time.
    AsWoken,
    /// In a random order. A poll takes some microseconds.
    Drawn(Dice),
}

/// The time that all parts of a world share. One thread polls tasks; others may wake them.
#[derive(Debug)]
pub struct Time(Mutex<Inner>);

/// The state of a world's time.
pub struct Inner {
    pub(crate) now: Duration,
    /// The thread that is being polled, if one is.
    turn: Option<Turn>,
    /// The most work that a thread did in one poll.
    longest_turn: Duration,
    /// The latest time that a thread's clock showed.
    furthest: Duration,
    /// How far the store's clock has leapt ahead.
    leapt: Duration,
    /// What has happened.
    pub trace: Trace,
    pub(crate) order: Order,
    /// The owner of the task that is being polled.
    pub current: Owner,
    /// Counts the timers of the attempt that is being polled, if one is.
    pub(crate) attempt: Option<Arc<AtomicUsize>>,
    timers: BTreeMap<(Duration, u64), Timer>,
    timers_made: u64,
    pub(crate) woken: VecDeque<u64>,
    pub(crate) spawned: Vec<(Owner, BoxFuture<'static, ()>)>,
    /// Woken when a task is woken or spawned: the callers that poll this world wait for something outside of it.
    outside: Vec<Waker>,
}

/// One poll of a thread.
struct Turn {
    /// How far the thread's clock is ahead of the world's: the work that it did in this poll.
    ahead: Duration,
    /// How many microseconds the thread has worked in all of its polls.
    used: Arc<AtomicU64>,
    /// How often it read the clock.
    looks: u32,
}

/// How often a thread may read the clock in one poll. One that reads it more often waits for time that does not pass.
const LOOKS_MAX: u32 = 100_000;

struct Timer {
    waker: Waker,
    owner: Owner,
    /// How long it was set for.
    length: Duration,
    attempt: Option<Arc<AtomicUsize>>,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.attempt.as_ref().inspect(|timers| _ = timers.fetch_sub(1, Ordering::Relaxed));
    }
}

impl Time {
    /// The time of a new world; with `in_words`, its trace is also kept in words.
    pub fn new(order: Order, in_words: bool) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            now: Duration::ZERO,
            turn: None,
            longest_turn: Duration::ZERO,
            furthest: Duration::ZERO,
            leapt: Duration::ZERO,
            trace: Trace::new(in_words),
            order,
            current: Owner::WORLD,
            attempt: None,
            timers: BTreeMap::new(),
            timers_made: 0,
            woken: VecDeque::new(),
            spawned: Vec::new(),
            outside: Vec::new(),
        })))
    }

    /// The shared state. It must not be locked while something reads the time.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The time according to the clock of the caller.
    pub fn now(&self) -> Duration {
        self.lock().here()
    }

    /// The time according to the clock of a thread that may be waiting for time to pass.
    ///
    /// # Panics
    /// Panics if the thread reads it too often in one poll: where work takes no time, no time passes within a poll.
    pub fn look(&self) -> Duration {
        let mut inner = self.lock();
        let looks = inner.turn.as_mut().map_or(0, |turn| {
            turn.looks += 1;
            turn.looks
        });
        let here = inner.here();
        drop(inner);
        assert!(looks < LOOKS_MAX, "a thread loops: it read the clock {looks} times in one poll");
        here
    }

    /// Begins a poll of a thread.
    pub fn begin_turn(&self, used: &Arc<AtomicU64>) {
        self.lock().turn = Some(Turn { ahead: Duration::ZERO, used: Arc::clone(used), looks: 0 });
    }

    /// The thread that is being polled works for this long. Outside of threads, work takes no time.
    pub fn work(&self, cost: Duration) {
        if let Some(turn) = &mut self.lock().turn {
            turn.ahead += cost;
            turn.used.fetch_add(cost.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// Ends the poll of a thread. How far the thread is ahead of the world, which has to catch up.
    pub fn end_turn(&self) -> Duration {
        let mut inner = self.lock();
        inner.furthest = inner.furthest.max(inner.here());
        let worked = inner.turn.take().map(|turn| turn.ahead).unwrap_or_default();
        inner.longest_turn = inner.longest_turn.max(worked);
        worked
    }

    /// The counter of the microseconds that the polled thread has worked, if a thread is being polled.
    pub fn used_here(&self) -> Option<Arc<AtomicU64>> {
        self.lock().turn.as_ref().map(|turn| Arc::clone(&turn.used))
    }

    /// The most work that a thread did in one poll.
    pub fn longest_turn(&self) -> Duration {
        self.lock().longest_turn
    }

    /// Whether a thread is busy: what it does in this turn happens later.
    pub fn is_computed_in(&self) -> bool {
        let inner = self.lock();
        inner.is_ahead() || inner.now < inner.furthest
    }

    /// Whether the polled thread is ahead of the world. Then `waker` is woken when the world has caught up with it.
    pub fn is_ahead_for(&self, waker: impl FnOnce() -> Waker) -> bool {
        let mut inner = self.lock();
        if !inner.is_ahead() {
            return false;
        }
        inner.timers_made += 1;
        let place = (inner.here(), inner.timers_made);
        let timer = Timer { waker: waker(), owner: inner.current, attempt: None, length: Duration::ZERO };
        inner.timers.insert(place, timer);
        true
    }

    /// The time according to the store's clock, since the world began. Work of threads does not delay it.
    pub fn store_now(&self) -> Duration {
        let inner = self.lock();
        inner.now + inner.leapt
    }

    /// Moves the store's clock ahead.
    pub fn leap(&self, by: Duration) {
        self.lock().leapt += by;
    }

    /// Adds something that happens now to the trace.
    pub fn trace(&self, tag: &'static str, number: u64, words: impl FnOnce() -> String) {
        let mut inner = self.lock();
        let now = inner.here();
        inner.trace.add(now, tag, number, words);
    }

    /// Waits for a time.
    pub fn sleep(self: &Arc<Self>, time: Duration) -> Sleep {
        Sleep { time: Arc::clone(self), until: self.now().saturating_add(time), length: time, place: None }
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Duration> {
        self.lock().timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// When the next of these timers is due, chosen by owner and length.
    pub fn next_timer_of(&self, which: impl Fn(Owner, Duration) -> bool) -> Option<Duration> {
        let inner = self.lock();
        let mut timers = inner.timers.iter();
        timers.find(|(_, timer)| which(timer.owner, timer.length)).map(|((at, _), _)| *at)
    }

    /// Moves time forwards, never backwards, and fires due timers.
    pub fn advance_to(&self, time: Duration) {
        let mut due = Vec::new();
        {
            let inner = &mut *self.lock();
            inner.now = inner.now.max(time);
            while let Some(first) = inner.timers.first_entry()
                && first.key().0 <= inner.now
            {
                due.push(first.remove());
            }
        }
        due.iter().for_each(|timer| timer.waker.wake_by_ref());
    }

    /// Spawns a task, which is polled from the next step on.
    pub fn spawn(self: &Arc<Self>, owner: Owner, task: BoxFuture<'static, ()>) {
        let begin = self.sleep(Duration::ZERO);
        let task = if self.lock().is_ahead() { Box::pin(begin.then(|()| task)) } else { task };
        let outside = {
            let mut inner = self.lock();
            inner.spawned.push((owner, task));
            std::mem::take(&mut inner.outside)
        };
        outside.into_iter().for_each(Waker::wake);
    }

    /// Wakes `waker` once, when a task is woken or spawned from now on. Whether one is already, because another thread
    /// may have woken it at any moment.
    pub fn wake_outside(&self, waker: &Waker) -> bool {
        let mut inner = self.lock();
        if !inner.outside.iter().any(|known| known.will_wake(waker)) {
            inner.outside.push(waker.clone());
        }
        !inner.woken.is_empty() || !inner.spawned.is_empty()
    }
}

impl Inner {
    /// The time according to the clock of what is being polled.
    fn here(&self) -> Duration {
        self.now + self.ahead()
    }

    fn ahead(&self) -> Duration {
        self.turn.as_ref().map_or(Duration::ZERO, |turn| turn.ahead)
    }

    fn is_ahead(&self) -> bool {
        !self.ahead().is_zero()
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("now", &self.now).finish_non_exhaustive()
    }
}

/// A wait for a virtual time.
#[derive(Debug)]
pub struct Sleep {
    time: Arc<Time>,
    until: Duration,
    length: Duration,
    place: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let time = Arc::clone(&self.time);
        let mut inner = time.lock();
        // A busy thread sees no timer fire before its poll has ended.
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
        let attempt = inner.attempt.clone();
        attempt.as_ref().inspect(|timers| _ = timers.fetch_add(1, Ordering::Relaxed));
        let timer = Timer { waker: task.waker().clone(), owner: inner.current, length: self.length, attempt };
        let replaced = inner.timers.insert(place, timer);
        drop(inner);
        drop(replaced);
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let timer = self.time.lock().timers.remove(&place);
            drop(timer);
        }
    }
}

/// Puts a task on the list of woken tasks, once.
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
        if self.time.is_ahead_for(|| Waker::from(Arc::clone(self))) {
            return;
        }
        if !self.is_woken.swap(true, Ordering::Relaxed) {
            let outside = {
                let mut inner = self.time.lock();
                inner.woken.push_back(self.task);
                std::mem::take(&mut inner.outside)
            };
            outside.into_iter().for_each(Waker::wake);
        }
    }
}
