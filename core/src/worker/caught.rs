//! Panics on a worker's own threads, caught and put into words. It must not know whose code panics.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use futures::FutureExt;

use crate::failure::panic_message;

thread_local! {
    /// Where this thread panicked last: only the panic hook is told.
    static LAST_PANIC: Cell<Option<String>> = const { Cell::new(None) };
}

/// A panic, in words.
#[derive(Debug)]
pub(crate) struct Panicked {
    message: String,
    location: Option<String>,
}

/// From now on a panic that is caught knows its source line. The hook that was there is called as before.
pub(super) fn note_locations() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let location = panic.location().map(ToString::to_string);
            // A thread that panics while it ends keeps nothing any more.
            let _ = LAST_PANIC.try_with(|last| last.set(location));
            before(panic);
        }));
    });
}

/// Awaits `work`; the error is what it panicked with. It is not to be polled again.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(Panicked::new)
}

/// Executes `code`; the error is what it panicked with.
pub(super) fn caught_now<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(Panicked::new)
}

impl Panicked {
    fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = panic_message(payload.as_ref()).to_owned();
        let location = LAST_PANIC.take();
        // What is thrown may be anything, and panic as it is dropped; what that throws is never dropped at all.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(again);
        }
        Self { message, location }
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a panic")?;
        if let Some(location) = &self.location {
            write!(f, " at {location}")?;
        }
        write!(f, ": {}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    #[test]
    fn caught_panic_knows_its_message_and_its_line() {
        note_locations();
        let panicked = caught_now(|| panic!("out of {}", "luck")).unwrap_err().to_string();
        assert!(panicked.starts_with("a panic at ") && panicked.ends_with(": out of luck"), "{panicked}");
        assert!(panicked.contains("caught.rs:"), "{panicked}");
    }

    #[tokio::test]
    async fn payload_that_panics_as_it_is_dropped_is_caught_as_well() {
        // Given a payload that throws another of its kind when it is dropped, as often as you like
        struct Hydra;
        impl Drop for Hydra {
            fn drop(&mut self) {
                panic_any(Hydra)
            }
        }
        // When it is caught
        let panicked = caught(async { panic_any(Hydra) }).await;
        // Then that is the end of it
        assert!(panicked.unwrap_err().to_string().ends_with("without a message"));
    }
}
