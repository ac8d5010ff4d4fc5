//! How a run's outcome is kept in its row once the run is over: as the stored body of its terminal event,
//! which the row's status names. It must not know who asks.

use crate::data::name::EventName;
use crate::error::Error;
use crate::log::event::Event;
use crate::log::wire;
use crate::store::append::ClosedRun;
use crate::store::error::StoreError;

/// The terminal event of a run that is over.
///
/// # Errors
/// Corrupt, if this build cannot read it.
pub(crate) fn terminal_event(closed: &ClosedRun) -> Result<Event, Error> {
    let name = EventName::of_end(closed.status);
    wire::decode_event(name.as_str(), &closed.outcome).map_err(|error| {
        let what = format!(
            "the outcome of run {} of workflow `{}` cannot be read: {error}; use the build that wrote it, or a \
             newer one",
            closed.run, closed.workflow
        );
        StoreError::corrupt(what).into()
    })
}
