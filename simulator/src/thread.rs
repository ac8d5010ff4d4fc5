//! Threads of a simulated machine. A thread is busy for as long as its work takes, while all others continue: within a
//! poll the thread's clock runs ahead of the world's, its output is sent at its own time, and it is polled again when
//! the world has caught up. It must not know what the work is.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::LocalBoxFuture;
use futures::task::AtomicWaker;
use pgworkflows_testkit::runtime::time::{Sleep, Time};

/// One thread, with all of its work.
pub(crate) struct Thread<T> {
    time: Arc<Time>,
    work: LocalBoxFuture<'static, T>,
    waker: Arc<ThreadWaker>,
    /// Ready when the work of the last poll is done.
    busy: Option<Sleep>,
    /// How many microseconds it has worked.
    used: Arc<AtomicU64>,
    /// The result, while the work of the last poll takes time.
    end: Option<T>,
}

impl<T> Thread<T> {
    pub(crate) fn new(time: &Arc<Time>, work: LocalBoxFuture<'static, T>) -> Self {
        let time = Arc::clone(time);
        let (task, is_woken) = (AtomicWaker::new(), AtomicBool::new(true));
        let waker = Arc::new(ThreadWaker { time: Arc::clone(&time), task, is_woken });
        Self { time, work, waker, busy: None, used: Arc::default(), end: None }
    }

    /// Whether the work of the last poll takes more time; then the task is woken when it is done.
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
        this.waker.task.register(task.waker());
        if this.is_busy(task) {
            return Poll::Pending;
        }
        // Another thread of the same task may have been woken.
        if this.end.is_none() && this.waker.is_woken.swap(false, Ordering::Relaxed) {
            let waker = Waker::from(Arc::clone(&this.waker));
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
struct ThreadWaker {
    time: Arc<Time>,
    task: AtomicWaker,
    is_woken: AtomicBool,
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.time.is_ahead_for(|| Waker::from(Arc::clone(self))) {
            return;
        }
        self.is_woken.store(true, Ordering::Relaxed);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use futures::channel::oneshot;
    use futures::future::join;

    use pgworkflows_testkit::runtime::scheduler::Scheduler;
    use pgworkflows_testkit::runtime::time::{Order, Owner};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Polls all tasks to their ends.
    fn run(scheduler: &mut Scheduler, time: &Time) {
        loop {
            while scheduler.step().expect("nothing panics") {}
            let Some(next) = time.next_timer() else { return };
            time.advance_to(next);
        }
    }

    #[test]
    fn work_delays_its_own_thread_and_no_other() {
        // Given two threads of one task: one computes for five seconds, and the other sleeps for one
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

        // Then the first sleeps after its work, and the other meanwhile
        assert_eq!(*ends.lock().unwrap(), [("idle", SECOND), ("busy", SECOND * 6)]);
        assert_eq!(time.longest_turn(), SECOND * 5);
    }

    #[test]
    fn output_of_a_busy_thread_arrives_at_the_time_of_that_thread() {
        // Given a thread that sends a message in the middle of its work
        let time = Time::new(Order::AsWoken, false);
        let (sender, receiver) = oneshot::channel();
        let at = Arc::clone(&time);
        let busy = Thread::new(
            &time,
            Box::pin(async move {
                at.work(SECOND * 3);
                sender.send(()).expect("the receiver waits");
                at.work(SECOND * 2);
            }),
        );

        // When another task waits for the message
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

        // Then it arrives when that part of the work is done, and the thread ends after all of its work
        assert_eq!(*arrived.lock().unwrap(), Some(SECOND * 3));
        assert_eq!(time.now(), SECOND * 5);
    }
}
