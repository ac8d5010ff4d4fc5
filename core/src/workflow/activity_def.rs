//! The definition of an activity as a constant: its stored name and its types, which workflows, workers and tests
//! share. It must not know the activity's code.

use std::fmt;
use std::marker::PhantomData;

use crate::data::options::ActivityOptions;
use crate::data::typed_failure::TypedFailure;
use crate::workflow::call_error::CallError;
use crate::workflow::error::{ActivityError, WorkflowError};

/// The stored name of an activity, the types of its arguments, its output and its error, and its options: what a
/// workflow needs to call it. `#[activities]` makes one for each method that is an activity; the method `charge` of
/// `Billing` has the definition `Billing::CHARGE`.
///
/// Workflows [call](crate::workflow::context::Context::call) it, workers execute the method, and tests mock it. A
/// workflow without the activity's code can define the same constant by itself:
///
/// ```
/// use pgworkflows::activity::ActivityDef;
/// use pgworkflows::prelude::*;
///
/// /// Charges a card: the payment and the cents. Another program executes it.
/// const CHARGE: ActivityDef<(String, u64), String> = ActivityDef::new("billing.charge")
///     .options(|| ActivityOptions::default().start_to_close(Duration::from_secs(20)));
///
/// async fn pay(ctx: &Context, payment: String) -> WorkflowResult<String> {
///     ctx.call(CHARGE, (payment, 500)).await
/// }
/// # assert_eq!(CHARGE.name(), "billing.charge");
/// ```
///
/// The arguments are stored as one array, as [`Positional`](crate::data::positional::Positional) says: an `Option` may be
/// added at their end while calls are scheduled.
pub struct ActivityDef<Args, Output, Error = ActivityError> {
    name: &'static str,
    options: fn() -> ActivityOptions,
    types: PhantomData<fn(Args) -> (Output, Error)>,
}

impl<Args, Output, Error: ActivityFailure> ActivityDef<Args, Output, Error> {
    /// Makes the definition of an activity with that stored name: 1 to 255 bytes without control characters, which is
    /// checked when it is registered. Open runs refer to it, so never change it. See the example [above](ActivityDef).
    pub const fn new(name: &'static str) -> Self {
        Self { name, options: ActivityOptions::default, types: PhantomData }
    }
}

impl<Args, Output, Error> ActivityDef<Args, Output, Error> {
    /// Sets the retry policy and the timeouts of a call that sets none. The default is one attempt without a timeout.
    /// They are read when the activity is scheduled. See the example [above](ActivityDef).
    #[must_use]
    pub const fn options(self, options: fn() -> ActivityOptions) -> Self {
        Self { options, ..self }
    }

    /// The stored name: see the example [above](ActivityDef).
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn default_options(&self) -> ActivityOptions {
        (self.options)()
    }
}

impl<Args, Output, Error> Clone for ActivityDef<Args, Output, Error> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Args, Output, Error> Copy for ActivityDef<Args, Output, Error> {}

impl<Args, Output, Error> fmt::Debug for ActivityDef<Args, Output, Error> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActivityDef({:?})", self.name)
    }
}

/// The error of an activity's code: an [`ActivityError`], or a type that derives `Failure`. It is implemented for these.
///
/// Another error is refused by the compiler, because it has no stored name:
///
/// ```compile_fail,E0277
/// use pgworkflows::activity::ActivityDef;
///
/// const READ: ActivityDef<(String,), String, std::io::Error> = ActivityDef::new("read");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of an activity",
    label = "neither `ActivityError` nor a type that derives `Failure`",
    note = "return `ActivityResult<T>`, into whose error `?` converts every `std::error::Error`; or derive `Failure` for an \
            enum, so that the workflow gets its variants"
)]
pub trait ActivityFailure: Into<ActivityError> + 'static {
    /// The error that a workflow gets: a [`WorkflowError`], or a [`CallError`] of the type that derives `Failure`.
    type Called: From<WorkflowError>;

    /// Recognises the error of a failed call.
    fn called(error: WorkflowError) -> Self::Called;
}

impl ActivityFailure for ActivityError {
    type Called = WorkflowError;

    fn called(error: WorkflowError) -> WorkflowError {
        error
    }
}

impl<E: TypedFailure + Into<ActivityError> + 'static> ActivityFailure for E {
    type Called = CallError<E>;

    fn called(error: WorkflowError) -> CallError<E> {
        CallError::of(error)
    }
}
