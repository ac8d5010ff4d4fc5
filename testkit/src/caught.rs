//! The user's code, with its panics caught: an assertion that fails is a finding, to be told with its
//! circumstances. It must not know what the code is for.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt;

/// Runs code; the error is what it panicked with.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(words)
}

/// Awaits the user's code; the error is what it panicked with.
pub(crate) async fn caught_in<T>(what: &str, code: impl Future<Output = T>) -> Result<T, String> {
    let outcome = AssertUnwindSafe(code).catch_unwind().await;
    outcome.map_err(|panic| format!("{what} panicked: {}", words(panic)))
}

/// What a panic said.
fn words(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let words = text.unwrap_or("a panic").to_owned();
    // What was thrown is the user's, and may panic in turn when it is dropped; what that throws is leaked.
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(next);
    }
    words
}
