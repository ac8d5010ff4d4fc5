//! The tests of the balance model: it holds in every state within its bounds, and needs each of its rules.

use expect_test::expect_file;

use crate::balance::{Balance, Bounds};
use crate::check::Guards;
use crate::check::tests::{holds, needs_every_rule};

#[test]
fn shards_are_shared_evenly_after_two_heartbeats() {
    for bounds in [Bounds::UNEVEN, Bounds::EVEN] {
        holds(Balance { guards: Guards::ALL, bounds }, 10_000);
    }
}

#[test]
fn every_rule_of_balance_is_needed() {
    needs_every_rule::<Balance>(expect_file!["../../traces/balance.txt"]);
}
