//! Which lease may own which shard of a queue: decided on what was read, without a statement. It must not write.

use std::collections::BTreeSet;

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{ClaimId, LeaseId, Name, Position, ShardId};
use pgworkflows_core::store::{Build, Standing, StoreError};

use crate::connection::{Connection, sql};
use crate::values::get;

/// The oldest first.
const LIVE: &str = "
    select lease, worker, generation, workflows, expires_at from leases
    where queue = ? and not fenced and expires_at > ? order by claimed_at, lease";

const SHARDS: &str = "
    select shard, lease, claim, next_position, deaths, former, released_by from shards where queue = ? order by shard";

const NEEDS: &str = "
    select n.shard, n.workflow from shards s join shard_needs n on n.shard = s.shard where s.queue = ?";

/// The live leases and the shards of a queue.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// The oldest first.
    pub(crate) live: Vec<Lease>,
    /// Ascending.
    pub(crate) shards: Vec<Shard>,
}

/// A live lease.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    pub(crate) worker: String,
    pub(crate) build: Build,
    pub(crate) expires_at: Timestamp,
}

/// A shard.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) owner: Option<LeaseId>,
    pub(crate) claim: ClaimId,
    pub(crate) next_position: Position,
    pub(crate) deaths: u32,
    pub(crate) former: Option<String>,
    pub(crate) released_by: Option<LeaseId>,
    pub(crate) needs: BTreeSet<Name>,
}

impl Fleet {
    /// Reads the fleet of a queue.
    pub(crate) async fn load(
        connection: &mut Connection,
        now: Timestamp,
        queue: &str,
    ) -> Result<Self, StoreError> {
        let live = connection.fetch(sql(LIVE).bind(queue).bind(now)).await?;
        let lease = |row| {
            let build = Build { generation: get(row, 2)?, workflows: names(&get::<String>(row, 3)?) };
            Ok(Lease { id: get(row, 0)?, worker: get(row, 1)?, build, expires_at: get(row, 4)? })
        };
        let live = live.iter().map(lease).collect::<Result<_, StoreError>>()?;
        let shards = connection.fetch(sql(SHARDS).bind(queue)).await?;
        let shard = |row| {
            Ok(Shard {
                id: get(row, 0)?,
                owner: get(row, 1)?,
                claim: get(row, 2)?,
                next_position: get(row, 3)?,
                deaths: get(row, 4)?,
                former: get(row, 5)?,
                released_by: get(row, 6)?,
                needs: BTreeSet::new(),
            })
        };
        let shards = shards.iter().map(shard).collect::<Result<_, StoreError>>()?;
        let mut fleet = Self { live, shards };
        for row in connection.fetch(sql(NEEDS).bind(queue)).await? {
            let (id, workflow): (ShardId, Name) = (get(&row, 0)?, get(&row, 1)?);
            if let Ok(place) = fleet.shards.binary_search_by_key(&id, |shard| shard.id) {
                fleet.shards[place].needs.insert(workflow);
            }
        }
        Ok(fleet)
    }

    fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.live.iter().find(|lease| lease.id == id)
    }

    /// How many shards a lease owns.
    pub(crate) fn owned(&self, id: LeaseId) -> usize {
        self.shards.iter().filter(|shard| shard.owner == Some(id)).count()
    }

    /// The shards without a live owner.
    fn free(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().filter(|shard| shard.owner.is_none_or(|owner| self.lease(owner).is_none()))
    }

    /// What a lease may own.
    pub(crate) fn standing(&self, id: LeaseId) -> Standing {
        let Some(lease) = self.lease(id) else { return Standing::default() };
        let members = self.live.iter().filter(|other| other.build.succeeds(&lease.build));
        let members: Vec<_> = members.map(|other| (other.id, self.owned(other.id))).collect();
        let shared = self.free().count() + members.iter().map(|(_, owned)| owned).sum::<usize>();
        let floor = shared / members.len();
        // A stable sort: among equals the oldest stays first.
        let mut places = members.clone();
        places.sort_by_key(|(_, owned)| *owned <= floor);
        Standing {
            members: members.len() as u32,
            place: places.iter().position(|(other, _)| *other == id).map_or(0, |place| place as u32),
            shared: shared as u16,
            claimable: self.claimable(id).count() as u16,
            outdated: self.is_outdated(lease),
        }
    }

    fn is_outdated(&self, lease: &Lease) -> bool {
        self.live.iter().any(|other| other.build.outdates(&lease.build))
    }

    /// The shards that a lease may claim, ascending.
    pub(crate) fn claimable(&self, id: LeaseId) -> impl Iterator<Item = &Shard> {
        let lease = self.lease(id).filter(|lease| !self.is_outdated(lease));
        lease.into_iter().flat_map(move |lease| {
            self.free().filter(move |shard| self.may_own(lease, shard) && !self.is_kept_from(lease, shard))
        })
    }

    /// Whether a live lease that may own a shard has released it to others: to those that succeed its build.
    fn is_kept_from(&self, lease: &Lease, shard: &Shard) -> bool {
        let from = shard.released_by.and_then(|from| self.lease(from));
        from.is_some_and(|from| !lease.build.succeeds(&from.build) && self.may_own(from, shard))
    }

    /// Whether a lease knows what a shard needs, as far as any live lease knows it, or no live lease does.
    fn may_own(&self, lease: &Lease, shard: &Shard) -> bool {
        let is_known = |need: &&Name| self.live.iter().any(|lease| lease.build.workflows.contains(*need));
        let needs: Vec<&Name> = shard.needs.iter().filter(is_known).collect();
        let knows = |lease: &Lease| lease.build.knows(needs.iter().copied());
        knows(lease) || !self.live.iter().any(knows)
    }

    /// The shards of these leases that others have to own, ascending.
    pub(crate) fn misplaced(&self, leases: &[LeaseId]) -> Vec<ShardId> {
        let is_misplaced = |shard: &&Shard| {
            let owner =
                shard.owner.filter(|owner| leases.contains(owner)).and_then(|owner| self.lease(owner));
            owner.is_some_and(|owner| !self.may_own(owner, shard))
        };
        self.shards.iter().filter(is_misplaced).map(|shard| shard.id).collect()
    }
}

/// Names as they are stored: one a line, because a name has no control characters.
pub(crate) fn join<'a>(names: impl IntoIterator<Item = &'a Name>) -> String {
    names.into_iter().map(Name::as_str).collect::<Vec<_>>().join("\n")
}

/// The names of a text.
pub(crate) fn names(text: &str) -> BTreeSet<Name> {
    text.lines().map(Name::from).collect()
}
