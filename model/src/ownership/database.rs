//! The committed tables `leases`, `shards`, `appends` and `frames`, as far as one shard needs them. It must not know who
//! reads and writes them.

use crate::ownership::process::Append;

/// The committed rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    /// The leases. A lease's id is its index: ids are never reused, so a failover leaves them in place and fences nothing,
    /// but marks as missing those that the standby did not have.
    pub(crate) leases: Vec<Lease>,
    /// The shard's owner.
    pub(crate) owner: Option<u8>,
    /// The claim by which the shard was taken last.
    pub(crate) claim: u8,
    /// The appends that were applied, in the order of their commits. Only the last two of a lease are kept.
    pub(crate) applied: Vec<Applied>,
    /// The shard's log, in the order of commits.
    pub(crate) log: Vec<Frame>,
}

/// A row of `leases`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    /// Whether its time has run out by the database's clock.
    pub(crate) expired: bool,
    pub(crate) fenced: bool,
    /// The row was lost in a failover.
    pub(crate) missing: bool,
}

/// A row of `appends`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Applied {
    pub(crate) lease: u8,
    pub(crate) number: u8,
    pub(crate) digest: u8,
}

/// A row of `frames`: one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Frame {
    pub(crate) position: u8,
    /// The event, a single bit.
    pub(crate) event: u8,
}

impl Database {
    /// Whether writes under the lease are refused for good.
    pub(crate) fn is_fenced(&self, lease: u8) -> bool {
        let lease = self.leases[usize::from(lease)];
        lease.fenced || lease.missing
    }

    /// Whether a claim may take the shard: nobody owns it, or its lease is fenced.
    pub(crate) fn is_free(&self) -> bool {
        self.owner.is_none_or(|lease| self.is_fenced(lease))
    }

    /// Inserts a lease with its append number 0.
    pub(crate) fn new_lease(&mut self) -> u8 {
        self.leases.push(Lease { expired: false, fenced: false, missing: false });
        let lease = u8::try_from(self.leases.len() - 1).expect("few leases");
        self.applied.push(Applied { lease, number: 0, digest: 0 });
        lease
    }

    /// Fences a lease for good.
    pub(crate) fn fence(&mut self, lease: u8) {
        self.leases[usize::from(lease)].fenced = true;
    }

    /// The digest of the append that was applied under this number.
    pub(crate) fn digest(&self, lease: u8, number: u8) -> Option<u8> {
        let row = self.applied.iter().find(|row| (row.lease, row.number) == (lease, number));
        row.map(|row| row.digest)
    }

    /// The position after the log's greatest.
    pub(crate) fn next_position(&self) -> u8 {
        self.log.iter().map(|frame| frame.position).max().unwrap_or(0) + 1
    }

    /// Writes an append's content: its number, its frames, and the release of the shard.
    pub(crate) fn apply(&mut self, append: &Append, numbered: bool) {
        if numbered {
            let Append { lease, number, digest, .. } = *append;
            self.applied.push(Applied { lease, number, digest });
            self.applied.retain(|row| row.lease != lease || row.number + 1 >= number);
        }
        for (position, event) in (append.position..).zip(append.events()) {
            self.log.push(Frame { position, event });
        }
        if append.hands_over && self.owner == Some(append.lease) {
            self.owner = None;
        }
    }
}
