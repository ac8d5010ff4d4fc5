//! The problems that an order can have, in words. It must not know how a problem was found.

use std::fmt;

use super::arrival::Arrival;
use super::orders::Misfit;

/// The problem of an order.
#[derive(Clone, Debug)]
pub(super) enum Problem {
    /// An arrival of the given order is not possible.
    Misfit(Misfit<Arrival>),
    /// There are too many arrivals.
    Endless { arrivals_max: usize, waits: String },
    /// The code cannot process what arrived.
    Stalled(String),
    /// The code does not follow the history that it has just written.
    Replay(String),
    /// The same order led to another history.
    Differs(String),
    /// The script started no run, or several.
    Runs(usize),
    /// The script failed for a reason that is not the run's.
    Script(String),
    /// The user's assertion does not hold.
    Assertion(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misfit(Misfit { after, wanted, options }) => write!(
                f,
                "the order does not fit this run: after {after} arrivals {wanted} should arrive, but {}. Explore the \
                 workflow again to get an order of its present code",
                Options(options)
            ),
            Self::Endless { arrivals_max, waits } => write!(
                f,
                "after {arrivals_max} arrivals the run is not over; {waits}. If the run may take that many, raise \
                 `arrivals_max`"
            ),
            Self::Stalled(reason) => write!(f, "the run stalls: {reason}"),
            Self::Replay(divergence) => write!(f, "{HIDDEN}: its replay diverges. {divergence}"),
            Self::Differs(difference) => write!(f, "{HIDDEN}: {difference}"),
            Self::Runs(count) => {
                write!(f, "the script started {count} runs, and has to start exactly one, which is explored")
            }
            Self::Script(error) => write!(f, "the script failed: {error}"),
            Self::Assertion(failure) => write!(f, "{failure}"),
        }
    }
}

const HIDDEN: &str = "the workflow depends on something that its history does not hold, such as the wall clock, a \
                      random number, a static variable or the order of a `HashMap`";

struct Options<'a>(&'a [Arrival]);

impl fmt::Display for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("nothing more can arrive"),
            [only] => write!(f, "only {only} can"),
            options => write!(f, "only one of {options:?} can"),
        }
    }
}
