//! The macros of PgWorkflows, which the crate `pgworkflows` re-exports. They write what a user could write by hand, with the
//! same public items. They must not know how a run is executed.

mod failure;
mod message;
mod stored_name;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Implements `TypedFailure` for an enum: the failures of an activity or a workflow, under stored names that you fix.
///
/// Each variant has an attribute `#[failure("stored-name", "message")]`. The message may contain the variant's fields as in
/// `format!`, such as `{0}` or `{why:?}`; without one, it is the stored name. After a failure that is marked `fatal`, no other
/// attempt is made. The stored name has 1 to 255 bytes and no control characters, and open runs refer to it, so never change
/// it. Variants and the enum itself may be renamed.
///
/// The derive implements `Display`, `TypedFailure`, and `From` into `ActivityError`, `WorkflowError` and `CallError`, so that
/// `?` works in activities and workflows. The enum must not implement [`std::error::Error`], which has a conversion of its own:
/// it would lose the stored name.
///
/// ```
/// use pgworkflows::error::TypedFailure;
/// use pgworkflows::prelude::*;
///
/// #[derive(Debug, PartialEq, Failure)]
/// enum ChargeError {
///     #[failure("card-declined", fatal, "declined: {0}")]
///     Declined(String),
///     #[failure("over-limit", "{cents} cents are over the limit")]
///     OverLimit { cents: u64, limit: Option<u64> },
///     #[failure("busy")]
///     Busy,
/// }
///
/// fn charge(cents: u64) -> ActivityResult<()> {
///     if cents > 100 {
///         Err(ChargeError::OverLimit { cents, limit: Some(100) })?;
///     }
///     Ok(())
/// }
///
/// let failure = charge(500).unwrap_err().into_failure();
/// assert_eq!(failure.to_string(), "500 cents are over the limit (over-limit)");
/// assert_eq!(failure.typed(), Some(ChargeError::OverLimit { cents: 500, limit: Some(100) }));
/// assert_eq!(ChargeError::Busy.to_string(), "busy");
/// ```
///
/// # How it is stored
///
/// The fields are the failure's details: named fields as a map, and others as an array. Missing ones are read as null, so an
/// `Option` may be added: as a named field, or at the end of the others. Attributes of serde, such as `#[serde(default)]`,
/// work on named fields. Each field must implement serde's `Serialize` and `Deserialize`.
///
/// A recorded failure whose name the enum does not have, or whose details cannot be read, is a `CallError::Other`.
#[proc_macro_derive(Failure, attributes(failure, serde))]
pub fn derive_failure(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::Item);
    failure::expand(&item).unwrap_or_else(syn::Error::into_compile_error).into()
}
