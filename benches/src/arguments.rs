//! What several programs can be told. It must not know which programs there are.

use clap::builder::RangedU64ValueParser;
use clap::{Args, value_parser};

/// Which database is measured.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Database {
    /// An existing PostgreSQL server, as `postgres://user@host:5432/database`; without it a throw-away one is used, with
    /// fsync on.
    #[arg(long)]
    pub url: Option<String>,

    /// The schema there; for `growth` it should be empty.
    #[arg(long, value_name = "NAME", default_value = "pgworkflows")]
    pub schema: String,
}

/// A number of runs, one at least.
pub(crate) fn runs() -> RangedU64ValueParser {
    value_parser!(u64).range(1..=100_000_000)
}
