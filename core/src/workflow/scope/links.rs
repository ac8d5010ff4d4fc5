//! Where the signals and updates were sent that a poll takes: places in traces, to which the span of the poll is linked. It must
//! not know spans.

use super::Inner;
use super::arrivals::Arrival;
use crate::data::limits;
use crate::data::trace_context::TraceContext;

/// The places of one poll, in the order in which the code took what was sent there.
#[derive(Debug, Default)]
pub(crate) struct Links(Vec<TraceContext>);

impl Links {
    pub(crate) fn places(&self) -> &[TraceContext] {
        &self.0
    }
}

impl Inner {
    /// The code takes an arrival. A replay is in no span.
    pub(super) fn took(&mut self, arrival: &Arrival) {
        let Some(place) = arrival.trace.as_deref().filter(|_| !self.locals.are_recorded()) else { return };
        let links = &mut self.links.get_or_insert_default().0;
        if links.len() < limits::LINKS_PER_PASS_MAX {
            links.push(*place);
        }
    }
}
