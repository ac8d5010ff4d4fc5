//! The tests of the tasks model: it holds in every state within its bounds, and needs each of its rules.

use expect_test::expect_file;

use crate::check::Guards;
use crate::check::tests::{holds, needs_every_rule};
use crate::tasks::{Bounds, Tasks};

fn within(bounds: Bounds) -> Tasks {
    Tasks { guards: Guards::ALL, bounds }
}

#[test]
fn a_task_has_one_outcome_while_processes_compete_for_it() {
    holds(within(Bounds::SHARED), 200_000);
}

#[test]
fn an_at_most_once_task_is_executed_once_while_answers_are_lost() {
    holds(within(Bounds::AT_MOST_ONCE), 20_000);
}

#[test]
fn an_activity_has_one_outcome_while_its_run_changes_hands() {
    holds(within(Bounds::HAND_OVER), 100_000);
}

#[test]
fn an_at_most_once_activity_is_executed_once_while_its_run_changes_hands() {
    holds(within(Bounds::HAND_OVER_ONCE), 50_000);
}

#[test]
fn every_rule_of_tasks_is_needed() {
    needs_every_rule::<Tasks>(expect_file!["../../traces/tasks.txt"]);
}
