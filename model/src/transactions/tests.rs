//! The tests of the transactions model: it holds in every state within its bounds, and needs each of its rules.

use expect_test::expect_file;

use crate::check::Guards;
use crate::check::tests::{holds, needs_every_rule};
use crate::transactions::{Bounds, Transactions};

#[test]
fn a_users_writes_are_committed_once() {
    let bounds = Bounds::ALL;
    holds(Transactions { guards: Guards::ALL, bounds }, 40_000);
}

#[test]
fn every_rule_of_transactions_is_needed() {
    needs_every_rule::<Transactions>(expect_file!["../../traces/transactions.txt"]);
}
