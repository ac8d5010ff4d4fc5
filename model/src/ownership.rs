//! Leases, appends, claims and hand-over: who may write to a shard, while every request can be late, repeated or lost.
//!
//! Two processes and one shard. A *step* of this model is a statement of the database, with the locks that it holds, or a
//! reaction of a process. Between any two steps the others take as many of theirs as they like: so a process that pauses is
//! one whose steps come late, and a lost answer is one that is never handed over.
//!
//! Left out: what events say, several shards (each is owned and written by itself), and the deletion of rows of `appends` by
//! whoever fences a lease, which only tidies up.

mod append;
mod claim;
mod database;
mod failover;
mod guard;
mod lease;
mod process;
mod property;
mod step;
#[cfg(test)]
mod tests;

pub use guard::Guard;
pub use step::Step;

use stateright::{Model, Property};

use crate::check::{Guards, Protocol};
use crate::ownership::claim::ClaimCall;
use crate::ownership::database::Database;
use crate::ownership::process::{AppendCall, Process};

/// The model, within bounds.
#[derive(Clone, Debug)]
pub struct Ownership {
    /// The rules that are kept.
    pub guards: Guards<Guard>,
    /// How often each thing happens.
    pub bounds: Bounds,
}

/// How often each thing can happen on one way through the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Processes that take part.
    pub processes: u8,
    /// Claims that are sent.
    pub claims: u8,
    /// Appends that are cut, those that are cut again included.
    pub cuts: u8,
    /// Appends that are sent again.
    pub resends: u8,
    /// Attempts that the database declines.
    pub declines: u8,
    /// Leases whose time runs out.
    pub expiries: u8,
    /// Shards that are handed over.
    pub hand_overs: u8,
    /// Leases that their process gives up.
    pub give_ups: u8,
    /// Processes that die.
    pub crashes: u8,
    /// Failovers to a standby that lags.
    pub failovers: u8,
}

/// A moment of the system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// What is committed.
    pub(crate) database: Database,
    /// What the standby has, once it stopped following.
    pub(crate) standby: Option<Database>,
    pub(crate) processes: Vec<Process>,
    /// Appends on their way or under way, sorted, because their order means nothing.
    pub(crate) appends: Vec<AppendCall>,
    /// Claims on their way, under way, or answered, sorted.
    pub(crate) claims: Vec<ClaimCall>,
    /// Leases to be released, sorted.
    pub(crate) releases: Vec<u8>,
    /// The events whose append was acknowledged, as bits.
    pub(crate) acknowledged: u8,
    /// The events that a failover lost, as bits.
    pub(crate) lost: u8,
    /// The claims that were ever made. A new one never has an old one's name, not even after a failover.
    pub(crate) claims_made: u8,
    /// The properties of steps, rather than of states, that broke.
    pub(crate) broken: Vec<&'static str>,
    /// What may still happen.
    pub(crate) left: Bounds,
}

impl State {
    /// A step broke a property.
    pub(crate) fn breaks(&mut self, property: &'static str) {
        if !self.broken.contains(&property) {
            self.broken.push(property);
        }
    }

    /// Sorts what has no order, so that states which differ in nothing else are one.
    fn normalize(mut self) -> Self {
        self.appends.sort_unstable();
        self.claims.sort_unstable();
        self.releases.sort_unstable();
        self.releases.dedup();
        self
    }
}

impl Bounds {
    const NOTHING: Self = Self {
        processes: 2,
        claims: 0,
        cuts: 0,
        resends: 0,
        declines: 0,
        expiries: 0,
        hand_overs: 0,
        give_ups: 0,
        crashes: 0,
        failovers: 0,
    };

    /// A lease runs out while appends are late, lost, sent again and declined, and its process goes on or gives up.
    pub const TAKEOVER: Self =
        Self { claims: 3, cuts: 2, resends: 1, declines: 1, expiries: 1, give_ups: 1, ..Self::NOTHING };

    /// A process dies, and what it has sent arrives late.
    pub const CRASH: Self = Self { claims: 3, cuts: 2, resends: 1, expiries: 1, crashes: 1, ..Self::NOTHING };

    /// The shard is handed over, and comes back.
    pub const HAND_OVER: Self = Self { claims: 4, cuts: 2, resends: 1, hand_overs: 1, ..Self::NOTHING };

    /// The database loses its last commits.
    pub const FAILOVER: Self = Self { claims: 3, cuts: 3, failovers: 1, ..Self::NOTHING };
}

impl Protocol for Ownership {
    type Guard = Guard;

    fn without(guard: Guard) -> Self {
        let bounds = match guard {
            Guard::AppendLocksLease
            | Guard::AppendChecksFence
            | Guard::DigestIsCompared
            | Guard::RecutKeepsNumber
            | Guard::ClaimFencesOwner
            | Guard::ClaimChecksExpiryAgain
            | Guard::ReleaseLocksLease => Bounds::TAKEOVER,
            Guard::AppendChecksOwner
            | Guard::AppendNamesClaim
            | Guard::RepetitionWritesNothing
            | Guard::ClaimChecksFreeAgain
            | Guard::LogIsReadAfterClaim
            | Guard::HandOverIsAnAppend => Bounds::HAND_OVER,
            Guard::PredecessorIsRequired | Guard::HeartbeatNamesAppend => Bounds::FAILOVER,
        };
        Self { guards: Guards::without(guard), bounds }
    }

    fn tell(before: &State, step: Step) -> String {
        step.tell(before)
    }
}

impl Model for Ownership {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            database: Database::default(),
            standby: None,
            processes: vec![Process::default(); self.bounds.processes.into()],
            appends: Vec::new(),
            claims: Vec::new(),
            releases: Vec::new(),
            acknowledged: 0,
            lost: 0,
            claims_made: 0,
            broken: Vec::new(),
            left: self.bounds,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        step::offer(state, steps);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        step.take(&self.guards, &mut next)?;
        Some(next.normalize())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::all()
    }
}
