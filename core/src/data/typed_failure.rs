//! Failures with types of the user's, which are recognised by their stored names. They must not know what failed.

use std::any::type_name;
use std::fmt;

use crate::data::failure::Failure;
use crate::data::payload::PayloadError;

/// A failure with a type of your own. `#[derive(Failure)]` implements it for an enum; each variant has a stored name,
/// which its author fixes, and its fields are the failure's details.
///
/// An activity returns such an error, and [`CallError::of`](crate::workflow::call_error::CallError::of) and
/// [`Failure::typed`] recognise it wherever it arrives: in the workflow, in another workflow, in a client. Renaming the
/// type or a variant changes nothing.
///
/// ```
/// use pgworkflows::error::TypedFailure;
/// use pgworkflows::prelude::*;
///
/// #[derive(Debug, PartialEq, Failure)]
/// enum ChargeError {
///     #[failure("card-declined", fatal, "declined: {0}")]
///     Declined(String),
///     #[failure("busy", "the bank is busy")]
///     Busy,
/// }
///
/// assert_eq!(ChargeError::NAMES, ["card-declined", "busy"]);
/// let failure = ChargeError::Declined("no money".to_owned()).into_failure();
/// assert_eq!(failure.to_string(), "declined: no money (card-declined)");
/// assert!(!failure.retryable); // Because it is `fatal`.
/// assert_eq!(failure.typed(), Some(ChargeError::Declined("no money".to_owned())));
/// ```
///
/// It is no [`std::error::Error`]: `?` converts each of those into a failure that is named by its Rust path, and would
/// lose the stored name.
pub trait TypedFailure: fmt::Display + Sized {
    /// The stored names of all its variants. Open runs refer to them, so never change one.
    const NAMES: &'static [&'static str];

    /// The failure that is recorded.
    fn into_failure(self) -> Failure;

    /// Reads a recorded failure, without its causes. `None` if its name is none of [`NAMES`](Self::NAMES), and an error
    /// if its details are not those of the variant with its name.
    fn from_failure(failure: &Failure) -> Option<Result<Self, PayloadError>>;
}

impl Failure {
    /// This failure as an `E`, or the first of its causes that has one of the names of `E`. `None` if there is none, or
    /// if its details cannot be read. See the example of [`TypedFailure`].
    pub fn typed<E: TypedFailure>(&self) -> Option<E> {
        self.find()?.ok()
    }

    /// The same, with the reason if the details cannot be read.
    pub(crate) fn find<E: TypedFailure>(&self) -> Option<Result<E, Unreadable>> {
        let mut link = Some(self);
        while let Some(failure) = link {
            if let Some(read) = E::from_failure(failure) {
                return Some(read.map_err(|error| Unreadable {
                    name: failure.type_name.clone(),
                    expected: type_name::<E>(),
                    error,
                }));
            }
            link = failure.cause.as_deref();
        }
        None
    }
}

/// The details of a failure are not those that a type has under the failure's name.
#[derive(Debug)]
pub(crate) struct Unreadable {
    name: String,
    expected: &'static str,
    error: PayloadError,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, expected, error } = self;
        write!(f, "the details of `{name}` are not those of {expected}: {error}")
    }
}
