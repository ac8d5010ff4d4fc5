//! Decides how many shards each lease of a queue should own, and what it does about that. It must not know which shards
//! these are, or how they get from one lease to another.
//!
//! Leases of one build share their shards: each owns the mean, rounded down, and as many as the remainder own one more: those
//! that own more already, then the oldest. So nothing moves while every lease has one of the two numbers, and every join or
//! leave moves as few shards as possible. All leases decide by the same order, so they agree without a word.
//!
//! Between builds, shards go in one direction only: to those that know more workflows, or the same ones and are newer. A lease
//! shares with the leases of its own build and of those, and an outdated one claims nothing. So it hands over what is above
//! its share, and does not get that back while they live.

use crate::store::lease::Standing;

/// What a lease does already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Serving {
    /// The most shards that it may claim.
    pub(super) limit: u16,
    /// How many shards it owns, according to the store.
    pub(super) owned: u16,
    /// How many shards its processor knows that it owns.
    pub(super) served: usize,
    /// How many of these are on their way to another owner.
    pub(super) going: usize,
    /// Whether its processor still recovers what it claimed last.
    pub(super) recovering: bool,
}

/// What a lease does about its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Stay,
    /// It keeps that many shards, and hands the others over.
    Keep(u16),
    /// It claims shards until it owns that many.
    Claim(u16),
    /// It should claim shards, but only as soon as its processor is done with the last ones.
    Wait,
}

/// How many shards a lease should own.
fn share(standing: &Standing) -> u16 {
    let (shared, members) = (u32::from(standing.shared), standing.members.max(1));
    let extra = u32::from(standing.place < shared % members);
    u16::try_from(shared / members + extra).unwrap_or(u16::MAX)
}

/// What a lease does next.
pub(super) fn step(standing: &Standing, serving: &Serving) -> Step {
    let Serving { limit, owned, served, going, recovering } = *serving;
    let (share, kept) = (share(standing), served.saturating_sub(going));
    if usize::from(owned) > served {
        // The answer to a claim was lost: another claim names all shards of the lease, and takes no more.
        Step::Claim(owned)
    } else if standing.members == 0 {
        // The lease has expired, and the next heartbeat either renews it or finds it fenced.
        Step::Stay
    } else if kept > usize::from(share) {
        Step::Keep(share)
    } else if owned >= share.min(limit) || standing.claimable == 0 {
        Step::Stay
    } else if recovering || going > 0 {
        Step::Wait
    } else {
        Step::Claim(share.min(limit))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::data::name::Name;
    use crate::store::build::Build;

    /// The shards and the leases of a queue, as a store knows them.
    #[derive(Default)]
    struct Fleet {
        shards: Vec<Shard>,
        /// The oldest first; `None` if the lease is over.
        leases: Vec<Option<Build>>,
        /// Moves that no rule allows.
        wrong: Vec<String>,
    }

    #[derive(Clone, Default)]
    struct Shard {
        owner: Option<usize>,
        /// Who released it, if its owner did.
        released_by: Option<usize>,
        needs: BTreeSet<Name>,
    }

    impl Fleet {
        fn new(shards: u16) -> Self {
            Self { shards: vec![Shard::default(); usize::from(shards)], ..Self::default() }
        }

        fn live(&self) -> impl Iterator<Item = (usize, &Build)> {
            self.leases.iter().enumerate().filter_map(|(lease, build)| Some((lease, build.as_ref()?)))
        }

        fn build(&self, lease: usize) -> &Build {
            self.leases[lease].as_ref().expect("the lease is live")
        }

        fn owned(&self, lease: usize) -> u16 {
            self.shards.iter().filter(|shard| shard.owner == Some(lease)).count() as u16
        }

        fn free(&self) -> u16 {
            self.shards.iter().filter(|shard| shard.owner.is_none()).count() as u16
        }

        fn may_own(&self, lease: usize, shard: &Shard) -> bool {
            let is_known = |need: &&Name| self.live().any(|(_, build)| build.workflows.contains(*need));
            let needs: Vec<&Name> = shard.needs.iter().filter(is_known).collect();
            let knows = |build: &Build| build.knows(needs.iter().copied());
            knows(self.build(lease)) || !self.live().any(|(_, build)| knows(build))
        }

        /// Whether the lease that released a shard is live, may own it, and has handed it to others.
        fn is_kept_from(&self, lease: usize, shard: &Shard) -> bool {
            let from = shard.released_by.filter(|from| self.leases[*from].is_some());
            from.is_some_and(|from| {
                !self.build(lease).succeeds(self.build(from)) && self.may_own(from, shard)
            })
        }

        fn is_outdated(&self, lease: usize) -> bool {
            self.live().any(|(_, build)| build.outdates(self.build(lease)))
        }

        fn claimable(&self, lease: usize) -> Vec<usize> {
            let is_claimable = |shard: &usize| {
                let row = &self.shards[*shard];
                row.owner.is_none() && self.may_own(lease, row) && !self.is_kept_from(lease, row)
            };
            let outdated = self.is_outdated(lease);
            (0..self.shards.len()).filter(|shard| !outdated && is_claimable(shard)).collect()
        }

        fn standing(&self, lease: usize) -> Standing {
            let members = self.live().filter(|(_, build)| build.succeeds(self.build(lease)));
            let mut members: Vec<_> = members.map(|(member, _)| (member, self.owned(member))).collect();
            let shared = self.free() + members.iter().map(|(_, owned)| owned).sum::<u16>();
            let floor = shared / members.len() as u16;
            members.sort_by_key(|(member, owned)| (*owned <= floor, *member));
            let place = members.iter().position(|(member, _)| *member == lease);
            Standing {
                members: members.len() as u32,
                place: place.expect("it succeeds itself") as u32,
                shared,
                claimable: self.claimable(lease).len() as u16,
                outdated: self.is_outdated(lease),
            }
        }

        fn step(&self, lease: usize) -> Step {
            let owned = self.owned(lease);
            let limit = self.shards.len() as u16;
            let (served, going) = (usize::from(owned), 0);
            step(&self.standing(lease), &Serving { limit, owned, served, going, recovering: false })
        }

        fn release(&mut self, lease: usize, count: usize) {
            let owned = self.shards.iter_mut().filter(|shard| shard.owner == Some(lease));
            owned.take(count).for_each(|shard| (shard.owner, shard.released_by) = (None, Some(lease)));
        }

        fn claim(&mut self, lease: usize, count: u16) {
            for shard in self.claimable(lease).into_iter().take(usize::from(count)) {
                let from = self.shards[shard].released_by.take();
                if let Some(from) = from.filter(|from| self.leases[*from].is_some())
                    && self.may_own(from, &self.shards[shard])
                    && !self.build(lease).succeeds(self.build(from))
                {
                    self.wrong
                        .push(format!("shard {shard} went from {from}, {:?}, to {lease}", self.build(from)));
                }
                self.shards[shard].owner = Some(lease);
            }
        }

        /// One heartbeat of a lease, and what it does about the answer.
        fn beat(&mut self, lease: usize) {
            let (step, owned) = (self.step(lease), self.owned(lease));
            let is_misplaced = |shard: &usize| {
                self.shards[*shard].owner == Some(lease) && !self.may_own(lease, &self.shards[*shard])
            };
            let misplaced: Vec<usize> = (0..self.shards.len()).filter(is_misplaced).collect();
            for shard in misplaced {
                (self.shards[shard].owner, self.shards[shard].released_by) = (None, Some(lease));
            }
            match step {
                Step::Stay | Step::Wait => {}
                Step::Keep(count) => {
                    let surplus = self.owned(lease).saturating_sub(count);
                    self.release(lease, usize::from(surplus));
                }
                Step::Claim(limit) => self.claim(lease, limit - owned),
            }
        }

        /// Every lease sends a heartbeat, in this order. Returns whether a shard moved.
        fn round(&mut self, order: &[usize]) -> bool {
            let owners = |fleet: &Self| fleet.shards.iter().map(|shard| shard.owner).collect::<Vec<_>>();
            let before = owners(self);
            let live: Vec<usize> = self.live().map(|(lease, _)| lease).collect();
            for lease in order.iter().map(|index| live[index % live.len()]).chain(live.iter().copied()) {
                self.beat(lease);
            }
            before != owners(self)
        }

        fn join(&mut self, build: Build) {
            self.leases.push(Some(build));
        }

        /// One of the leases is over, unless it is the last.
        fn leave(&mut self, which: usize) {
            let live: Vec<usize> = self.live().map(|(lease, _)| lease).collect();
            if live.len() > 1 {
                let lease = live[which % live.len()];
                self.leases[lease] = None;
                self.shards
                    .iter_mut()
                    .filter(|shard| shard.owner == Some(lease))
                    .for_each(|shard| shard.owner = None);
            }
        }

        fn counts(&self) -> Vec<u16> {
            self.live().map(|(lease, _)| self.owned(lease)).collect()
        }
    }

    proptest! {
        #[test]
        fn any_joins_and_leaves_settle_in_two_rounds_with_as_few_moves_as_possible(
            shards in 1_u16..200,
            changes in proptest::collection::vec((any::<bool>(), any::<usize>()), 1..20),
            order in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            let mut fleet = Fleet::new(shards);
            fleet.join(Build::default());
            for (joins, which) in changes {
                if joins || fleet.live().count() == 1 {
                    fleet.join(Build::default());
                } else {
                    fleet.leave(which);
                }
                let shares: Vec<u16> = fleet.live().map(|(lease, _)| share(&fleet.standing(lease))).collect();
                prop_assert_eq!(shares.iter().sum::<u16>(), shards, "the shares are all shards");
                let surplus = |owned: &u16, share: &u16| owned.saturating_sub(*share);
                let counts = fleet.counts();
                let moved: u16 = counts.iter().zip(&shares).map(|(owned, share)| surplus(owned, share)).sum();
                let (floor, ceiling) =
                    (shards / shares.len() as u16, shards.div_ceil(shares.len() as u16));
                let least: u16 = counts.iter().map(|owned| owned.saturating_sub(ceiling)).sum();
                let above = counts.iter().filter(|owned| **owned > floor).count() as u16;
                let remainder = shards % shares.len() as u16;
                let forced = if floor < ceiling { above.saturating_sub(remainder) } else { 0 };
                prop_assert_eq!(moved, least + forced, "no lease hands over more than it must");

                fleet.round(&order);
                fleet.round(&order);
                let counts = fleet.counts();
                prop_assert!(counts.iter().all(|owned| (floor..=ceiling).contains(owned)), "{:?}", counts);
                prop_assert_eq!(fleet.free(), 0);
                prop_assert!(!fleet.round(&order), "nothing moves any more: {:?}", counts);
            }
        }
    }

    /// What happens to a fleet of workers that differ.
    #[derive(Clone, Debug)]
    enum Change {
        Join(Build),
        Leave(usize),
        /// A run of a workflow begins in a shard.
        Need(usize, Name),
    }

    fn workflow() -> impl Strategy<Value = Name> {
        (0_u8..3).prop_map(|number| number.to_string().into())
    }

    /// Builds of one program over time, or of programs that share a queue.
    fn build(one_program: bool) -> impl Strategy<Value = Build> {
        let workflows = proptest::collection::btree_set(workflow(), 0..4);
        (0_u64..3, workflows).prop_map(move |(generation, mut workflows)| {
            if one_program {
                workflows = (0..=generation / 2).map(|number| number.to_string().into()).collect();
            }
            Build { generation, workflows }
        })
    }

    fn changes(one_program: bool) -> impl Strategy<Value = Vec<Change>> {
        let change = prop_oneof![
            build(one_program).prop_map(Change::Join),
            any::<usize>().prop_map(Change::Leave),
            (any::<usize>(), workflow()).prop_map(|(shard, need)| Change::Need(shard, need)),
        ];
        proptest::collection::vec(change, 1..20)
    }

    /// Makes the changes and lets the fleet settle after each.
    fn settle(shards: u16, changes: Vec<Change>, order: &[usize]) -> Result<(), TestCaseError> {
        let mut fleet = Fleet::new(shards);
        for change in changes {
            match change {
                Change::Join(build) => fleet.join(build),
                Change::Leave(which) => fleet.leave(which),
                Change::Need(shard, need) => {
                    let shard = shard % fleet.shards.len();
                    fleet.shards[shard].needs.insert(need);
                }
            }
            if fleet.live().count() == 0 {
                continue;
            }
            let rounds = (0..ROUNDS_MAX).take_while(|_| fleet.round(order)).count();
            prop_assert!(rounds < ROUNDS_MAX, "shards still move: {:?}", fleet.counts());
            prop_assert_eq!(fleet.free(), 0, "somebody may own each of them");
            prop_assert!(fleet.wrong.is_empty(), "a shard went to a worse build: {:?}", fleet.wrong);
            for shard in &fleet.shards {
                let owner = shard.owner.expect("none is free");
                prop_assert!(
                    fleet.may_own(owner, shard),
                    "{owner} {:?} {:?}",
                    fleet.build(owner),
                    shard.needs
                );
            }
        }
        Ok(())
    }

    /// After how many rounds of heartbeats every fleet has settled.
    const ROUNDS_MAX: usize = 8;

    proptest! {
        /// Programs with different workflows, in several versions.
        #[test]
        fn fleets_that_differ_settle_and_leave_no_shard_without_an_owner(
            shards in 1_u16..40,
            changes in changes(false),
            order in proptest::collection::vec(any::<usize>(), 0..10),
        ) {
            settle(shards, changes, &order)?;
        }

        /// One program, whose later versions know more workflows.
        #[test]
        fn deploys_and_rollbacks_settle_and_leave_no_shard_without_an_owner(
            shards in 1_u16..40,
            changes in changes(true),
            order in proptest::collection::vec(any::<usize>(), 0..10),
        ) {
            settle(shards, changes, &order)?;
        }
    }

    #[test]
    fn old_workers_keep_their_share_until_they_leave() {
        // Given four workers of one build, and a fifth of a newer one
        let build = |generation| Build { generation, ..Build::default() };
        let mut fleet = Fleet::new(20);
        (0..4).for_each(|_| fleet.join(build(1)));
        fleet.round(&[]);
        fleet.round(&[]);
        fleet.join(build(2));
        fleet.round(&[]);
        fleet.round(&[]);
        assert_eq!(fleet.counts(), [4; 5], "the new worker has its share, and no more");

        // When an old worker leaves, then the new one gets its shards, because no others go to old code
        fleet.leave(0);
        fleet.round(&[]);
        assert_eq!(fleet.counts(), [4, 4, 4, 8]);

        // When the new one leaves, then the old ones get all
        fleet.leave(3);
        fleet.round(&[]);
        assert_eq!(fleet.counts(), [7, 7, 6]);
    }

    const STANDING: Standing = Standing { members: 1, place: 0, shared: 4, claimable: 0, outdated: false };
    const SERVING: Serving = Serving { limit: 8, owned: 4, served: 4, going: 0, recovering: false };

    #[test]
    fn lease_at_its_share_stays_even_if_shards_are_free() {
        assert_eq!(step(&STANDING, &SERVING), Step::Stay);
        let others = Standing { members: 2, shared: 8, claimable: 3, ..STANDING };
        assert_eq!(step(&others, &SERVING), Step::Stay, "they belong to others");
    }

    #[test]
    fn lease_below_its_share_claims_only_what_it_can_serve_now() {
        let (below, free) =
            (Serving { owned: 2, served: 2, ..SERVING }, Standing { claimable: 9, ..STANDING });
        assert_eq!(step(&free, &below), Step::Claim(4));
        assert_eq!(step(&free, &Serving { limit: 3, ..below }), Step::Claim(3));
        assert_eq!(step(&free, &Serving { recovering: true, ..below }), Step::Wait);
        assert_eq!(step(&free, &Serving { going: 1, ..below }), Step::Wait);
        assert_eq!(step(&STANDING, &below), Step::Stay, "nothing is free");
    }

    #[test]
    fn shards_that_are_going_already_are_not_counted_twice() {
        let above = Serving { owned: 9, served: 9, ..SERVING };
        assert_eq!(step(&STANDING, &above), Step::Keep(4));
        assert_eq!(step(&STANDING, &Serving { going: 5, ..above }), Step::Stay);
        assert_eq!(
            step(&STANDING, &Serving { going: 5, owned: 6, ..above }),
            Step::Stay,
            "three were released meanwhile"
        );
    }

    #[test]
    fn lease_that_owns_more_than_it_serves_asks_which_shards_these_are() {
        let lost = Serving { served: 1, ..SERVING };
        assert_eq!(step(&STANDING, &lost), Step::Claim(4));
        assert_eq!(step(&STANDING, &Serving { owned: 6, recovering: true, ..lost }), Step::Claim(6));
    }

    #[test]
    fn lease_that_has_expired_hands_nothing_over() {
        assert_eq!(step(&Standing::default(), &SERVING), Step::Stay);
    }
}
