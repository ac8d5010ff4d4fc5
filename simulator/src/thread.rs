//! Threads of a simulated machine. What computes on one is busy for as long as its work takes, while all others go on:
//! within a poll the thread's clock runs ahead of the world's, what it sends is under way from its own time on, and it is
//! polled again when the world has caught up. It must not know what the work is.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::LocalBoxFuture;
use pgworkflows_testkit::runtime::time::{Sleep, Time};

/// What one thread does, from its beginning to its end.
pub(crate) struct Thread<T> {
    time: Arc<Time>,
    work: LocalBoxFuture<'static, T>,
    doorbell: Arc<Doorbell>,
    /// Until the work of the last poll is done.
    busy: Option<Sleep>,
    /// How many microseconds it has worked.
    used: Arc<AtomicU64>,
    /// What it came to, while the last of its work is done.
    end: Option<T>,
}

impl<T> Thread<T> {
    pub(crate) fn new(time: &Arc<Time>, work: LocalBoxFuture<'static, T>) -> Self {
        let doorbell = Doorbell {
            time: Arc::clone(time),
            task: Mutex::new(Waker::noop().clone()),
            is_rung: AtomicBool::new(true),
        };
        let (time, doorbell) = (Arc::clone(time), Arc::new(doorbell));
        Self { time, work, doorbell, busy: None, used: Arc::default(), end: None }
    }

    /// Whether the work of the last poll is not done yet; then the task is woken when it is.
    fn is_busy(&mut self, task: &mut Context<'_>) -> bool {
        let is_done = self.busy.as_mut().is_none_or(|busy| Pin::new(busy).poll(task).is_ready());
        self.busy.take_if(|_| is_done);
        !is_done
    }
}

impl<T: Unpin> Future for Thread<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        this.doorbell.lead_to(task.waker());
        if this.is_busy(task) {
            return Poll::Pending;
        }
        // Others of its task may have been woken: no thread looks up without a reason.
        if this.end.is_none() && this.doorbell.is_rung.swap(false, Ordering::Relaxed) {
            let waker = Waker::from(Arc::clone(&this.doorbell));
            this.time.begin_turn(&this.used);
            if let Poll::Ready(end) = this.work.as_mut().poll(&mut Context::from_waker(&waker)) {
                this.end = Some(end);
            }
            let worked = this.time.end_turn();
            this.busy = (!worked.is_zero()).then(|| this.time.sleep(worked));
        }
        if this.is_busy(task) {
            return Poll::Pending;
        }
        this.end.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Wakes the task for one of its threads.
struct Doorbell {
    time: Arc<Time>,
    task: Mutex<Waker>,
    is_rung: AtomicBool,
}

impl Doorbell {
    fn lead_to(&self, task: &Waker) {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(task);
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.time.is_ahead_for(|| Waker::from(Arc::clone(self))) {
            return;
        }
        self.is_rung.store(true, Ordering::Relaxed);
        self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::channel::oneshot;
    use futures::future::join;

    use pgworkflows_testkit::runtime::scheduler::Scheduler;
    use pgworkflows_testkit::runtime::time::{Order, Owner};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Polls everything to its end.
    fn run(scheduler: &mut Scheduler, time: &Time) {
        loop {
            while scheduler.step().expect("nothing panics") {}
            let Some(next) = time.next_timer() else { return };
            time.advance_to(next);
        }
    }

    #[test]
    fn work_holds_up_its_own_thread_and_no_other() {
        // Given two threads of one task, of which one computes for five seconds and the other sleeps for one
        let time = Time::new(Order::AsWoken, false);
        let ends = Arc::new(Mutex::new(Vec::new()));
        let (at, noted) = (Arc::clone(&time), Arc::clone(&ends));
        let busy = Thread::new(
            &time,
            Box::pin(async move {
                at.work(SECOND * 5);
                at.sleep(SECOND).await;
                noted.lock().unwrap().push(("busy", at.now()));
            }),
        );
        let (at, noted) = (Arc::clone(&time), Arc::clone(&ends));
        let idle = Thread::new(
            &time,
            Box::pin(async move {
                at.sleep(SECOND).await;
                noted.lock().unwrap().push(("idle", at.now()));
            }),
        );

        // When they run
        let mut scheduler = Scheduler::new(Arc::clone(&time));
        scheduler.spawn(Owner::WORLD, Box::pin(async { ((), ()) = join(busy, idle).await }));
        run(&mut scheduler, &time);

        // Then the one slept after its work, and the other meanwhile
        assert_eq!(*ends.lock().unwrap(), [("idle", SECOND), ("busy", SECOND * 6)]);
        assert_eq!(time.longest_turn(), SECOND * 5);
    }

    #[test]
    fn what_a_busy_thread_sends_arrives_at_its_own_time() {
        // Given a thread that sends something in the midst of its work
        let time = Time::new(Order::AsWoken, false);
        let (sender, receiver) = oneshot::channel();
        let at = Arc::clone(&time);
        let busy = Thread::new(
            &time,
            Box::pin(async move {
                at.work(SECOND * 3);
                sender.send(()).expect("somebody waits");
                at.work(SECOND * 2);
            }),
        );

        // When somebody waits for it
        let mut scheduler = Scheduler::new(Arc::clone(&time));
        let (at, arrived) = (Arc::clone(&time), Arc::new(Mutex::new(None)));
        let noted = Arc::clone(&arrived);
        scheduler.spawn(
            Owner::WORLD,
            Box::pin(async move {
                receiver.await.expect("it is sent");
                *noted.lock().unwrap() = Some(at.now());
            }),
        );
        scheduler.spawn(Owner::WORLD, Box::pin(busy));
        run(&mut scheduler, &time);

        // Then it comes when that much of the work is done, and the thread ends after all of it
        assert_eq!(*arrived.lock().unwrap(), Some(SECOND * 3));
        assert_eq!(time.now(), SECOND * 5);
    }
}
