//! State that the main line of a workflow and its handlers share. It must not know who uses it.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// State that a workflow shares with its handlers. Clones are handles of one value. It is seen only within
/// [`with`](Self::with), so that no borrow can be held over an `await`.
///
/// ```
/// use pgworkflows::workflow::Shared;
///
/// let seats = Shared::new(vec!["1A"]);
/// let other = seats.clone();
/// other.with(|seats| seats.push("1B"));
/// assert_eq!(seats.with(|seats| seats.len()), 2);
/// ```
pub struct Shared<T>(Rc<RefCell<T>>);

impl<T> Shared<T> {
    /// Shares a value. See the example [above](Shared).
    pub fn new(value: T) -> Self {
        Self(Rc::new(RefCell::new(value)))
    }

    /// Reads or changes the value. See the example [above](Shared).
    ///
    /// # Panics
    /// Panics if it is called within itself, on the same value. In a workflow the run stalls.
    #[track_caller]
    pub fn with<R>(&self, see: impl FnOnce(&mut T) -> R) -> R {
        match self.0.try_borrow_mut() {
            Ok(mut value) => see(&mut value),
            Err(_) => {
                panic!("`Shared::with` was called within `with` of the same value: end the first one before")
            }
        }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
