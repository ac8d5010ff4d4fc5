//! How an activity hears that its outcome is no longer wanted. It must not know why.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

/// Tells an attempt that its outcome is no longer wanted. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Cancellation {
    token: CancellationToken,
    waiters: Arc<AtomicUsize>,
}

impl Cancellation {
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self { token, waiters: Arc::default() }
    }

    /// Whether it is no longer wanted.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Ready when it is no longer wanted.
    pub async fn cancelled(&self) {
        let _waiter = Waiter::new(&self.waiters);
        self.token.cancelled().await;
    }

    /// The same as a token of `tokio-util`, for code that takes one. A test cannot see who waits for that.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// How many futures of [`Cancellation::cancelled`] are waiting. It is for a test's [`Host`](crate::host::Host), which
    /// has to tell these from futures that wait for the world outside.
    pub fn waiters(&self) -> usize {
        self.waiters.load(Ordering::Relaxed)
    }
}

struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn new(waiters: &'a AtomicUsize) -> Self {
        waiters.fetch_add(1, Ordering::Relaxed);
        Self(waiters)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
