//! What the promises are proven with: a bed (a store, a client, workers that can be stopped or killed), and eyes
//! (what was done, what was logged, what a history holds). It knows nothing that a user of the library does not.

mod definitions;
mod env;
mod interceptor;
mod logs;
mod observe;
mod outage;
mod workers;

pub use self::definitions::Act;
pub use self::env::{Bed, Place, keep};
pub use self::interceptor::{Interference, around};
pub use self::logs::{Logs, logs};
pub use self::observe::{Gate, Journal, count, eventually, story, told};
pub use self::outage::Outage;
pub use self::workers::{Mortal, Working};
