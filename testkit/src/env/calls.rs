//! An attempt of an activity as a test sees it, with its typed input. It must not know the worker.

use chrono::{DateTime, Utc};
use pgworkflows_core::RunId;
use serde::de::DeserializeOwned;

use crate::world::Call;

/// An attempt of an activity with the input `I`; of one that is a function, the input is the tuple of its arguments.
#[derive(Debug)]
#[non_exhaustive]
pub struct ActivityCall<I> {
    /// The run that asked for it.
    pub run: RunId,
    /// The attempt, from 1 on.
    pub attempt: u32,
    /// Its input.
    pub input: I,
    /// When it began, in virtual time.
    pub at: DateTime<Utc>,
}

impl<I> ActivityCall<I> {
    /// The attempt `call`, whose input `take` takes out of what was stored.
    #[track_caller]
    pub(super) fn new<S: DeserializeOwned>(
        call: &Call,
        at: DateTime<Utc>,
        take: impl FnOnce(S) -> I,
    ) -> Self {
        let input = call.input.as_ref().map(pgworkflows_core::payload::Payload::decode);
        match input {
            Some(Ok(input)) => Self { run: call.run, attempt: call.attempt, input: take(input), at },
            Some(Err(error)) => {
                panic!("activity `{}` was called with an input of another type: {error}", call.name)
            }
            None => panic!("`{}` is a step, not an activity", call.name),
        }
    }
}
