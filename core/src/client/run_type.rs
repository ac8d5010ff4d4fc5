//! What a client knows of a run's workflow: its name and the type of its result, or nothing. It must not know how a run
//! is reached.

use crate::data::payload::{Payload, PayloadError};
use crate::workflow::Workflow;

/// What a handle knows of its run. Every [`Workflow`] is one; [`Untyped`] is for a client that has only a name.
///
/// A client without the workflow's code can have a type of its own:
///
/// ```
/// use pgworkflows::client::RunType;
/// use pgworkflows::payload::{Payload, PayloadError};
///
/// /// Trials, which another program executes.
/// struct Trial;
///
/// impl RunType for Trial {
///     const WORKFLOW: Option<&'static str> = Some("trial-onboarding");
///     type Output = String;
///
///     fn decode(result: &Payload) -> Result<String, PayloadError> {
///         result.decode()
///     }
/// }
/// ```
pub trait RunType: 'static {
    /// The workflow's name; `None` if it may be any.
    const WORKFLOW: Option<&'static str>;
    /// What the result is decoded into.
    type Output: 'static;

    /// Decodes the result.
    ///
    /// # Errors
    /// If it is of another type.
    fn decode(result: &Payload) -> Result<Self::Output, PayloadError>;
}

impl<W: Workflow> RunType for W {
    const WORKFLOW: Option<&'static str> = Some(W::NAME);
    type Output = W::Output;

    fn decode(result: &Payload) -> Result<W::Output, PayloadError> {
        result.decode()
    }
}

/// A run of any workflow. Its result is a [`Payload`], which [`Payload::to_json`] shows.
#[derive(Clone, Copy, Debug)]
pub enum Untyped {}

impl RunType for Untyped {
    const WORKFLOW: Option<&'static str> = None;
    type Output = Payload;

    fn decode(result: &Payload) -> Result<Payload, PayloadError> {
        Ok(result.clone())
    }
}
