//! The host of a world's workers and clients: exact virtual time, seeded numbers, tasks of the scheduler. It sees every
//! attempt begin and end, and must not touch a real clock.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use pgworkflows_core::activity::Cancellation;
use pgworkflows_core::error::Failure;
use pgworkflows_core::host::{AttemptFuture, AttemptOf, Host};
use pgworkflows_core::payload::Payload;

use super::calls::{Call, Calls, Outside};
use crate::runtime::dice::Dice;
use crate::runtime::time::{Owner, Time};

/// A sleep of this length never ends.
pub(super) const NEVER: Duration = Duration::MAX;

/// Decides when the outcome of an attempt reaches its worker.
pub(crate) trait Gate: fmt::Debug + Send + Sync {
    /// Ready when the outcome may reach the worker. The attempt has been executed.
    fn pass(&self, call: &Call, cancellation: &Cancellation) -> BoxFuture<'static, ()>;
}

/// A machine of the world.
#[derive(Debug)]
pub(crate) struct WorldHost {
    time: Arc<Time>,
    tasks: Owner,
    dice: Mutex<Dice>,
    calls: Arc<Calls>,
    gate: Option<Arc<dyn Gate>>,
}

impl WorldHost {
    /// A machine whose spawned tasks are `tasks`.
    pub(super) fn new(
        time: &Arc<Time>,
        tasks: Owner,
        dice: Dice,
        calls: &Arc<Calls>,
        gate: Option<Arc<dyn Gate>>,
    ) -> Arc<Self> {
        let (time, calls) = (Arc::clone(time), Arc::clone(calls));
        Arc::new(Self { time, tasks, dice: Mutex::new(dice), calls, gate })
    }
}

impl Host for WorldHost {
    fn monotonic(&self) -> Duration {
        self.time.now()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        if time == NEVER {
            return Box::pin(std::future::pending());
        }
        // At least a microsecond, so that a loop of sleeps lets other tasks continue.
        Box::pin(self.time.sleep(time.max(Duration::from_micros(1))))
    }

    fn random(&self) -> u64 {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).number()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.time.spawn(self.tasks, task);
    }

    fn asking(&self, waker: &Waker) -> Waker {
        match &self.time.lock().attempt {
            Some(of_world) => Waker::from(Arc::new(AskingWaker::new(waker.clone(), Arc::clone(of_world)))),
            None => waker.clone(),
        }
    }

    /// The worker would continue, but here a panic is a finding.
    fn panicked(&self, what: &str) {
        panic!("{what}")
    }

    fn attempt<'a>(&self, of: AttemptOf<'_>, work: AttemptFuture<'a>) -> AttemptFuture<'a> {
        let call = self.calls.begin(of, self.time.now());
        let watched = WatchedAttempt {
            work,
            waker: Arc::default(),
            timers: Arc::default(),
            cancellation: of.cancellation.clone(),
            time: Arc::clone(&self.time),
            outside: Outside::new(Arc::clone(&self.calls)),
        };
        let (gate, cancellation) = (self.gate.clone(), of.cancellation.clone());
        Box::pin(async move {
            let result = watched.await;
            if let Some(gate) = gate {
                gate.pass(&call, &cancellation).await;
            }
            result
        })
    }
}

/// An attempt in flight, watched for what it waits for. What is going to wake it holds its waker. The world holds one
/// per virtual timer, one per wait for its own client, and one per wait for a cancellation; if there are more, something
/// outside of the world holds one, and time must not be skipped meanwhile.
struct WatchedAttempt<'a> {
    work: AttemptFuture<'a>,
    waker: Arc<AttemptWaker>,
    /// How many virtual timers it has, and waits for its own client.
    timers: Arc<AtomicUsize>,
    cancellation: Cancellation,
    time: Arc<Time>,
    outside: Outside,
}

/// A waker of one attempt, so that its clones can be counted.
#[derive(Default)]
struct AttemptWaker(AtomicWaker);

impl Wake for AttemptWaker {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

/// The waker of an attempt that waits for what it has asked its own client. What is going to answer is in the world, so it counts
/// as a virtual timer does.
struct AskingWaker {
    waker: Waker,
    of_world: Arc<AtomicUsize>,
}

impl AskingWaker {
    fn new(waker: Waker, of_world: Arc<AtomicUsize>) -> Self {
        of_world.fetch_add(1, Ordering::Relaxed);
        Self { waker, of_world }
    }
}

impl Wake for AskingWaker {
    fn wake(self: Arc<Self>) {
        self.waker.wake_by_ref();
    }
}

impl Drop for AskingWaker {
    fn drop(&mut self) {
        self.of_world.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Future for WatchedAttempt<'_> {
    type Output = Result<Payload, Failure>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.waker.0.register(task.waker());
        let waker = Waker::from(Arc::clone(&this.waker));
        this.time.lock().attempt = Some(Arc::clone(&this.timers));
        let polled = this.work.as_mut().poll(&mut Context::from_waker(&waker));
        this.time.lock().attempt = None;
        // Without the two that this future holds itself.
        let held = Arc::strong_count(&this.waker) - 2;
        let of_world = this.timers.load(Ordering::Relaxed) + this.cancellation.waiters();
        this.outside.set(polled.is_pending() && held > of_world);
        polled
    }
}

#[cfg(test)]
mod tests {
    use pgworkflows_memory::{Call, Fault, FaultPoint, Faults};

    use super::*;
    use crate::world::{Definitions, Settings, World};

    /// A store that panics when it is asked for a lease.
    #[derive(Debug)]
    struct Broken;

    impl Faults for Broken {
        fn at(&self, point: &FaultPoint<'_>) -> Fault {
            assert!(!matches!(point.call, Call::Claim(_)), "no lease for you");
            Fault::Proceed
        }
    }

    #[test]
    #[should_panic = "no lease for you"]
    fn panic_that_a_worker_survives_is_a_finding() {
        let settings = Settings { faults: Some(Arc::new(Broken)), ..Settings::default() };
        let world = World::new(Definitions::default(), settings).unwrap();
        world.start_worker().unwrap();
        world.settle();
    }
}
