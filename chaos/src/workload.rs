//! What users' programs do meanwhile: kinds of runs, each with its workflow, its activities, and what a client does with
//! one run of it. It must not know of faults.
//!
//! To add a kind, write its file and add its line to [`KINDS`].

mod bank;
mod cancelled;
mod chain;
mod family;
mod fan_out;
mod once;
mod payment;
mod refund;
mod signals;
mod timers;
mod transfer;
mod updates;

use futures::future::BoxFuture;
use pgworkflows::PostgresStore;
use pgworkflows::sqlx::PgPool;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_testkit::runtime::dice::Dice;

use crate::hand::Hand;

/// A kind of run.
#[derive(Debug)]
pub(crate) struct Kind {
    /// The name of its workflow.
    pub(crate) name: &'static str,
    /// What is proven, for people.
    pub(crate) about: &'static str,
    /// How often it is drawn, relative to the others.
    pub(crate) weight: u64,
    /// Whether a run ends even if its client dies.
    pub(crate) ends_alone: bool,
    /// Registers its workflow and its activities, which use the users' tables, with a worker of the store.
    pub(crate) register: fn(WorkerBuilder, &PgPool, &PostgresStore) -> WorkerBuilder,
    /// What a client does with one run, which it names by the token: at least start it, and wait for its end.
    pub(crate) drive: fn(Task) -> BoxFuture<'static, anyhow::Result<()>>,
}

/// One run to be driven.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) hand: Hand,
    pub(crate) dice: Dice,
    pub(crate) token: String,
}

/// All kinds.
pub(crate) const KINDS: &[Kind] = &[
    transfer::KIND,
    payment::KIND,
    refund::KIND,
    fan_out::KIND,
    timers::KIND,
    signals::KIND,
    updates::KIND,
    chain::KIND,
    family::KIND,
    cancelled::KIND,
    once::KIND,
];

/// Draws a kind by its weight, of those that pass.
pub(crate) fn draw(dice: &mut Dice, passes: impl Fn(&Kind) -> bool) -> Option<&'static Kind> {
    let kinds = || KINDS.iter().filter(|kind| passes(kind));
    let mut left = dice.below(kinds().map(|kind| kind.weight).sum::<u64>().max(1));
    kinds().find(|kind| match left.checked_sub(kind.weight) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}
