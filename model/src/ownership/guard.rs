//! The guards of the ownership model, each with the property that breaks without it.

use crate::check;
use crate::ownership::property;

/// A rule about leases, appends and claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// An append locks its lease before it checks anything, until its commit.
    AppendLocksLease,
    /// An append is refused if its lease is fenced.
    AppendChecksFence,
    /// An append is refused if the shard does not belong to its lease.
    AppendChecksOwner,
    /// An append names the claim by which its shard was taken, and is refused if the shard was claimed again since.
    AppendNamesClaim,
    /// An append whose number was applied with the same digest succeeds and writes nothing.
    RepetitionWritesNothing,
    /// An append whose number was applied with another digest is refused.
    DigestIsCompared,
    /// An append is refused if the one before it is missing.
    PredecessorIsRequired,
    /// An append that is cut again after a declined attempt keeps its number.
    RecutKeepsNumber,
    /// A claim locks the expired lease whose shard it takes, and fences it.
    ClaimFencesOwner,
    /// A claim checks again under the lock that a lease has expired.
    ClaimChecksExpiryAgain,
    /// A claim checks again that a shard is free after it has locked it, with a new snapshot.
    ClaimChecksFreeAgain,
    /// A claim reads the log in a statement that begins after its commit.
    LogIsReadAfterClaim,
    /// A release locks its lease, so it waits for an append that is under way.
    ReleaseLocksLease,
    /// A shard is handed over inside an append, with its number and digest.
    HandOverIsAnAppend,
    /// A heartbeat names the last append that was acknowledged, and renews no lease that lacks it.
    HeartbeatNamesAppend,
}

impl check::Guard for Guard {
    const ALL: &'static [Self] = &[
        Self::AppendLocksLease,
        Self::AppendChecksFence,
        Self::AppendChecksOwner,
        Self::AppendNamesClaim,
        Self::RepetitionWritesNothing,
        Self::DigestIsCompared,
        Self::PredecessorIsRequired,
        Self::RecutKeepsNumber,
        Self::ClaimFencesOwner,
        Self::ClaimChecksExpiryAgain,
        Self::ClaimChecksFreeAgain,
        Self::LogIsReadAfterClaim,
        Self::ReleaseLocksLease,
        Self::HandOverIsAnAppend,
        Self::HeartbeatNamesAppend,
    ];

    fn protects(self) -> &'static str {
        match self {
            Self::AppendLocksLease
            | Self::AppendChecksFence
            | Self::AppendNamesClaim
            | Self::ClaimFencesOwner
            | Self::ClaimChecksFreeAgain
            | Self::LogIsReadAfterClaim
            | Self::ReleaseLocksLease => property::ONE_COMMIT_PER_POSITION,
            Self::AppendChecksOwner => property::ONLY_THE_OWNER_WRITES,
            Self::RepetitionWritesNothing | Self::RecutKeepsNumber => property::APPLIED_ONCE,
            Self::DigestIsCompared => property::ACKNOWLEDGED_IS_LOGGED,
            Self::PredecessorIsRequired => property::GAPLESS,
            Self::ClaimChecksExpiryAgain => property::ONLY_EXPIRED_IS_FENCED,
            Self::HandOverIsAnAppend => property::LATE_RELEASE_IS_HARMLESS,
            Self::HeartbeatNamesAppend => property::RENEWED_MEANS_CURRENT,
        }
    }
}
