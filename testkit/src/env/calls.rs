//! An attempt of an activity as a test sees it, with its typed input. It must not know the worker.

use std::fmt;

use chrono::{DateTime, Utc};
use pgworkflows_core::{Activity, RunId};

use crate::world::Call;

/// An attempt of the activity `A`.
#[non_exhaustive]
pub struct ActivityCall<A: Activity> {
    /// The run that asked for it.
    pub run: RunId,
    /// The attempt, from 1 on.
    pub attempt: u32,
    /// Its input.
    pub input: A::Input,
    /// When it began, in virtual time.
    pub at: DateTime<Utc>,
}

impl<A: Activity> ActivityCall<A> {
    #[track_caller]
    pub(super) fn new(call: &Call, at: DateTime<Utc>) -> Self {
        let input = call.input.as_ref().map(pgworkflows_core::payload::Payload::decode);
        match input {
            Some(Ok(input)) => Self { run: call.run, attempt: call.attempt, input, at },
            Some(Err(error)) => {
                panic!("activity `{}` was called with an input of another type: {error}", A::NAME)
            }
            None => panic!("`{}` is a step, not an activity", A::NAME),
        }
    }
}

impl<A: Activity<Input: fmt::Debug>> fmt::Debug for ActivityCall<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityCall")
            .field("run", &self.run)
            .field("attempt", &self.attempt)
            .field("input", &self.input)
            .field("at", &self.at)
            .finish()
    }
}
