//! What the balance model promises.

use stateright::Property;

use crate::balance::{Balance, Guard, Health, State, Step};

pub(super) const SETTLES: &str = "undisturbed, two heartbeats of each lease share all shards evenly";
pub(super) const NOTHING_MOVES_AT_REST: &str = "nothing moves while all shards are shared evenly";
pub(super) const CAN_REST: &str = "four leases can come to rest";

pub(super) fn all() -> Vec<Property<Balance>> {
    vec![
        Property::always(SETTLES, |model: &Balance, state: &State| {
            let count = state.leases.len();
            let orders = [(0..count).collect::<Vec<_>>(), (0..count).rev().collect()];
            orders.iter().all(|order| is_even(model, &settled(model, state, order)))
        }),
        Property::always(NOTHING_MOVES_AT_REST, |model: &Balance, state: &State| {
            let at_rest = is_even(model, state) && state.leases.iter().all(|lease| lease.decided.is_none());
            let decides = |lease| {
                let mut next = state.clone();
                Step::Heartbeat(lease).take(model, &mut next);
                next.leases[lease].decided.is_some()
            };
            !at_rest || !(0..state.leases.len()).any(decides)
        }),
        Property::sometimes(CAN_REST, |model: &Balance, state: &State| {
            is_even(model, state) && state.leases.iter().filter(|lease| lease.owned > 0).count() >= 4
        }),
    ]
}

/// Whether every lease owns the mean, rounded up or down, and no shard is free.
fn is_even(model: &Balance, state: &State) -> bool {
    let is_member = |health| health != Health::Over;
    let owned = state.leases.iter().filter(|lease| is_member(lease.health)).map(|lease| lease.owned);
    let least = owned.clone().min().unwrap_or(0);
    let most = owned.max().unwrap_or(0);
    let nobody = state.leases.iter().all(|lease| lease.health == Health::Over);
    nobody || most - least <= 1 && state.free(&model.bounds) == 0
}

/// What follows if nothing else happens: what was decided is done, leases of failed processes run out, and the others send
/// two heartbeats in this order, and act on them.
fn settled(model: &Balance, state: &State, order: &[usize]) -> State {
    let mut state = state.clone();
    for lease in order {
        Step::Act(*lease).take(model, &mut state);
        if model.guards.has(Guard::OnlyProgressRenews) {
            Step::RunOut(*lease).take(model, &mut state);
        }
    }
    for lease in order.iter().chain(order) {
        Step::Heartbeat(*lease).take(model, &mut state);
        Step::Act(*lease).take(model, &mut state);
    }
    state
}
