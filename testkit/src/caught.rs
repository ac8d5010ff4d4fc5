//! The user's code, with its panics caught: an assertion that fails is a finding, to be told with its
//! circumstances. It must not know what the code is for.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use crate::runtime::scheduler::panic_words;

/// Awaits the user's code; the error is what it panicked with.
pub(crate) async fn caught<T>(what: &str, code: impl Future<Output = T>) -> Result<T, String> {
    let caught = AssertUnwindSafe(code).catch_unwind().await;
    caught.map_err(|panic| format!("{what} panicked: {}", panic_words(&*panic)))
}
