//! The tests of the ownership model: it holds in every state within its bounds, and needs each of its rules.

use expect_test::expect_file;
use stateright::Model;

use crate::check::Guards;
use crate::check::tests::{holds, needs_every_rule};
use crate::ownership::{Bounds, Guard, Ownership, Step, property};

fn within(bounds: Bounds) -> Ownership {
    Ownership { guards: Guards::ALL, bounds }
}

#[test]
fn one_owner_writes_to_a_shard_while_leases_run_out() {
    holds(within(Bounds::TAKEOVER), 1_000_000);
}

#[test]
fn one_owner_writes_to_a_shard_while_processes_die() {
    holds(within(Bounds::CRASH), 100_000);
}

#[test]
fn one_owner_writes_to_a_shard_while_it_is_handed_over() {
    holds(within(Bounds::HAND_OVER), 100_000);
}

#[test]
fn one_owner_writes_to_a_shard_while_the_database_loses_commits() {
    holds(within(Bounds::FAILOVER), 100_000);
}

#[test]
fn every_rule_of_ownership_is_needed() {
    needs_every_rule::<Ownership>(expect_file!["../../traces/ownership.txt"]);
}

/// A claim of a process from its sending to its answer, while no other claim is under way.
fn claim(by: u8) -> Vec<Step> {
    let statements = [Step::ProceedWithClaim(0); 4];
    [&[Step::SendClaim(by)], &statements[..], &[Step::AnswerClaim(0)]].concat()
}

/// Whether the log is gapless after a way that is too long to be found by search: the database loses an append of process 0
/// and the claim by which process 1 took the shard over. Process 1 claims the shard again, and writes to it.
fn is_gapless_after_a_lost_claim(guards: Guards<Guard>) -> bool {
    let bounds = Bounds { claims: 4, cuts: 2, expiries: 1, ..Bounds::FAILOVER };
    let protocol = Ownership { guards, bounds };
    let append = |by, end| [Step::CutAppend(by), Step::CheckAppend(0), end];
    let steps = [
        &[claim(0), claim(1)].concat()[..],
        &[Step::StandbyLags],
        &append(0, Step::CommitAppend(0)),
        &[Step::Expire(0)],
        &claim(1),
        &[Step::Failover, Step::Heartbeat(0), Step::Release(0)],
        &claim(1),
        &append(1, Step::CommitAppendUnheard(0)),
    ];
    let mut state = protocol.init_states().remove(0);
    for step in steps.concat() {
        let Some(next) = protocol.next_state(&state, step) else { break };
        state = next;
    }
    (protocol.property(property::GAPLESS).condition)(&protocol, &state)
}

#[test]
fn claim_that_the_database_lost_is_not_mistaken_for_its_repetition() {
    assert!(!is_gapless_after_a_lost_claim(Guards::without(Guard::AppendNamesClaim)));
    assert!(is_gapless_after_a_lost_claim(Guards::ALL));
}
