//! The guards of the inbox model, each with the property that breaks without it.

use crate::check;
use crate::inbox::property;

/// A rule about the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A read returns what became visible since the snapshot of the one before, not what has a greater number.
    ReadsBySnapshot,
    /// All pages of a read see what the first one saw.
    PagesShareSnapshot,
    /// A shard that was claimed is read from its beginning, whatever was read of other shards.
    ClaimReadsAnew,
    /// Two cursors that are merged go on from the older one.
    MergeKeepsOlder,
    /// A message that was taken from a page is not taken again while a read may still return it.
    TakenIsRemembered,
    /// Whoever hands a shard over forgets its messages: those taken, and those on the page.
    HandOverForgets,
    /// A read that was sent before a claim or a hand-over moves no cursor, and its messages are not taken.
    OldReadIsDropped,
    /// A run knows the messages that it has logged, and logs none of them again.
    RunKnowsItsMessages,
    /// A consumed message is named by its id beside its number, which a failover may give to another message.
    ConsumedIsNamedById,
    /// A process whose connection broke begins to read anew, because the server may be another one.
    ReconnectReadsAnew,
}

impl check::Guard for Guard {
    const ALL: &'static [Self] = &[
        Self::ReadsBySnapshot,
        Self::PagesShareSnapshot,
        Self::ClaimReadsAnew,
        Self::MergeKeepsOlder,
        Self::TakenIsRemembered,
        Self::HandOverForgets,
        Self::OldReadIsDropped,
        Self::RunKnowsItsMessages,
        Self::ConsumedIsNamedById,
        Self::ReconnectReadsAnew,
    ];

    fn protects(self) -> &'static str {
        match self {
            Self::ReadsBySnapshot
            | Self::ClaimReadsAnew
            | Self::MergeKeepsOlder
            | Self::OldReadIsDropped
            | Self::ReconnectReadsAnew => property::NOTHING_WAITS_FOR_EVER,
            Self::PagesShareSnapshot => property::IN_ORDER,
            Self::TakenIsRemembered | Self::HandOverForgets => property::NO_CONFLICT,
            Self::RunKnowsItsMessages => property::LOGGED_ONCE,
            Self::ConsumedIsNamedById => property::NEVER_LOST,
        }
    }
}
