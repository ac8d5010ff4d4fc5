//! A process: what it remembers of its lease, and the appends that it sends. It sees the database only through answers.

/// What a process has in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) lease: Option<u8>,
    /// The last append that was acknowledged.
    pub(crate) committed: u8,
    /// The shard, if the process serves it.
    pub(crate) served: Option<Served>,
    /// The append whose outcome is not known.
    pub(crate) in_flight: Option<Append>,
}

/// What a process remembers of a shard that it serves, from the answer to its claim on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Served {
    /// The claim by which it was taken.
    pub(crate) claim: u8,
    /// The next position of its log.
    pub(crate) position: u8,
}

/// A batch for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Append {
    pub(crate) lease: u8,
    pub(crate) number: u8,
    /// Differs between any two appends that were cut.
    pub(crate) digest: u8,
    /// The claim by which its process believes to own the shard.
    pub(crate) claim: u8,
    /// The position of its first event.
    pub(crate) position: u8,
    /// The events, as bits.
    pub(crate) events: u8,
    /// Whether the shard is released in the same commit.
    pub(crate) hands_over: bool,
}

impl Append {
    /// The events one by one, in their order.
    pub(crate) fn events(&self) -> impl Iterator<Item = u8> + use<> {
        let events = self.events;
        (0..u8::BITS).map(|bit| 1 << bit).filter(move |event| events & event != 0)
    }
}

/// An append on its way to the database, or under way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AppendCall {
    pub(crate) append: Append,
    pub(crate) by: u8,
    /// Whether its checks have passed: its lease is locked, and its commit is next.
    pub(crate) checked: bool,
}

impl Process {
    /// Drops everything that was built on the lease, and returns the lease.
    pub(crate) fn lose(&mut self) -> Option<u8> {
        std::mem::take(self).lease
    }

    /// The append in flight was applied.
    pub(crate) fn acknowledged(&mut self, append: &Append) {
        self.in_flight = None;
        self.committed = append.number;
        let written = u8::try_from(append.events().count()).expect("few events");
        self.served = self.served.filter(|_| !append.hands_over);
        if let Some(served) = &mut self.served {
            served.position = append.position + written;
        }
    }
}
