//! User code whose panics are caught: a failed assertion is a finding, which is reported with its circumstances. It
//! must not know the purpose of the code.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt;

/// Runs code. The error is the message of its panic.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(words)
}

/// Awaits user code. The error is the message of its panic.
pub(crate) async fn caught_in<T>(what: &str, code: impl Future<Output = T>) -> Result<T, String> {
    let outcome = AssertUnwindSafe(code).catch_unwind().await;
    outcome.map_err(|panic| format!("{what} panicked: {}", words(panic)))
}

/// The message of a panic.
fn words(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let words = text.unwrap_or("a panic").to_owned();
    // The payload is the user's, and its drop may panic as well; the payload of that second panic is leaked.
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(next);
    }
    words
}
