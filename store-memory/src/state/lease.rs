//! Decides which lease may write to which shard: claims, heartbeats, takeovers, releases. It must not know what is
//! written.

use std::collections::{BTreeMap, BTreeSet};

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{AppendNo, ClaimId, LeaseId, RunId, ShardId};
use pgworkflows_core::store::{
    Claim, Claimed, ClaimedShard, Heartbeat, HeartbeatAnswer, Hint, LeaseAnswer, LeaseHeartbeat, Release,
    StoreError, Suspect, SuspectStage,
};

use super::{Lease, Row, Run, Shard, State};
use crate::fact::Fact;

impl State {
    /// Claims free shards, including those of expired leases.
    pub(crate) fn claim(&mut self, now: Timestamp, claim: &Claim) -> Result<Claimed, StoreError> {
        let queue = self.queue_shards(&claim.queue)?;
        let id = match claim.lease {
            Some(id) => id,
            None => self.make_lease(&claim.queue, &claim.worker),
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
        let members = self.members(now, &claim.queue).len().max(1);
        let lease = self.leases.get_mut(&id).expect("it was spared");
        let mean = usize::from(queue.count).div_ceil(members);
        let limit = usize::from(claim.limit).min(if claim.lease.is_some() { usize::MAX } else { mean });
        let room = limit.saturating_sub(lease.shards.len());
        let rows = &mut self.shards;
        let is_free = |shard: &ShardId| rows[usize::from(shard.get())].owner.is_none();
        let free: Vec<_> = queue.iter().filter(is_free).take(room).collect();
        self.facts.push(|| Fact::Claimed { lease: id, shards: free.clone() });
        for shard in free {
            let row = &mut rows[usize::from(shard.get())];
            (row.owner, row.claim) = (Some(id), claim_id);
            lease.shards.insert(shard);
        }
        let claimed = |shard: &ShardId| {
            let Shard { claim, next_position, deaths, former, .. } = &rows[usize::from(shard.get())];
            let (claim, next_position, deaths) = (*claim, *next_position, *deaths);
            ClaimedShard { shard: *shard, claim, next_position, deaths, former: former.clone() }
        };
        let shards = lease.shards.iter().map(claimed).collect();
        let suspects = self.suspects.values().filter(|suspect| lease.shards.contains(&suspect.run.shard()));
        Ok(Claimed { lease: id, shards, suspects: suspects.copied().collect(), now })
    }

    /// Renews leases and looks for work.
    pub(crate) fn heartbeat(
        &mut self,
        now: Timestamp,
        heartbeat: &Heartbeat,
    ) -> Result<HeartbeatAnswer, StoreError> {
        let queue = self.queue_shards(&heartbeat.queue)?;
        let mut leases = heartbeat
            .leases
            .iter()
            .map(|lease| self.heartbeat_of_lease(now, lease))
            .collect::<Result<Vec<LeaseAnswer>, _>>()?;
        // Also leases without shards: no claim would ever take over from a standby process that was killed.
        let own: Vec<_> = heartbeat.leases.iter().map(|lease| lease.lease).collect();
        self.fence_expired(now, &own);
        self.fence_executors(now, None);
        let claimable = queue.iter().filter(|shard| self.is_claimable(now, *shard)).count() as u16;
        let members = self.members(now, &heartbeat.queue);
        for answer in &mut leases {
            let place = members.iter().position(|member| *member == answer.lease);
            answer.place = place.map_or(0, |place| place as u32);
        }
        let others = members.iter().filter(|member| !own.contains(member));
        let next_expiry = others.map(|other| self.leases[other].expires_at.saturating_since(now)).min();
        Ok(HeartbeatAnswer { now, leases, claimable, members: members.len() as u32, next_expiry })
    }

    /// The live leases of a queue, in the order in which they get a shard more than others.
    fn members(&self, now: Timestamp, queue: &str) -> Vec<LeaseId> {
        let is_live = |lease: &Lease| lease.queue == queue && lease.expires_at > now;
        let live = self.leases.iter().filter(|(_, lease)| is_live(lease));
        let mut members: Vec<_> = live.map(|(id, lease)| (*id, lease.shards.len())).collect();
        let shards = self.queues.get(queue).map_or(0, |shards| usize::from(shards.count));
        let floor = shards / members.len().max(1);
        // Ids ascend with age.
        members.sort_by_key(|(id, owned)| (*owned <= floor, *id));
        members.into_iter().map(|(id, _)| id).collect()
    }

    fn heartbeat_of_lease(
        &mut self,
        now: Timestamp,
        heartbeat: &LeaseHeartbeat,
    ) -> Result<LeaseAnswer, StoreError> {
        let lost =
            LeaseAnswer { lease: heartbeat.lease, held: false, shards: 0, place: 0, mail: false, due: false };
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
        self.hint(Hint::Released);
    }

    fn strike(&mut self, run: RunId) {
        if !self.is_over(run) {
            let suspect = Suspect { run, stage: SuspectStage::Held, strikes: 0 };
            self.suspects.entry(run).or_insert(suspect).strikes += 1;
        }
    }

    pub(super) fn is_over(&self, run: RunId) -> bool {
        matches!(self.runs.get(&run), Some(Run { row: Row::Closed(_), .. }))
    }

    /// Lets every lease expire.
    pub(crate) fn expire_leases(&mut self, now: Timestamp) {
        for lease in self.leases.values_mut() {
            lease.expires_at = lease.expires_at.min(now);
        }
        self.tasks.expire(now);
    }

    fn make_lease(&mut self, queue: &str, worker: &str) -> LeaseId {
        self.last_lease += 1;
        let id = LeaseId::new(self.last_lease);
        self.insert_lease(id, queue, worker);
        id
    }

    fn insert_lease(&mut self, id: LeaseId, queue: &str, worker: &str) {
        let lease = Lease {
            queue: queue.to_owned(),
            worker: worker.to_owned(),
            expires_at: Timestamp::MIN,
            renewed_at: Timestamp::MIN,
            live_runs: 0,
            shards: BTreeSet::new(),
            appends: BTreeMap::from([(AppendNo::new(0), [0; 32])]),
        };
        self.leases.insert(id, lease);
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

    fn is_claimable(&self, now: Timestamp, shard: ShardId) -> bool {
        let owner = self.shard(shard).and_then(|shard| shard.owner);
        owner.is_none_or(|owner| self.leases[&owner].expires_at <= now)
    }
}

pub(super) fn fenced(lease: LeaseId) -> StoreError {
    StoreError::fenced(format!("lease {lease} was fenced, or is not known here"))
}
