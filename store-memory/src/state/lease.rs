//! Decides which lease may write to which shard: claims, heartbeats, takeovers, releases. It must not know what is
//! written.

use std::collections::{BTreeMap, BTreeSet};

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{AppendNo, ClaimId, LeaseId, Name, RunId, ShardId};
use pgworkflows_core::store::{
    Claim, Claimed, ClaimedShard, Heartbeat, HeartbeatAnswer, Hint, LeaseAnswer, LeaseHeartbeat, Release,
    Standing, StoreError, Suspect, SuspectStage,
};

use super::{Lease, Row, Shard, State};
use crate::fact::Fact;

impl State {
    /// Claims free shards, including those of expired leases.
    pub(crate) fn claim(&mut self, now: Timestamp, claim: &Claim) -> Result<Claimed, StoreError> {
        let queue = self.queue_shards(&claim.queue)?;
        let id = match claim.lease {
            Some(id) => id,
            None => self.make_lease(now, claim),
        };
        // Its own lease first, so that a claim which comes late finds it as valid as a heartbeat would.
        let lease = self.leases.get_mut(&id).ok_or_else(|| fenced(id))?;
        lease.expires_at = now.saturating_add(claim.ttl);
        lease.renewed_at = now;
        let until = lease.expires_at;
        self.facts.push(|| Fact::Renewed { lease: id, until });
        self.fence_expired(now, &[id]);
        self.last_claim += 1;
        let claim_id = ClaimId::new(self.last_claim);
        let mean = usize::from(queue.count).div_ceil(self.live(now, &claim.queue).len().max(1));
        let limit = usize::from(claim.limit).min(if claim.lease.is_some() { usize::MAX } else { mean });
        let room = limit.saturating_sub(self.leases[&id].shards.len());
        let taken: Vec<_> = self.claimable(now, &claim.queue, id).into_iter().take(room).collect();
        self.facts.push(|| Fact::Claimed { lease: id, shards: taken.clone() });
        for shard in taken {
            let row = self.shard_mut(shard);
            (row.owner, row.claim, row.released_by) = (Some(id), claim_id, None);
            self.leases.get_mut(&id).expect("it was spared").shards.insert(shard);
        }
        self.forget_needs(id);
        let lease = &self.leases[&id];
        let claimed = |shard: &ShardId| {
            let Shard { claim, next_position, deaths, former, needs, .. } =
                &self.shards[usize::from(shard.get())];
            let (claim, next_position, deaths) = (*claim, *next_position, *deaths);
            let (former, needs) = (former.clone(), needs.iter().cloned().collect());
            ClaimedShard { shard: *shard, claim, next_position, deaths, former, needs }
        };
        let shards = lease.shards.iter().map(claimed).collect();
        let suspects = self.suspects.values().filter(|suspect| lease.shards.contains(&suspect.run.shard()));
        Ok(Claimed { lease: id, shards, suspects: suspects.copied().collect(), now })
    }

    /// The owner of shards does not know these workflows, so nobody begins runs of them while it lives: those without an open
    /// run are needed no longer. This looks at every run, but only for workflows that no worker knows any more.
    fn forget_needs(&mut self, id: LeaseId) {
        let lease = &self.leases[&id];
        for shard in lease.shards.clone() {
            let needs = &self.shards[usize::from(shard.get())].needs;
            let unknown = needs.iter().filter(|need| !self.leases[&id].build.workflows.contains(*need));
            let is_open = |run: RunId, workflow: &Name| {
                run.shard() == shard && self.runs[&run].workflow == *workflow && self.is_open(run)
            };
            let over = |need: &&Name| !self.runs.sorted().into_iter().any(|(run, _)| is_open(*run, need));
            let over: Vec<Name> = unknown.filter(over).cloned().collect();
            self.shard_mut(shard).needs.retain(|need| !over.contains(need));
        }
    }

    /// Renews leases and looks for work.
    pub(crate) fn heartbeat(
        &mut self,
        now: Timestamp,
        heartbeat: &Heartbeat,
    ) -> Result<HeartbeatAnswer, StoreError> {
        let queue = self.queue_shards(&heartbeat.queue)?;
        // First, because what runs are told of their tasks is mail.
        self.fence_executors(now, None);
        let mut leases = heartbeat
            .leases
            .iter()
            .map(|lease| self.heartbeat_of_lease(now, lease))
            .collect::<Result<Vec<LeaseAnswer>, _>>()?;
        // Also leases without shards: no claim would ever take over from a standby process that was killed.
        let own: Vec<_> = heartbeat.leases.iter().map(|lease| lease.lease).collect();
        self.fence_expired(now, &own);
        for answer in &mut leases {
            answer.standing = self.standing(now, &heartbeat.queue, answer.lease);
        }
        let live = self.live(now, &heartbeat.queue);
        let is_misplaced = |shard: &ShardId| {
            let owner = self.shards[usize::from(shard.get())].owner;
            owner.is_some_and(|owner| own.contains(&owner) && !self.may_own(&live, owner, *shard))
        };
        let misplaced = queue.iter().filter(is_misplaced).collect();
        let others = live.iter().filter(|lease| !own.contains(lease));
        let next_expiry = others.map(|other| self.leases[other].expires_at.saturating_since(now)).min();
        Ok(HeartbeatAnswer { now, leases, misplaced, next_expiry })
    }

    /// The live leases of a queue, the oldest first: ids ascend with age.
    fn live(&self, now: Timestamp, queue: &str) -> Vec<LeaseId> {
        let is_live = |lease: &Lease| lease.queue == queue && lease.expires_at > now;
        self.leases.iter().filter(|(_, lease)| is_live(lease)).map(|(id, _)| *id).collect()
    }

    /// What a lease may own among the live leases of its queue.
    fn standing(&self, now: Timestamp, queue: &str, id: LeaseId) -> Standing {
        let live = self.live(now, queue);
        if !live.contains(&id) {
            return Standing::default();
        }
        let succeeds = |other: &&LeaseId| self.leases[*other].build.succeeds(&self.leases[&id].build);
        let mut members: Vec<_> =
            live.iter().filter(succeeds).map(|other| (*other, self.leases[other].shards.len())).collect();
        let free = self.free(now, queue).len();
        let shared = free + members.iter().map(|(_, owned)| owned).sum::<usize>();
        let floor = shared / members.len();
        members.sort_by_key(|(other, owned)| (*owned <= floor, *other));
        Standing {
            members: members.len() as u32,
            place: members.iter().position(|(other, _)| *other == id).map_or(0, |place| place as u32),
            shared: shared as u16,
            claimable: self.claimable(now, queue, id).len() as u16,
            outdated: self.is_outdated(&live, id),
        }
    }

    fn is_outdated(&self, live: &[LeaseId], id: LeaseId) -> bool {
        live.iter().any(|other| self.leases[other].build.outdates(&self.leases[&id].build))
    }

    /// The shards that a lease may claim.
    fn claimable(&self, now: Timestamp, queue: &str, id: LeaseId) -> Vec<ShardId> {
        let live = self.live(now, queue);
        if self.is_outdated(&live, id) {
            return Vec::new();
        }
        let may_claim =
            |shard: &ShardId| self.may_own(&live, id, *shard) && !self.is_kept_from(&live, id, *shard);
        self.free(now, queue).into_iter().filter(may_claim).collect()
    }

    /// Whether a live lease that may own a shard has released it to others: to those that succeed its build.
    fn is_kept_from(&self, live: &[LeaseId], id: LeaseId, shard: ShardId) -> bool {
        let from = self.shards[usize::from(shard.get())].released_by.filter(|from| live.contains(from));
        from.is_some_and(|from| {
            !self.leases[&id].build.succeeds(&self.leases[&from].build) && self.may_own(live, from, shard)
        })
    }

    /// Whether a lease knows what a shard needs, as far as any live lease knows it, or no live lease does.
    fn may_own(&self, live: &[LeaseId], id: LeaseId, shard: ShardId) -> bool {
        let build = |lease: &LeaseId| &self.leases[lease].build;
        let is_known = |need: &&Name| live.iter().any(|lease| build(lease).workflows.contains(*need));
        let needs: Vec<&Name> = self.shards[usize::from(shard.get())].needs.iter().filter(is_known).collect();
        let knows = |lease: &LeaseId| build(lease).knows(needs.iter().copied());
        knows(&id) || !live.iter().any(knows)
    }

    fn heartbeat_of_lease(
        &mut self,
        now: Timestamp,
        heartbeat: &LeaseHeartbeat,
    ) -> Result<LeaseAnswer, StoreError> {
        let (lease, standing) = (heartbeat.lease, Standing::default());
        let lost = LeaseAnswer { lease, held: false, shards: 0, standing, mail: false, due: false };
        let Some(lease) = self.leases.get_mut(&heartbeat.lease) else { return Ok(lost) };
        if lease.appends.last_key_value().is_none_or(|(last, _)| *last < heartbeat.committed) {
            // Commits were lost.
            return Ok(lost);
        }
        // An expired lease is valid until it is fenced.
        if let Some(ttl) = heartbeat.renew {
            let until = now.saturating_add(ttl);
            lease.expires_at = until;
            (lease.renewed_at, lease.live_runs) = (now, heartbeat.live_runs);
            self.facts.push(|| Fact::Renewed { lease: heartbeat.lease, until });
        }
        let lease = &self.leases[&heartbeat.lease];
        for shard in &lease.shards {
            let shard = &mut self.shards[usize::from(shard.get())];
            shard.deaths = shard.deaths.min(heartbeat.deaths_max);
        }
        let mail = self.inbox.has_mail(&lease.shards, &heartbeat.cursor)?;
        let due = lease.shards.iter().any(|shard| {
            self.due_of_shard(*shard, heartbeat.due_after, heartbeat.due_until).next().is_some()
        });
        Ok(LeaseAnswer { held: true, shards: lease.shards.len() as u16, mail, due, ..lost })
    }

    /// Ends a lease in an orderly way, which counts as no death.
    pub(crate) fn release(&mut self, release: &Release) {
        let Release { lease: id, at_fault } = *release;
        let lease = self.leases.get(&id).cloned();
        self.end_lease(id, true, |shard| shard.former = None);
        // A run is blamed once per lease, even if the lease was fenced in between.
        if let Some(run) = at_fault
            && self.blameless.remove(&id)
        {
            self.strike(run);
        }
        let Some(lease) = lease else { return };
        for suspect in
            self.suspects.values_mut().filter(|suspect| lease.shards.contains(&suspect.run.shard()))
        {
            if suspect.stage == SuspectStage::Tried {
                suspect.stage = SuspectStage::Held;
                if at_fault != Some(suspect.run) {
                    suspect.strikes = 0;
                }
            }
        }
    }

    /// Frees one shard of a lease, which counts as no death.
    pub(super) fn release_shard(&mut self, id: LeaseId, shard: ShardId) {
        self.leases.get_mut(&id).map(|lease| lease.shards.remove(&shard));
        let row = self.shard_mut(shard);
        (row.owner, row.former) = (None, None);
        row.released_by = Some(id);
        self.hint(Hint::Released);
    }

    fn strike(&mut self, run: RunId) {
        if !self.is_over(run) {
            let suspect = Suspect { run, stage: SuspectStage::Held, strikes: 0 };
            self.suspects.entry(run).or_insert(suspect).strikes += 1;
        }
    }

    pub(super) fn is_over(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(|run| matches!(run.row, Row::Closed(_)))
    }

    /// Lets every lease expire.
    pub(crate) fn expire_leases(&mut self, now: Timestamp) {
        for lease in self.leases.values_mut() {
            lease.expires_at = lease.expires_at.min(now);
        }
        self.tasks.expire(now);
    }

    fn make_lease(&mut self, now: Timestamp, claim: &Claim) -> LeaseId {
        self.last_lease += 1;
        let id = LeaseId::new(self.last_lease);
        self.insert_lease(now, id, claim);
        id
    }

    fn insert_lease(&mut self, now: Timestamp, id: LeaseId, claim: &Claim) {
        for workflow in &claim.build.workflows {
            let queues = self.known_queues.entry(workflow.clone()).or_default();
            queues.insert(claim.queue.clone(), now);
        }
        let lease = Lease {
            queue: claim.queue.clone(),
            worker: claim.worker.clone(),
            build: claim.build.clone(),
            expires_at: Timestamp::MIN,
            renewed_at: Timestamp::MIN,
            live_runs: 0,
            shards: BTreeSet::new(),
            appends: BTreeMap::from([(AppendNo::new(0), [0; 32])]),
        };
        self.leases.insert(id, lease);
        self.facts.push(|| Fact::Leased { lease: id, build: claim.build.clone() });
    }

    /// Fences the expired leases of others. The scan is short, because there is one lease per processor.
    fn fence_expired(&mut self, now: Timestamp, own: &[LeaseId]) {
        let expired = self.leases.iter().filter(|(id, lease)| !own.contains(id) && lease.expires_at <= now);
        let expired = expired.map(|(id, _)| *id);
        for lease in expired.collect::<Vec<_>>() {
            let worker = self.leases[&lease].worker.clone();
            self.end_lease(lease, false, |shard| {
                shard.deaths += 1;
                shard.former = Some(worker.clone());
            });
        }
    }

    fn end_lease(&mut self, id: LeaseId, released: bool, account: impl Fn(&mut Shard)) {
        let Some(lease) = self.leases.remove(&id) else { return };
        self.blameless.insert(id);
        for shard in &lease.shards {
            let shard = self.shard_mut(*shard);
            shard.owner = None;
            account(shard);
        }
        self.facts.push(|| Fact::Ended { lease: id, released });
        if !lease.shards.is_empty() {
            self.hint(Hint::Released);
        }
    }

    /// The shards of a queue without a live owner.
    fn free(&self, now: Timestamp, queue: &str) -> Vec<ShardId> {
        let is_free = |shard: &ShardId| {
            let owner = self.shard(*shard).and_then(|shard| shard.owner);
            owner.is_none_or(|owner| self.leases[&owner].expires_at <= now)
        };
        self.queues.get(queue).into_iter().flat_map(|shards| shards.iter()).filter(is_free).collect()
    }
}

pub(super) fn fenced(lease: LeaseId) -> StoreError {
    StoreError::fenced(format!("lease {lease} was fenced, or is not known here"))
}
