//! Known bugs of stores, to order: a checker is believed once it has found each. No store that keeps anything has
//! one of these.

/// Which bugs a store has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// An append is written although its lease was fenced or released, and nothing behind that notices.
    pub fence_unchecked: bool,
    /// An append is written again when it is sent again, and nothing behind that notices.
    pub repetition_unchecked: bool,
    /// An append is written although the one before it is missing, and nothing behind that notices.
    pub previous_unchecked: bool,
    /// A release frees the shards and leaves the lease as it is; an append does not ask whose a shard is, and nothing
    /// behind that notices.
    pub ownership_unchecked: bool,
    /// A batch of another content under the number of the last append is taken for that append.
    pub digest_unchecked: bool,
    /// An operation goes by the time at which its request came, however long it waited since: a database's `now()`
    /// where its `clock_timestamp()` is meant.
    pub time_of_request: bool,
    /// Shards are taken from leases whose time has not passed.
    pub leases_stolen: bool,
    /// A message that an append took in stays in the inbox.
    pub messages_kept: bool,
    /// A deadline is forgotten when a run parks.
    pub deadlines_forgotten: bool,
    /// A release that comes again, after its lease is over, ends the newest lease: it goes by who asks.
    pub release_misdirected: bool,
    /// A claim that comes again, after its lease is over, makes the lease valid again.
    pub lease_revived: bool,
    /// A message that comes again while it waits is inserted again.
    pub message_doubled: bool,
    /// The messages that an append sends are not written.
    pub sent_lost: bool,
    /// An append that comes again sends its messages again.
    pub sent_doubled: bool,
    /// An append that is refused sends its messages all the same.
    pub sent_though_refused: bool,
}

impl Flaws {
    /// Whether what an append says is held against what is here.
    pub(crate) fn check_contents(self) -> bool {
        let Self { fence_unchecked, repetition_unchecked, previous_unchecked, .. } = self;
        let Self { ownership_unchecked, messages_kept, .. } = self;
        !(fence_unchecked
            || repetition_unchecked
            || previous_unchecked
            || ownership_unchecked
            || messages_kept)
    }
}
