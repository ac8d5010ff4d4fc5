//! Appends: how a process cuts and sends them, and what the database does with each attempt. The steps are those of the
//! append protocol.

use crate::check::Guards;
use crate::ownership::process::{Append, AppendCall, Served};
use crate::ownership::{Guard, State, property};
use crate::spend::spend;

impl State {
    pub(super) fn cut(&mut self, by: u8, hands_over: bool) -> Option<()> {
        let process = &self.processes[usize::from(by)];
        let (Some(lease), Some(served), None) = (process.lease, process.served, process.in_flight) else {
            return None;
        };
        let number = process.committed + 1;
        let (digest, events) = self.new_event()?;
        let Served { claim, position } = served;
        self.send(by, Append { lease, number, digest, claim, position, events, hands_over })
    }

    /// The next event, and the digest of the append that is the first to have it.
    pub(super) fn new_event(&mut self) -> Option<(u8, u8)> {
        spend(&mut self.left.cuts)?;
        let digest = self.left.cuts;
        Some((digest + 1, 1 << digest))
    }

    pub(super) fn send(&mut self, by: u8, append: Append) -> Option<()> {
        self.processes[usize::from(by)].in_flight = Some(append);
        self.appends.push(AppendCall { append, by, checked: false });
        Some(())
    }

    /// This attempt wrote nothing, but an earlier one may have. What is cut anew holds one event more.
    pub(super) fn decline(&mut self, guards: &Guards<Guard>, call: usize) -> Option<()> {
        let AppendCall { append, by, .. } = self.appends.remove(call);
        if self.processes[usize::from(by)].in_flight != Some(append) {
            return None;
        }
        spend(&mut self.left.declines)?;
        let (digest, event) = self.new_event()?;
        let number = append.number + u8::from(!guards.has(Guard::RecutKeepsNumber));
        self.send(by, Append { number, digest, events: append.events | event, ..append })
    }

    /// Steps 0 to 3 of the append protocol, in statements of their own under the lease's lock.
    pub(super) fn check(&mut self, guards: &Guards<Guard>, call: usize) -> Option<()> {
        let AppendCall { append, by, .. } = self.appends[call];
        let Append { lease, number, digest, .. } = append;
        if guards.has(Guard::AppendLocksLease) && self.is_locked(guards, lease) {
            return None;
        }
        // The unique key of `appends` makes two copies of one append wait for each other.
        let same = |other: &AppendCall| (other.append.lease, other.append.number) == (lease, number);
        if self.appends.iter().any(|other| other.checked && same(other)) {
            return None;
        }
        let numbered = guards.has(Guard::HandOverIsAnAppend) || !append.hands_over;
        if numbered {
            if guards.has(Guard::AppendChecksFence) && self.database.is_fenced(lease) {
                return self.refuse(call);
            }
            let applied = self.database.digest(lease, number);
            let is_repetition =
                applied == Some(digest) || applied.is_some() && !guards.has(Guard::DigestIsCompared);
            if is_repetition && guards.has(Guard::RepetitionWritesNothing) {
                self.appends.remove(call);
                return self.acknowledge(by, &append);
            }
            let is_other = applied.is_some() && !is_repetition;
            let is_orphan = self.database.digest(lease, number - 1).is_none();
            if is_other || is_orphan && guards.has(Guard::PredecessorIsRequired) && !is_repetition {
                return self.refuse(call);
            }
            let owner = self.database.owner == Some(lease);
            let claim = self.database.claim == append.claim || !guards.has(Guard::AppendNamesClaim);
            if !owner && guards.has(Guard::AppendChecksOwner) || owner && !claim {
                return self.refuse(call);
            }
        }
        self.appends[call].checked = true;
        Some(())
    }

    /// The append is refused for good, and its process drops what it built on the lease.
    pub(super) fn refuse(&mut self, call: usize) -> Option<()> {
        let AppendCall { append, by, .. } = self.appends.remove(call);
        if self.processes[usize::from(by)].in_flight == Some(append) { self.lose(by) } else { Some(()) }
    }

    /// Step 4 of the append protocol, and the commit.
    pub(super) fn commit(&mut self, guards: &Guards<Guard>, call: usize, heard: bool) -> Option<()> {
        let AppendCall { append, by, .. } = self.appends.remove(call);
        let owns = self.database.owner == Some(append.lease);
        let numbered = guards.has(Guard::HandOverIsAnAppend) || !append.hands_over;
        if numbered && (!owns || self.database.is_fenced(append.lease)) {
            self.breaks(property::ONLY_THE_OWNER_WRITES);
        }
        if append.hands_over && owns && self.database.claim != append.claim {
            self.breaks(property::LATE_RELEASE_IS_HARMLESS);
        }
        let mut written = append;
        if !numbered {
            written.events = 0;
        }
        self.database.apply(&written, numbered);
        if heard { self.acknowledge(by, &append) } else { Some(()) }
    }

    pub(super) fn acknowledge(&mut self, by: u8, append: &Append) -> Option<()> {
        let process = &mut self.processes[usize::from(by)];
        if process.in_flight == Some(*append) {
            process.acknowledged(append);
            self.acknowledged |= append.events;
        }
        Some(())
    }
}
