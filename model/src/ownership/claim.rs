//! A claim: the statements of the function `claim`, and the read of the log after its commit. It must not know appends.

use crate::check::Guards;
use crate::ownership::process::Served;
use crate::ownership::{Guard, State, property};
use crate::spend::spend;

/// A claim on its way, under way, or answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClaimCall {
    /// The process that waits for the answer, unless it died.
    pub(crate) by: Option<u8>,
    /// The lease that is to own the shard; `None` asks for a new one.
    pub(crate) lease: Option<u8>,
    pub(crate) stage: Stage,
}

/// How far a claim has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    /// On its way.
    Sent,
    /// It has read which lease has expired, without a lock. `position` is what the log's end was then.
    Looked { expired: Option<u8>, position: u8 },
    /// It holds the locks of its own lease and of the one that it fences, and has read whether the shard is free.
    Locked { fences: Option<u8>, free: bool, position: u8 },
    /// It is committed.
    Committed { position: u8 },
    /// Its answer is on its way.
    Answered { served: Option<Served> },
}

impl ClaimCall {
    /// Whether it has locked this lease's row.
    pub(crate) fn locks(&self, guards: &Guards<Guard>, lease: u8) -> bool {
        match self.stage {
            Stage::Locked { fences, .. } => {
                fences == Some(lease) && guards.has(Guard::ClaimFencesOwner) || self.lease == Some(lease)
            }
            Stage::Sent | Stage::Looked { .. } | Stage::Committed { .. } | Stage::Answered { .. } => false,
        }
    }

    /// Takes the claim's next statement. `None` if it has to wait for a lock, or if there is none left.
    pub(crate) fn proceed(mut self, guards: &Guards<Guard>, state: &mut State) -> Option<Self> {
        self.stage = match self.stage {
            Stage::Sent => self.look(state),
            Stage::Looked { expired, position } => self.lock(guards, state, expired, position)?,
            Stage::Locked { fences, free, position } => {
                self.commit(guards, state, fences, free);
                Stage::Committed { position }
            }
            Stage::Committed { position } => self.read_log(guards, state, position),
            Stage::Answered { .. } => return None,
        };
        Some(self)
    }

    fn look(self, state: &State) -> Stage {
        let database = &state.database;
        let expired = database.owner.filter(|owner| {
            let is_expired = database.leases[usize::from(*owner)].expired;
            is_expired && !database.is_fenced(*owner) && self.lease != Some(*owner)
        });
        Stage::Looked { expired, position: database.next_position() }
    }

    fn lock(
        self,
        guards: &Guards<Guard>,
        state: &mut State,
        expired: Option<u8>,
        position: u8,
    ) -> Option<Stage> {
        let old_owner = expired.filter(|_| guards.has(Guard::ClaimFencesOwner));
        if self.lease.iter().chain(&old_owner).any(|lease| state.is_locked(guards, *lease)) {
            return None;
        }
        let still = |lease: &u8| state.database.leases[usize::from(*lease)].expired;
        let fences = expired.filter(|lease| !state.database.is_fenced(*lease));
        let fences = fences.filter(|lease| still(lease) || !guards.has(Guard::ClaimChecksExpiryAgain));
        if fences.is_some_and(|lease| !still(&lease)) {
            state.breaks(property::ONLY_EXPIRED_IS_FENCED);
        }
        let owner_is_fenced = state.database.owner.is_some_and(|owner| fences == Some(owner));
        Some(Stage::Locked { fences, free: state.database.is_free() || owner_is_fenced, position })
    }

    fn commit(&mut self, guards: &Guards<Guard>, state: &mut State, fences: Option<u8>, free: bool) {
        let database = &mut state.database;
        if self.lease.is_some_and(|lease| database.is_fenced(lease)) {
            return;
        }
        let lease = self.lease.unwrap_or_else(|| database.new_lease());
        self.lease = Some(lease);
        let own = &mut database.leases[usize::from(lease)];
        own.expired = false;
        let mut free_now = database.is_free() || fences.is_some() && database.owner == fences;
        if let Some(fenced) = fences
            && guards.has(Guard::ClaimFencesOwner)
        {
            database.fence(fenced);
        }
        if !guards.has(Guard::ClaimChecksFreeAgain) {
            free_now = true;
        }
        if free && free_now && database.owner != Some(lease) {
            state.claims_made += 1;
            database.owner = Some(lease);
            database.claim = state.claims_made;
        }
    }

    fn read_log(self, guards: &Guards<Guard>, state: &State, early: u8) -> Stage {
        let database = &state.database;
        let owns = self.lease.is_some_and(|lease| !database.is_fenced(lease))
            && database.owner.is_some_and(|owner| self.lease == Some(owner));
        let now = database.next_position();
        let position = if guards.has(Guard::LogIsReadAfterClaim) { now } else { early };
        Stage::Answered { served: owns.then_some(Served { claim: database.claim, position }) }
    }
}

impl State {
    pub(super) fn send_claim(&mut self, by: u8) -> Option<()> {
        if self.claims.iter().any(|claim| claim.by == Some(by)) {
            return None;
        }
        spend(&mut self.left.claims)?;
        let lease = self.processes[usize::from(by)].lease;
        self.claims.push(ClaimCall { by: Some(by), lease, stage: Stage::Sent });
        Some(())
    }

    /// Hands an answer over. A process skips a shard that it serves already, unless it was claimed again since: then what the
    /// process remembers of it is of no use.
    pub(super) fn answer_claim(&mut self, guards: &Guards<Guard>, call: usize) -> Option<()> {
        let Stage::Answered { served } = self.claims[call].stage else { return None };
        let claim = self.claims.remove(call);
        let Some(by) = claim.by else { return Some(()) };
        let process = &mut self.processes[usize::from(by)];
        process.lease = claim.lease;
        let is_other = |known: Served| served.is_some_and(|served| served.claim != known.claim);
        if guards.has(Guard::AppendNamesClaim) && process.served.is_some_and(is_other) {
            return self.lose(by);
        }
        process.served = process.served.or(served);
        Some(())
    }
}
