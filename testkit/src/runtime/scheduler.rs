//! The scheduler: polls one woken task after another, on one thread. Killing an owner drops its tasks, as a crash does.
//! It must not know what a task does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::future::LocalBoxFuture;

use super::time::{Order, Owner, TaskWaker, Time};
use crate::caught::caught;

/// Polls the tasks of a world.
pub struct Scheduler {
    time: Arc<Time>,
    tasks: BTreeMap<u64, Task>,
    tasks_made: u64,
    frozen: BTreeSet<Owner>,
    /// Woken tasks of frozen owners.
    held: Vec<u64>,
    /// How often a task was polled.
    pub polls: u64,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("polls", &self.polls).finish_non_exhaustive()
    }
}

struct Task {
    owner: Owner,
    future: LocalBoxFuture<'static, ()>,
    waker: Arc<TaskWaker>,
}

impl Scheduler {
    /// A scheduler without a task.
    pub fn new(time: Arc<Time>) -> Self {
        Self {
            time,
            tasks: BTreeMap::new(),
            tasks_made: 0,
            frozen: BTreeSet::new(),
            held: Vec::new(),
            polls: 0,
        }
    }

    /// Adds a task.
    pub fn spawn(&mut self, owner: Owner, future: LocalBoxFuture<'static, ()>) {
        self.tasks_made += 1;
        let task = self.tasks_made;
        let waker = TaskWaker { task, time: Arc::clone(&self.time), is_woken: AtomicBool::new(false) };
        let waker = Arc::new(waker);
        waker.wake_by_ref();
        // The task budget of a surrounding runtime is not for this world: a task that waits for nothing continues.
        let future = Box::pin(tokio::task::unconstrained(future));
        self.tasks.insert(task, Task { owner, future, waker });
    }

    /// Polls one woken task; `false` if none is woken.
    ///
    /// # Errors
    /// Returns the message of the task's panic.
    pub fn step(&mut self) -> Result<bool, String> {
        self.adopt();
        let Some(id) = self.pick() else { return Ok(false) };
        let Some(mut task) = self.tasks.remove(&id) else { return Ok(true) };
        if self.frozen.contains(&task.owner) {
            self.held.push(id);
            self.tasks.insert(id, task);
            return Ok(true);
        }
        self.polls += 1;
        {
            let mut inner = self.time.lock();
            inner.current = task.owner;
            if let Order::Drawn(dice) = &mut inner.order {
                // Each poll takes a different time.
                let took = dice.below(20);
                inner.now += Duration::from_micros(took);
            }
            let now = inner.now;
            inner.trace.count(now, id);
        }
        task.waker.is_woken.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.waker));
        let future = &mut task.future;
        let done = caught(|| future.as_mut().poll(&mut Context::from_waker(&waker)))?.is_ready();
        if !done {
            self.tasks.insert(id, task);
        }
        self.time.lock().current = Owner::WORLD;
        Ok(true)
    }

    /// Whether an owner has tasks.
    pub fn is_alive(&self, owner: Owner) -> bool {
        self.tasks.values().any(|task| task.owner == owner)
    }

    /// Drops all tasks of an owner.
    pub fn kill(&mut self, owner: Owner) {
        self.adopt();
        let dead: Vec<u64> =
            self.tasks.iter().filter(|(_, task)| task.owner == owner).map(|(id, _)| *id).collect();
        for id in dead {
            self.tasks.remove(&id);
        }
        // Tasks that the dropped tasks spawned die with them. A drop may set timers, so it happens outside of the lock.
        let spawned = std::mem::take(&mut self.time.lock().spawned);
        let survivors = spawned.into_iter().filter(|(spawned_by, _)| *spawned_by != owner);
        let survivors: Vec<_> = survivors.collect();
        self.time.lock().spawned.extend(survivors);
        self.frozen.remove(&owner);
    }

    /// Stops polling the tasks of an owner until it is thawed.
    pub fn freeze(&mut self, owner: Owner) {
        self.frozen.insert(owner);
    }

    /// Polls the tasks of an owner again, including those that were woken meanwhile.
    pub fn thaw(&mut self, owner: Owner) {
        self.frozen.remove(&owner);
        let held = std::mem::take(&mut self.held);
        self.time.lock().woken.extend(held);
    }

    fn adopt(&mut self) {
        let spawned = std::mem::take(&mut self.time.lock().spawned);
        for (owner, future) in spawned {
            self.spawn(owner, future);
        }
    }

    fn pick(&self) -> Option<u64> {
        let inner = &mut *self.time.lock();
        match &mut inner.order {
            Order::AsWoken => inner.woken.pop_front(),
            Order::Drawn(_) if inner.woken.is_empty() => None,
            Order::Drawn(dice) => {
                let index = dice.below(inner.woken.len() as u64);
                inner.woken.swap_remove_back(index as usize)
            }
        }
    }
}
