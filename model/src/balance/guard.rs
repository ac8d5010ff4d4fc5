//! The guards of the balance model, each with the property that breaks without it.

use crate::balance::property;
use crate::check;

/// A rule about shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Only as many leases as are the remainder own one more than the mean, rounded down.
    RemainderHasPlaces,
    /// Those that own one more already come first.
    MoreComesFirst,
    /// Only leases that are valid take part.
    OnlyValidLeasesShare,
    /// A lease claims no more than its share.
    ClaimsUpToItsShare,
    /// A lease is not renewed for a processor that makes no progress.
    OnlyProgressRenews,
}

impl check::Guard for Guard {
    const ALL: &'static [Self] = &[
        Self::RemainderHasPlaces,
        Self::MoreComesFirst,
        Self::OnlyValidLeasesShare,
        Self::ClaimsUpToItsShare,
        Self::OnlyProgressRenews,
    ];

    fn protects(self) -> &'static str {
        match self {
            Self::RemainderHasPlaces
            | Self::OnlyValidLeasesShare
            | Self::ClaimsUpToItsShare
            | Self::OnlyProgressRenews => property::SETTLES,
            Self::MoreComesFirst => property::NOTHING_MOVES_AT_REST,
        }
    }
}
