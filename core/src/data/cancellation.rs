//! How an activity learns that its outcome is no longer wanted. It must not know why.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

/// Tells an attempt of an activity that its outcome is no longer wanted: the attempt timed out, the run gave the
/// activity up, or the worker lost its lease or shuts down. Clones share one state.
///
/// An attempt that does not end within 10 seconds of it is dropped, at an `await`.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// struct Import;
///
/// #[async_trait]
/// impl Activity for Import {
///     const NAME: &'static str = "import";
///     type Input = Vec<String>;
///     type Output = usize;
///
///     async fn execute(&self, ctx: ActivityContext, rows: Vec<String>) -> ActivityResult<usize> {
///         for (done, _row) in rows.iter().enumerate() {
///             if ctx.cancellation().is_cancelled() {
///                 return Ok(done);
///             }
///         }
///         Ok(rows.len())
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancellation {
    token: CancellationToken,
    waiters: Arc<AtomicUsize>,
}

impl Cancellation {
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self { token, waiters: Arc::default() }
    }

    /// Whether the outcome is no longer wanted.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the outcome is no longer wanted; forever if it stays wanted.
    pub async fn cancelled(&self) {
        let _waiter = Waiter::new(&self.waiters);
        self.token.cancelled().await;
    }

    /// The same signal as a token of `tokio-util`, for code that takes one. [`Cancellation::waiters`] does not count
    /// futures that wait for the token.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// How many futures of [`Cancellation::cancelled`] are waiting. A test's [`Host`](crate::host::Host) uses it to tell
    /// them from futures that wait for the outside world.
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
