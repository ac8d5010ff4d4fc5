//! What can be wrong with an order, in words. It must not know how it was found.

use std::fmt;

use super::arrival::Arrival;
use super::orders::Misfit;

/// What is wrong with an order.
#[derive(Clone, Debug)]
pub(super) enum Problem {
    /// What was to arrive cannot.
    Misfit(Misfit<Arrival>),
    /// More and more arrives.
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
                "the order does not fit this run: after {after} arrivals {wanted} is to come, but {}. Explore the \
                 workflow anew to get an order of its present code",
                Options(options)
            ),
            Self::Endless { arrivals_max, waits } => write!(
                f,
                "after {arrivals_max} arrivals the run is not over; {waits}. If it is to go on that long, raise \
                 `arrivals_max`"
            ),
            Self::Stalled(reason) => write!(f, "the run stalls: {reason}"),
            Self::Replay(divergence) => write!(f, "{HIDDEN}: replayed, it goes another way. {divergence}"),
            Self::Differs(difference) => write!(f, "{HIDDEN}: {difference}"),
            Self::Runs(count) => {
                write!(f, "the script started {count} runs, and has to start one: the one that is explored")
            }
            Self::Script(error) => write!(f, "the script failed: {error}"),
            Self::Assertion(failure) => write!(f, "{failure}"),
        }
    }
}

const HIDDEN: &str = "the workflow decides by something that its history does not hold, such as the wall clock, a \
                      random number, a static variable or the order of a `HashMap`";

struct Options<'a>(&'a [Arrival]);

impl fmt::Display for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("nothing can come any more"),
            [only] => write!(f, "only {only} can"),
            options => write!(f, "only one of {options:?} can"),
        }
    }
}
