//! Reads the outcome of a run that is over: its row holds the encoded terminal event, whose kind follows from the row's
//! status. It must not know what the outcome is read for.

use crate::error::Error;
use crate::log::event::{Event, EventKind};
use crate::log::wire;
use crate::store::append::ClosedRun;
use crate::store::error::StoreError;

/// Decodes the terminal event of a run that is over.
///
/// # Errors
/// Returns a corruption error if this build cannot read the event.
pub(crate) fn terminal_event(closed: &ClosedRun) -> Result<Event, Error> {
    wire::decode_event(EventKind::of_end(closed.status), &closed.outcome).map_err(|error| {
        let what = format!(
            "the outcome of run {} of workflow `{}` cannot be read: {error}; use the build that wrote it, or a \
             newer one",
            closed.run, closed.workflow
        );
        StoreError::corrupt(what).into()
    })
}
