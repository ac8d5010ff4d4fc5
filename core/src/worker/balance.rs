//! Decides how many shards each lease of a queue should own, and what it does about that. It must not know which shards
//! these are, or how they get from one lease to another.
//!
//! Every lease owns the mean, rounded down, and as many as the remainder own one more: those that own more already, then
//! the oldest. So nothing moves while every lease has one of the two numbers, and every join or leave moves as few shards
//! as possible. All leases decide by the same order, so they agree without a word.

/// One lease among those of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// How many shards the lease should own: [`share`].
    pub(super) share: u16,
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
    /// How many shards of the queue are free.
    pub(super) free: u16,
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

/// How many of a queue's shards a lease should own if `members` leases share them, of which `place` come before it.
pub(super) fn share(shards: u16, members: u32, place: u32) -> u16 {
    let (shards, members) = (u32::from(shards), members.max(1));
    let extra = u32::from(place < shards % members);
    u16::try_from(shards / members + extra).unwrap_or(u16::MAX)
}

/// What a lease does next.
pub(super) fn step(standing: &Standing) -> Step {
    let Standing { share, limit, owned, served, going, recovering, free } = *standing;
    let kept = served.saturating_sub(going);
    if usize::from(owned) > served {
        // The answer to a claim was lost: another claim names all shards of the lease, and takes no more.
        Step::Claim(owned)
    } else if kept > usize::from(share) {
        Step::Keep(share)
    } else if owned >= share.min(limit) || free == 0 {
        Step::Stay
    } else if recovering || going > 0 {
        Step::Wait
    } else {
        Step::Claim(share.min(limit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The leases of a queue, oldest first, by how many shards each owns.
    struct Fleet {
        shards: u16,
        leases: Vec<u16>,
    }

    impl Fleet {
        fn free(&self) -> u16 {
            self.shards - self.leases.iter().sum::<u16>()
        }

        /// The share of each lease, in the order in which the stores place them.
        fn shares(&self) -> Vec<u16> {
            let members = self.leases.len() as u32;
            let floor = self.shards / self.leases.len() as u16;
            let mut order: Vec<usize> = (0..self.leases.len()).collect();
            order.sort_by_key(|index| (self.leases[*index] <= floor, *index));
            let place = |index| order.iter().position(|other| *other == index).unwrap() as u32;
            (0..self.leases.len()).map(|index| share(self.shards, members, place(index))).collect()
        }

        fn step(&self, index: usize) -> Step {
            let owned = self.leases[index];
            step(&Standing {
                share: self.shares()[index],
                limit: self.shards,
                owned,
                served: usize::from(owned),
                going: 0,
                recovering: false,
                free: self.free(),
            })
        }

        /// Every lease sends a heartbeat, in this order, and acts at once. Returns whether a shard moved.
        fn round(&mut self, order: &[usize]) -> bool {
            let before = self.leases.clone();
            let members = self.leases.len();
            for index in order.iter().map(|index| index % members).chain(0..members) {
                let owned = self.leases[index];
                match self.step(index) {
                    Step::Stay | Step::Wait => {}
                    Step::Keep(count) => self.leases[index] = count,
                    Step::Claim(limit) => self.leases[index] = owned + self.free().min(limit - owned),
                }
            }
            before != self.leases
        }
    }

    proptest! {
        #[test]
        fn any_joins_and_leaves_settle_in_two_rounds_with_as_few_moves_as_possible(
            shards in 1_u16..200,
            changes in proptest::collection::vec((any::<bool>(), any::<usize>()), 1..20),
            order in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            let mut fleet = Fleet { shards, leases: vec![0] };
            for (joins, which) in changes {
                if joins || fleet.leases.len() == 1 {
                    fleet.leases.push(0);
                } else {
                    fleet.leases.remove(which % fleet.leases.len());
                }
                let shares = fleet.shares();
                prop_assert_eq!(shares.iter().sum::<u16>(), shards, "the shares are all shards");
                let surplus = |owned: &u16, share: &u16| owned.saturating_sub(*share);
                let moved: u16 = fleet.leases.iter().zip(&shares).map(|(owned, share)| surplus(owned, share)).sum();
                let (floor, ceiling) =
                    (shards / shares.len() as u16, shards.div_ceil(shares.len() as u16));
                let least: u16 = fleet.leases.iter().map(|owned| owned.saturating_sub(ceiling)).sum();
                let above = fleet.leases.iter().filter(|owned| **owned > floor).count() as u16;
                let remainder = shards % shares.len() as u16;
                let forced = if floor < ceiling { above.saturating_sub(remainder) } else { 0 };
                prop_assert_eq!(moved, least + forced, "no lease hands over more than it must");

                fleet.round(&order);
                fleet.round(&order);
                prop_assert!(fleet.leases.iter().all(|owned| (floor..=ceiling).contains(owned)), "{:?}", fleet.leases);
                prop_assert_eq!(fleet.free(), 0);
                prop_assert!(!fleet.round(&order), "nothing moves any more: {:?}", fleet.leases);
            }
        }
    }

    const STANDING: Standing =
        Standing { share: 4, limit: 8, owned: 4, served: 4, going: 0, recovering: false, free: 0 };

    #[test]
    fn lease_at_its_share_stays_even_if_shards_are_free() {
        assert_eq!(step(&STANDING), Step::Stay);
        assert_eq!(step(&Standing { free: 3, ..STANDING }), Step::Stay, "they belong to others");
    }

    #[test]
    fn lease_below_its_share_claims_only_what_it_can_serve_now() {
        let below = Standing { owned: 2, served: 2, free: 9, ..STANDING };
        assert_eq!(step(&below), Step::Claim(4));
        assert_eq!(step(&Standing { limit: 3, ..below }), Step::Claim(3));
        assert_eq!(step(&Standing { recovering: true, ..below }), Step::Wait);
        assert_eq!(step(&Standing { going: 1, ..below }), Step::Wait);
        assert_eq!(step(&Standing { free: 0, ..below }), Step::Stay);
    }

    #[test]
    fn shards_that_are_going_already_are_not_counted_twice() {
        let above = Standing { owned: 9, served: 9, ..STANDING };
        assert_eq!(step(&above), Step::Keep(4));
        assert_eq!(step(&Standing { going: 5, ..above }), Step::Stay);
        assert_eq!(
            step(&Standing { going: 5, owned: 6, ..above }),
            Step::Stay,
            "three were released meanwhile"
        );
    }

    #[test]
    fn lease_that_owns_more_than_it_serves_asks_which_shards_these_are() {
        let lost = Standing { served: 1, ..STANDING };
        assert_eq!(step(&lost), Step::Claim(4));
        assert_eq!(step(&Standing { owned: 6, recovering: true, ..lost }), Step::Claim(6));
    }
}
