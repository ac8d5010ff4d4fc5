//! The executor of a process while it has a lease, told to attempts that wait for one. It must not know how a lease is got.
//!
//! A `tokio::sync::watch` wakes those who wait in random order, so that a simulated world would not be the same twice. Here,
//! whoever waits longest is woken first.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::data::id::ExecutorId;

/// Sets the executor. When the last clone is dropped, the worker has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExecutorSetter(Arc<Setter>);

#[derive(Debug, Default)]
struct Setter(CurrentExecutor);

/// The executor as it was set last.
#[derive(Clone, Debug, Default)]
pub(crate) struct CurrentExecutor(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Without,
    With(ExecutorId),
    Ended,
}

impl ExecutorSetter {
    pub(crate) fn set(&self, executor: Option<ExecutorId>) {
        self.0.0.change(executor.map_or(State::Without, State::With));
    }

    /// The executor that this sets.
    pub(crate) fn current(&self) -> CurrentExecutor {
        self.0.0.clone()
    }
}

impl Drop for Setter {
    fn drop(&mut self) {
        self.0.change(State::Ended);
    }
}

impl CurrentExecutor {
    /// The executor, if it has a lease now.
    pub(crate) fn get(&self) -> Option<ExecutorId> {
        match self.state() {
            State::With(executor) => Some(executor),
            State::Without | State::Ended => None,
        }
    }

    /// Waits until the executor has a lease; `None` if the worker has ended.
    pub(crate) async fn wait(&self) -> Option<ExecutorId> {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // From here on, no change is missed.
            changed.as_mut().enable();
            match self.state() {
                State::With(executor) => return Some(executor),
                State::Ended => return None,
                State::Without => changed.await,
            }
        }
    }

    fn change(&self, state: State) {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.0.changed.notify_waiters();
    }

    fn state(&self) -> State {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream::{FuturesUnordered, StreamExt};

    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_told_in_the_order_in_which_they_began_to_wait() {
        // Given many who wait
        let setter = ExecutorSetter::default();
        let wait = |number| {
            let current = setter.current();
            async move { (number, current.wait().await) }
        };
        let mut waiting: FuturesUnordered<_> = (0..100).map(wait).collect();
        assert!(futures::poll!(waiting.next()).is_pending());
        // When the executor has a lease
        setter.set(Some(ExecutorId::new(7)));
        // Then they go on in that order
        let told: Vec<_> = waiting.collect().await;
        assert!(told.iter().enumerate().all(|(place, told)| *told == (place, Some(ExecutorId::new(7)))));
    }

    #[tokio::test]
    async fn end_of_the_worker_is_told() {
        let setter = ExecutorSetter::default();
        let current = setter.current();
        let mut waiting = pin!(current.wait());
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        setter.set(None);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(setter);
        assert_eq!(waiting.await, None);
        assert_eq!(current.get(), None);
    }
}
