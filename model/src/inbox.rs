//! The inbox: how messages are written by clients and read by owners, while shards move and transactions commit late.
//!
//! Two clients send messages, one after the other, to a shard each. The first process begins as the owner of both shards.
//! Owners read the inbox and move what they read into the log. Here a claim, an append and a hand-over are single steps,
//! because the ownership model shows that they may be: what can be late is a client's commit and the answer to a read.

mod client;
mod cursor;
mod database;
mod guard;
mod process;
mod property;
mod reader;
mod shards;
mod step;
#[cfg(test)]
mod tests;

pub use guard::Guard;
pub use step::Step;

use stateright::{Model, Property};

use crate::check::{Guards, Protocol};
use crate::inbox::cursor::Cursor;
use crate::inbox::database::Database;
use crate::inbox::process::Process;

/// The model, within bounds.
#[derive(Clone, Debug)]
pub struct Inbox {
    /// The rules that are kept.
    pub guards: Guards<Guard>,
    /// How often each thing happens.
    pub bounds: Bounds,
}

/// How often each thing can happen on one way through the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Processes that claim shards.
    pub processes: u8,
    /// Messages that each client sends.
    pub messages: u8,
    /// Whether a read returns one message, so that two take two pages. Otherwise it returns all.
    pub paged: bool,
    /// Shards that are claimed.
    pub claims: u8,
    /// Shards that are handed over.
    pub hand_overs: u8,
    /// Owners whose leases are fenced while they are alive.
    pub takeovers: u8,
    /// Messages that their client sends again, although they were accepted.
    pub repetitions: u8,
    /// Failovers to a standby that lags.
    pub failovers: u8,
}

/// A moment of the system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// What is committed, and the transactions that are open.
    pub(crate) database: Database,
    /// What the standby has, once it stopped following.
    pub(crate) standby: Option<Database>,
    pub(crate) processes: [Process; 2],
    /// How many messages of each client were accepted.
    pub(crate) accepted: [u8; 2],
    /// The messages that a failover lost.
    pub(crate) lost: Vec<u8>,
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
}

impl Bounds {
    const NOTHING: Self = Self {
        processes: 1,
        messages: 1,
        paged: false,
        claims: 0,
        hand_overs: 0,
        takeovers: 0,
        repetitions: 0,
        failovers: 0,
    };

    /// An owner reads page by page what clients commit late.
    pub const PAGES: Self = Self { messages: 2, paged: true, ..Self::NOTHING };

    /// A client repeats a message that was accepted.
    pub const REPETITION: Self = Self { repetitions: 1, ..Self::NOTHING };

    /// Shards are handed over, and come back.
    pub const HAND_OVER: Self = Self { processes: 2, claims: 2, hand_overs: 2, ..Self::NOTHING };

    /// An owner is fenced, and does not know it.
    pub const TAKEOVER: Self = Self { processes: 2, claims: 2, takeovers: 1, ..Self::NOTHING };

    /// The database loses its last commits.
    pub const FAILOVER: Self = Self { messages: 2, failovers: 1, ..Self::NOTHING };
}

impl Protocol for Inbox {
    type Guard = Guard;

    fn without(guard: Guard) -> Self {
        let bounds = match guard {
            Guard::ReadsBySnapshot | Guard::PagesShareSnapshot => Bounds::PAGES,
            Guard::RunKnowsItsMessages => Bounds::REPETITION,
            Guard::ClaimReadsAnew
            | Guard::MergeKeepsOlder
            | Guard::TakenIsRemembered
            | Guard::HandOverForgets
            | Guard::OldReadIsDropped => Bounds::HAND_OVER,
            Guard::ConsumedIsNamedById | Guard::ReconnectReadsAnew => Bounds::FAILOVER,
        };
        Self { guards: Guards::without(guard), bounds }
    }

    fn tell(_: &State, step: Step) -> String {
        step.tell()
    }
}

impl Model for Inbox {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let owner = Process { cursors: vec![Cursor::start(0b11)], ..Process::default() };
        vec![State {
            database: Database::default(),
            standby: None,
            processes: [owner, Process::default()],
            accepted: [0; 2],
            lost: Vec::new(),
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
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::all()
    }
}
