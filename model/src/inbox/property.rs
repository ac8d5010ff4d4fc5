//! What the inbox model promises.

use stateright::Property;

use crate::inbox::database::Row;
use crate::inbox::process::{Process, Reading};
use crate::inbox::{Inbox, State};

pub(super) const NEVER_LOST: &str = "an accepted message is in the inbox or in the log";
pub(super) const LOGGED_ONCE: &str = "no message is logged twice";
pub(super) const IN_ORDER: &str = "a client's messages are logged in their order";
pub(super) const NO_CONFLICT: &str = "no append names a message that is not in the inbox";
pub(super) const NOTHING_WAITS_FOR_EVER: &str = "every message of an owned shard is going to be logged";

pub(super) fn all() -> Vec<Property<Inbox>> {
    vec![
        Property::always(NEVER_LOST, |_, state: &State| {
            accepted(state).all(|id| {
                let waits = state.database.inbox.iter().any(|row| row.id == id);
                waits || state.database.logged.contains(&id) || state.lost.contains(&id)
            })
        }),
        Property::always(LOGGED_ONCE, |_, state: &State| {
            let logged = &state.database.logged;
            (1..logged.len()).all(|this| !logged[..this].contains(&logged[this]))
        }),
        Property::always(IN_ORDER, |_, state: &State| {
            let logged = &state.database.logged;
            let came_before = |id: u8, before: &[u8]| {
                let earlier = id / 4 * 4..id;
                { earlier }.all(|earlier| before.contains(&earlier) || state.lost.contains(&earlier))
            };
            logged.iter().enumerate().all(|(nth, id)| came_before(*id, &logged[..nth]))
        }),
        Property::always(NO_CONFLICT, |_, state: &State| !state.broken.contains(&NO_CONFLICT)),
        Property::always(NOTHING_WAITS_FOR_EVER, |model: &Inbox, state: &State| {
            state.database.inbox.iter().all(|row| {
                let owner = state.database.owners[usize::from(row.shard())];
                let owner = owner.map(|owner| &state.processes[usize::from(owner)]);
                owner.is_none_or(|owner| !owner.serves(row.shard()) || will_log(model, owner, *row))
            })
        }),
    ]
}

fn accepted(state: &State) -> impl Iterator<Item = u8> {
    [0, 1]
        .into_iter()
        .flat_map(|client| (0..state.accepted[usize::from(client)]).map(move |nth| client * 4 + nth))
}

/// Whether a process that goes on undisturbed logs a message: it has it, or one of its reads returns it.
fn will_log(model: &Inbox, process: &Process, row: Row) -> bool {
    if process.queued.contains(&row) {
        return true;
    }
    if process.taken.contains(&row) {
        return false;
    }
    let is_old = |reading: &Reading| {
        reading.changes != process.changes && model.guards.has(super::Guard::OldReadIsDropped)
    };
    let reading = process.reading.as_ref();
    if let Some(Reading { answer: (rows, _), arrived: true, .. }) = reading
        && rows.contains(&row)
    {
        return true;
    }
    // An answer on its way replaces the cursor that it began with.
    if let Some(Reading { from, answer: (rows, after), arrived: false, .. }) =
        reading.filter(|it| !is_old(it))
    {
        let others = process.cursors.iter().filter(|cursor| cursor.shards != from.shards);
        let replaced = others.chain([after]);
        return rows.contains(&row) || { replaced }.any(|cursor| cursor.will_return(&model.guards, row));
    }
    process.cursors.iter().any(|cursor| cursor.will_return(&model.guards, row))
}
