//! What the ownership model promises.

use stateright::Property;

use crate::ownership::{Ownership, State};

pub(super) const ONE_COMMIT_PER_POSITION: &str = "no two commits have one position";
pub(super) const GAPLESS: &str = "the log is gapless and in the order of commits";
pub(super) const APPLIED_ONCE: &str = "no event is written twice";
pub(super) const ACKNOWLEDGED_IS_LOGGED: &str = "what was acknowledged is in the log";
pub(super) const ONLY_THE_OWNER_WRITES: &str = "only the owner of a shard writes to it";
pub(super) const ONLY_EXPIRED_IS_FENCED: &str = "a claim fences no lease that was renewed";
pub(super) const LATE_RELEASE_IS_HARMLESS: &str = "a late release frees no shard that was claimed again";
pub(super) const RENEWED_MEANS_CURRENT: &str = "a lease that lost commits is not renewed";

pub(super) fn all() -> Vec<Property<Ownership>> {
    vec![
        Property::always(ONE_COMMIT_PER_POSITION, |_, state: &State| {
            let log = &state.database.log;
            (1..log.len()).all(|this| log[..this].iter().all(|other| other.position != log[this].position))
        }),
        Property::always(GAPLESS, |_, state: &State| {
            state.database.log.iter().map(|frame| frame.position).eq((1u8..).take(state.database.log.len()))
        }),
        Property::always(APPLIED_ONCE, |_, state: &State| {
            let log = &state.database.log;
            (1..log.len()).all(|this| log[..this].iter().all(|other| other.event != log[this].event))
        }),
        Property::always(ACKNOWLEDGED_IS_LOGGED, |_, state: &State| {
            let logged = state.database.log.iter().fold(0, |events, frame| events | frame.event);
            state.acknowledged & !state.lost & !logged == 0
        }),
        Property::always(ONLY_THE_OWNER_WRITES, |_, state| holds(state, ONLY_THE_OWNER_WRITES)),
        Property::always(ONLY_EXPIRED_IS_FENCED, |_, state| holds(state, ONLY_EXPIRED_IS_FENCED)),
        Property::always(LATE_RELEASE_IS_HARMLESS, |_, state| holds(state, LATE_RELEASE_IS_HARMLESS)),
        Property::always(RENEWED_MEANS_CURRENT, |_, state| holds(state, RENEWED_MEANS_CURRENT)),
    ]
}

fn holds(state: &State, property: &'static str) -> bool {
    !state.broken.contains(&property)
}
