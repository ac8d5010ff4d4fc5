//! The macros of PgWorkflows, which the crate `pgworkflows` re-exports. They write what a user could write by hand,
//! with the same public items. They must not know how a run is executed.

mod activities;
mod arguments;
mod failure;
mod message;
mod returned;
mod stored_name;
mod workflow;

use proc_macro::TokenStream;
use syn::{ItemFn, ItemImpl, parse_macro_input};

/// Implements `TypedFailure` for an enum: the failures of an activity or a workflow, under stored names that you fix.
///
/// Each variant has an attribute `#[failure("stored-name", "message")]`. The message may contain the variant's fields
/// as in `format!`, such as `{0}` or `{why:?}`; without one, it is the stored name. After a failure that is marked
/// `fatal`, no other attempt is made. The stored name has 1 to 255 bytes and no control characters, and open runs refer
/// to it, so never change it. Variants and the enum itself may be renamed.
///
/// The derive implements `Display`, `TypedFailure`, and `From` into `ActivityError`, `WorkflowError` and `CallError`,
/// so that `?` works in activities and workflows. The enum must not implement [`std::error::Error`], which has a
/// conversion of its own: it would lose the stored name.
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
/// The fields are the failure's details: named fields as a map, and others, at most eight, as an array. Missing ones are
/// read as null, so an `Option` may be added: as a named field, or at the end of the others. Attributes of serde, such as
/// `#[serde(default)]`, work on named fields. Each field must implement serde's `Serialize` and `Deserialize`.
///
/// A recorded failure whose name the enum does not have, or whose details cannot be read, is a `CallError::Other`.
#[proc_macro_derive(Failure, attributes(failure, serde))]
pub fn derive_failure(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::Item);
    failure::expand(&item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes methods activities: those of this `impl` block that have `#[activity]`.
///
/// For each of them it defines a constant with the method's name in capitals, an `ActivityDef`, by which workflows call
/// the activity and tests mock it. The type implements `Activities`, so that a worker registers all of them with one
/// value.
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows::{MemoryStore, Worker};
///
/// struct Billing {
///     currency: String,
/// }
///
/// #[derive(Debug, Failure)]
/// enum ChargeError {
///     #[failure("card-declined", fatal, "declined: {0}")]
///     Declined(String),
/// }
///
/// #[activities]
/// impl Billing {
///     /// Charges a card.
///     #[activity(
///         name = "billing.charge",
///         retry = RetryPolicy::exponential().max_attempts(8),
///         start_to_close = Duration::from_secs(20)
///     )]
///     async fn charge(&self, ctx: &ActivityContext, payment: String, cents: u64) -> Result<String, ChargeError> {
///         if cents > 100 {
///             return Err(ChargeError::Declined("no money".to_owned()));
///         }
///         Ok(format!("{payment}: {cents} {}, key {}", self.currency, ctx.idempotency_key()))
///     }
///
///     #[activity(name = "billing.refund", at_most_once)]
///     async fn refund(&self, payment: String) -> ActivityResult<()> {
///         println!("refunded {payment}");
///         Ok(())
///     }
/// }
///
/// #[workflow(name = "order")]
/// async fn order(ctx: Context, cents: u64) -> WorkflowResult<String> {
///     let payment = ctx.uuid().to_string();
///     ctx.compensate_with(Billing::REFUND, payment.clone());
///     match ctx.call(Billing::CHARGE, (payment, cents)).await {
///         Err(CallError::Failed(ChargeError::Declined(why))) => Ok(format!("declined: {why}")),
///         receipt => Ok(receipt?),
///     }
/// }
///
/// let billing = Billing { currency: "EUR".to_owned() };
/// let worker = Worker::builder(MemoryStore::new()).workflow::<order>().activities(billing).build()?;
/// # Ok::<(), pgworkflows::Error>(())
/// ```
///
/// # The methods
///
/// * `name = "…"` is the stored name: 1 to 255 bytes without control characters. Open runs refer to it, so never change
///   it; the method can be renamed.
/// * Options of calls that set none: `retry`, `start_to_close`, `schedule_to_close`, `queue`, and `at_most_once`
///   without a value. Each is the method of that name of `ActivityOptions`, and its value is any expression. It is
///   evaluated when a call is made.
/// * A method is an `async fn` that takes `&self`, then `&ActivityContext` if it needs one, then at most eight owned
///   arguments.
/// * It returns `ActivityResult<T>`, or `Result<T, E>` with an `E` that derives `Failure`.
/// * It may be executed again if its process dies before the outcome is recorded: see `Activity::execute`.
///
/// The arguments are stored as one array. Elements that are missing at its end are read as null, so an `Option` may be
/// added as the last argument while calls are scheduled.
///
/// # Limits
///
/// A type has one such block. A generic block is an error: use `Arc<dyn Trait>`, since all types would share the stored
/// names. A crate that re-exports this library gives its path: `#[activities(crate = path)]`. An activity that writes
/// to the database in the transaction of its outcome implements `TransactionalActivity` instead.
#[proc_macro_attribute]
pub fn activities(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as ItemImpl);
    activities::expand(arguments.into(), block).into()
}

/// Marks a method of an `impl` block with [`macro@activities`] as an activity: see there.
#[proc_macro_attribute]
pub fn activity(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    let problem = "`#[activity]` works in a block with `#[activities]`: write that above the `impl`";
    let error = syn::Error::new(proc_macro2::Span::call_site(), problem).into_compile_error();
    let mut expanded = TokenStream::from(error);
    expanded.extend(item);
    expanded
}

/// Makes a function a workflow: a type with its name implements `Workflow`, by which it is registered and started.
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows::{MemoryStore, Worker};
///
/// #[workflow(name = "reminder")]
/// async fn reminder(ctx: Context, name: String) -> WorkflowResult<String> {
///     ctx.sleep(Duration::from_secs(11 * 24 * 3600)).await?;
///     Ok(format!("It is time, {name}."))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let store = MemoryStore::new();
/// let worker = Worker::builder(store.clone()).workflow::<reminder>().build()?;
/// Client::new(store).start::<reminder>("Ada".to_owned()).key("reminder:ada").await?;
/// # Ok(())
/// # }
/// ```
///
/// * `name = "…"` is the stored name: 1 to 255 bytes without control characters. Open runs refer to it, so never change
///   it; the function can be renamed.
/// * The function is an `async fn` that takes its `Context` and at most one owned input. Its future need not be `Send`.
/// * It returns `WorkflowResult<T>`, or `Result<T, E>` with an `E` that converts into a `WorkflowError`. With a
///   `CallError<E>` of an `E` that derives `Failure`, `?` takes that `E` and every `WorkflowError`; a client gets the
///   `E` back by `Error::typed`.
///
/// A crate that re-exports this library gives its path: `#[workflow(name = "…", crate = path)]`.
#[proc_macro_attribute]
pub fn workflow(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    workflow::expand(arguments.into(), &function).into()
}
