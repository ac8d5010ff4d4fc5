//! What a client knows about a run's workflow: its name and the type of its result, or nothing. It must not know how to
//! reach a run.

use crate::data::payload::{Payload, PayloadError};
use crate::workflow::Workflow;

/// What a handle knows about its run. Every [`Workflow`] is a run type; [`Untyped`] is for clients without a type.
///
/// A client without the workflow's code can define its own run type:
///
/// ```
/// use pgworkflows::client::RunType;
/// use pgworkflows::payload::{Payload, PayloadError};
///
/// /// A trial, which another program executes.
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
///
/// assert_eq!(Trial::decode(&Payload::encode("Acme upgraded.")?)?, "Acme upgraded.");
/// # Ok::<(), PayloadError>(())
/// ```
pub trait RunType: 'static {
    /// The workflow's name; `None` for any workflow.
    const WORKFLOW: Option<&'static str>;
    /// The type of the decoded result.
    type Output: 'static;

    /// Decodes the result of a completed run.
    ///
    /// # Errors
    /// Returns an error if the result is not an `Output`.
    fn decode(result: &Payload) -> Result<Self::Output, PayloadError>;
}

impl<W: Workflow> RunType for W {
    const WORKFLOW: Option<&'static str> = Some(W::NAME);
    type Output = W::Output;

    fn decode(result: &Payload) -> Result<W::Output, PayloadError> {
        result.decode()
    }
}

/// A run of any workflow, whose result is JSON: for tools and web handlers that pass it on.
///
/// ```
/// use pgworkflows::client::{Json, RunType};
/// use pgworkflows::payload::Payload;
///
/// let result = Payload::encode(&("Acme", 3))?;
/// assert_eq!(Json::decode(&result)?, serde_json::json!(["Acme", 3]));
/// # Ok::<(), pgworkflows::payload::PayloadError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Json {}

impl RunType for Json {
    const WORKFLOW: Option<&'static str> = None;
    type Output = serde_json::Value;

    fn decode(result: &Payload) -> Result<serde_json::Value, PayloadError> {
        result.to_json()
    }
}

/// A run of any workflow. Its result is a [`Payload`], which may be of any encoding; that of [`Json`] is JSON.
#[derive(Clone, Copy, Debug)]
pub enum Untyped {}

impl RunType for Untyped {
    const WORKFLOW: Option<&'static str> = None;
    type Output = Payload;

    fn decode(result: &Payload) -> Result<Payload, PayloadError> {
        Ok(result.clone())
    }
}
