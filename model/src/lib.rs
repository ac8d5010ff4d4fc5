//! Models of the protocols by which processes share a queue. Every order of their steps is explored, within bounds.
//!
//! | model | what it asks |
//! |---|---|
//! | [`ownership`] | who may write to a shard, while requests are late, lost or repeated, leases run out and commits are lost |
//! | [`inbox`] | whether each message is logged once and in order, while transactions commit late and shards move |
//! | [`tasks`] | whether an activity has one outcome, while processes compete for it, die, and hand its run over |
//! | [`transactions`] | whether a user's writes and the recorded outcome agree, while nobody waits for the user's transaction |
//! | [`balance`] | whether leases that do not talk to each other come to share the shards evenly, and then rest |
//!
//! A model does not run the engine's code. It has the same statements and decisions, in as few words as show what can go
//! wrong between two of them; the table in `ARCHITECTURE.md` names the function of each step. The simulator is the other way
//! round: it runs the engine's code, and tries some orders of a much larger system.
//!
//! Each rule of a protocol is a `Guard`. With all of them, every property holds in every state. The tests remove each one by
//! itself, and demand that the property breaks which the rule is there for: so no rule is idle, and no model is too narrow to
//! need it. `traces/` has the shortest way on which it breaks, in words.
//!
//! ```
//! use pgworkflows_model::balance::{Balance, Bounds};
//! use pgworkflows_model::check::{Guards, explore};
//!
//! let bounds = Bounds { shards: 5, leases: 4, leaves: 0, failures: 1 };
//! assert!(explore(Balance { guards: Guards::ALL, bounds }) > 100);
//! ```

pub mod check;
mod spend;

pub mod balance;
pub mod inbox;
pub mod ownership;
pub mod tasks;
pub mod transactions;
