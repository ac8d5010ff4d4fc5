//! The tests of the inbox model: it holds in every state within its bounds, and needs each of its rules.

use expect_test::expect_file;

use crate::check::Guards;
use crate::check::tests::{holds, needs_every_rule};
use crate::inbox::{Bounds, Inbox};

fn within(bounds: Bounds) -> Inbox {
    Inbox { guards: Guards::ALL, bounds }
}

#[test]
fn messages_are_logged_once_and_in_order_while_transactions_commit_late() {
    holds(within(Bounds::PAGES), 20_000);
}

#[test]
fn messages_are_logged_once_although_a_client_repeats_them() {
    holds(within(Bounds::REPETITION), 3_000);
}

#[test]
fn messages_are_logged_once_while_shards_are_handed_over() {
    holds(within(Bounds::HAND_OVER), 300_000);
}

#[test]
fn messages_are_logged_once_while_owners_are_fenced() {
    holds(within(Bounds::TAKEOVER), 10_000);
}

#[test]
fn messages_are_logged_once_while_the_database_loses_commits() {
    holds(within(Bounds::FAILOVER), 300_000);
}

#[test]
fn every_rule_of_the_inbox_is_needed() {
    needs_every_rule::<Inbox>(expect_file!["../../traces/inbox.txt"]);
}
