//! The boundary to user code: panics are caught here and become data, so that user code cannot break the engine. It must
//! not know what the code is for.
//!
//! One thing cannot be caught: a panic in a destructor while another panic unwinds. Rust aborts the process.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Once;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panic {
    /// The panic's message.
    pub(crate) message: String,
    /// The source line where it began, if that is known.
    pub(crate) line: Option<String>,
}

thread_local! {
    /// The source line where the last panic of this thread began.
    static LAST_LINE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs user code and catches its panic.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, Panic> {
    note_lines();
    // A panic that skips the hook, by `resume_unwind`, must not get the line of an earlier panic.
    last_line();
    catch_unwind(AssertUnwindSafe(code)).map_err(Panic::new)
}

/// Awaits a future of the user or the engine and catches its panic. A future that panicked is not polled again.
pub(crate) async fn caught_in<T>(work: impl Future<Output = T>) -> Result<T, Panic> {
    let mut work = pin!(work);
    poll_fn(|task| match caught(|| work.as_mut().poll(task)) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Runs user code that returns nothing, and logs its panic.
pub(crate) fn shielded(what: impl fmt::Display, code: impl FnOnce()) {
    if let Err(panic) = caught(code) {
        tracing::warn!("{what} panicked: {panic}");
    }
}

impl Panic {
    fn new(payload: Box<dyn Any + Send>) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("without a message").to_owned();
        let panic = Self { message, line: last_line() };
        // The payload is a value of the user, whose drop may panic as well. The payload of that panic is leaked, because
        // its drop could panic in turn, and so on forever.
        if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(next);
        }
        panic
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.line.iter().try_for_each(|line| write!(f, " (at {line})"))
    }
}

fn last_line() -> Option<String> {
    // A thread that ends has dropped its thread-locals.
    LAST_LINE.try_with(Cell::take).ok().flatten()
}

/// Installs a panic hook that notes the line and calls the previous hook, because only a hook learns where a panic
/// began. If the program installs its own hook later, only the lines are lost.
fn note_lines() {
    static HOOK: Once = Once::new();
    if HOOK.is_completed() || std::thread::panicking() {
        // The standard library forbids a panicking thread to change the hook.
        return;
    }
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let line = panic.location().map(ToString::to_string);
            // As in `last_line`.
            LAST_LINE.try_with(|last| last.set(line)).ok();
            before(panic);
        }));
    });
}

/// A value of the user, whose drop may panic: the panic is caught and logged.
pub(crate) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("only `drop` takes the value")
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("only `drop` takes the value")
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        shielded(format_args!("the drop of a {}", std::any::type_name::<T>()), || drop(value));
    }
}

/// A future of the user: its panic becomes its output, and dropping it does not panic.
pub(crate) struct Work<'a, T>(Option<Guarded<BoxFuture<'a, T>>>);

impl<'a, T> Work<'a, T> {
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'a) -> Self {
        Self(Some(Guarded::new(Box::pin(work))))
    }
}

impl<T> Future for Work<'_, T> {
    type Output = Result<T, Panic>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let output = match caught(|| work.as_mut().poll(task)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        self.0 = None;
        Poll::Ready(output)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// Panics when it is dropped, with a smaller bomb as the payload, this many times.
    struct Bomb(u8);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if let Some(rest) = self.0.checked_sub(1) {
                panic_any(Self(rest));
            }
        }
    }

    #[test]
    fn panic_is_caught_with_its_message_and_its_line() {
        let panic = caught(|| panic!("{} eggs", 2)).unwrap_err();
        assert_eq!(panic.message, "2 eggs");
        let line = panic.line.clone().expect("a line");
        assert!(line.contains("guard.rs:"), "{line}");
        assert_eq!(panic.to_string(), format!("2 eggs (at {line})"));
    }

    #[test]
    fn panic_that_skips_the_hook_does_not_get_the_line_of_an_earlier_one() {
        assert!(catch_unwind(|| { panic!("somebody else's") }).is_err());
        let panic = caught(|| std::panic::resume_unwind(Box::new("again"))).unwrap_err();
        assert_eq!(panic, Panic { message: "again".to_owned(), line: None });
    }

    #[test]
    fn payload_that_panics_in_its_drop_is_caught_as_well() {
        // The payload of the second panics again with a payload that panics.
        for times in [1, 2] {
            let panic = caught(|| panic_any(Bomb(times))).unwrap_err();
            assert_eq!(panic.message, "without a message");
        }
    }

    #[test]
    fn panic_in_the_drop_of_a_guarded_value_is_caught() {
        drop(Guarded::new(Bomb(1)));
    }

    #[test]
    fn work_that_panics_when_it_is_dropped_returns_its_output_first() {
        let bomb = Bomb(1);
        let work = Work::new(std::future::poll_fn(move |_| {
            let _held = &bomb;
            Poll::Ready(7)
        }));
        let mut work = std::pin::pin!(work);
        let polled = work.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()));
        assert_eq!(polled, Poll::Ready(Ok(7)));
    }
}
