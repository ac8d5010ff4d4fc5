//! How an activity learns that its outcome is no longer wanted. It must not know why.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

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
pub struct Cancellation(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The one whose cancellation is also that of this one.
    parent: Option<Cancellation>,
    /// Made when it is needed, because most attempts end before anybody waits for it.
    token: OnceLock<CancellationToken>,
    waiters: AtomicUsize,
}

impl Cancellation {
    /// Another one, which is cancelled by itself or together with this one.
    pub(crate) fn child(&self) -> Self {
        Self(Arc::new(Shared { parent: Some(self.clone()), ..Shared::default() }))
    }

    pub(crate) fn cancel(&self) {
        self.token().cancel();
    }

    /// Whether the outcome is no longer wanted.
    pub fn is_cancelled(&self) -> bool {
        match self.0.token.get() {
            Some(token) => token.is_cancelled(),
            None => self.0.parent.as_ref().is_some_and(Self::is_cancelled),
        }
    }

    /// Waits until the outcome is no longer wanted; forever if it stays wanted.
    pub async fn cancelled(&self) {
        let _waiter = Waiter::new(&self.0.waiters);
        self.noticed().await;
    }

    /// The same, for the engine, which does not count as one that waits.
    pub(crate) async fn noticed(&self) {
        self.token().cancelled().await;
    }

    /// The same signal as a token of `tokio-util`, for code that takes one. [`Cancellation::waiters`] does not count
    /// futures that wait for the token.
    pub fn token(&self) -> &CancellationToken {
        self.0.token.get_or_init(|| match &self.0.parent {
            Some(parent) => parent.token().child_token(),
            None => CancellationToken::new(),
        })
    }

    /// How many futures of [`Cancellation::cancelled`] are waiting. A test's [`Host`](crate::host::Host) uses it to tell
    /// them from futures that wait for the outside world.
    pub fn waiters(&self) -> usize {
        self.0.waiters.load(Ordering::Relaxed)
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn child_is_cancelled_by_itself_or_with_its_parent_whether_or_not_anybody_waited() {
        let parent = Cancellation::default();
        let [alone, awaited, early] = [parent.child(), parent.child(), parent.child()];
        let mut wait = Box::pin(awaited.cancelled());
        assert!((&mut wait).now_or_never().is_none());
        assert_eq!((awaited.waiters(), early.waiters()), (1, 0));
        alone.cancel();
        assert!(alone.is_cancelled() && !parent.is_cancelled() && !awaited.is_cancelled());
        parent.cancel();
        assert!(wait.now_or_never().is_some());
        assert!(early.is_cancelled() && early.cancelled().now_or_never().is_some());
        assert!(parent.child().is_cancelled() && awaited.waiters() == 0);
    }
}
