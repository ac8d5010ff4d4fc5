//! Counts how often the owners of a processor's shards died. It must not know the cause.
//!
//! The time of service is the owner's: as often as it has served long enough, each shard that it then has pays off one death.
//! So a claim restarts nothing, and a shard that moves often is paid off at the same rate, on average, as one that stays. A
//! shard with a run that kills gains nothing by that, because its owners die before they have served.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::id::ShardId;
use crate::data::limits;
use crate::data::time::Timestamp;

/// The deaths of the shards' owners, minus those that were paid off by time of service.
#[derive(Debug)]
pub(super) struct Deaths {
    /// From how many deaths on a shard is suspicious.
    suspicious: u32,
    shards: BTreeMap<ShardId, u32>,
    /// When the first recovery ended, or when a death was paid off last.
    serving_since: Option<Timestamp>,
}

impl Deaths {
    pub(super) fn new(suspicious: u32) -> Self {
        Self { suspicious, shards: BTreeMap::new(), serving_since: None }
    }

    /// Shards were claimed whose owners died that often.
    pub(super) fn claimed(&mut self, shards: impl IntoIterator<Item = (ShardId, u32)>) {
        self.shards.extend(shards);
    }

    /// These shards go to another owner, with the deaths that they count.
    pub(super) fn leave(&mut self, shards: &BTreeSet<ShardId>) {
        self.shards.retain(|shard, _| !shards.contains(shard));
    }

    /// Whether the shard's owners died so often that a run of it may be the cause.
    pub(super) fn are_suspicious(&self, shard: ShardId) -> bool {
        self.shards.get(&shard).is_some_and(|deaths| *deaths >= self.suspicious)
    }

    /// The most deaths that a shard counts.
    pub(super) fn most(&self) -> u32 {
        self.shards.values().copied().max().unwrap_or(0)
    }

    /// Pays off deaths by the time of service, but not during a recovery. Returns the most deaths that a shard may still count.
    pub(super) fn pay_off(&mut self, now: Timestamp, recovering: bool) -> u32 {
        if recovering {
            return u32::MAX;
        }
        let since = *self.serving_since.get_or_insert(now);
        if now.saturating_since(since) >= limits::DEATH_PAID_OFF {
            self.serving_since = Some(now);
            self.shards.values_mut().for_each(|deaths| *deaths = deaths.saturating_sub(1));
        }
        // Without shards there is no bound: a claim may be in flight, whose shards have deaths of their own.
        self.shards.values().copied().max().unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BORN, run_id};

    const DEADLY: u32 = limits::DEATHS_BEFORE_SUSPICION;

    #[test]
    fn deaths_are_paid_off_by_service_after_recovery() {
        let shard = run_id(0).shard();
        let mut deaths = Deaths::new(DEADLY);
        deaths.claimed([(shard, DEADLY + 1)]);
        let mut deaths_max = |periods: u32, recovering| {
            deaths.pay_off(BORN.saturating_add(limits::DEATH_PAID_OFF * periods), recovering)
        };
        assert_eq!(deaths_max(0, true), u32::MAX, "it has not recovered");
        assert_eq!(deaths_max(7, false), DEADLY + 1, "it serves from now on");
        assert_eq!(deaths_max(8, false), DEADLY);
        assert_eq!(deaths_max(9, false), DEADLY - 1);
        assert!(!deaths.are_suspicious(shard));
    }

    #[test]
    fn claim_of_another_shard_does_not_restart_the_time_of_service() {
        // Given an owner that has served for most of a period, and claims another shard
        let (served, fresh) = (run_id(0).shard(), ShardId::new(7).expect("the number is small"));
        assert_ne!(served, fresh);
        let mut deaths = Deaths::new(DEADLY);
        deaths.claimed([(served, DEADLY)]);
        assert_eq!(deaths.pay_off(BORN, false), DEADLY);
        deaths.claimed([(fresh, DEADLY + 2)]);
        let period = BORN.saturating_add(limits::DEATH_PAID_OFF);
        assert_eq!(deaths.pay_off(period, true), u32::MAX, "nothing is paid off during its recovery");
        assert!(deaths.are_suspicious(served));
        // When the period is over, then each of them pays
        assert_eq!(deaths.pay_off(period, false), DEADLY + 1);
        assert!(!deaths.are_suspicious(served));
    }

    #[test]
    fn lease_without_shards_pays_off_nothing() {
        let mut deaths = Deaths::new(DEADLY);
        assert_eq!(
            deaths.pay_off(BORN, false),
            u32::MAX,
            "a heartbeat may meet shards that were just claimed"
        );
    }

    #[test]
    fn shard_is_suspicious_from_the_limit_on() {
        let shard = run_id(0).shard();
        let mut deaths = Deaths::new(DEADLY);
        assert!(!deaths.are_suspicious(shard), "another processor owns it");
        deaths.claimed([(shard, DEADLY)]);
        assert!(deaths.are_suspicious(shard));
        let mut strict = Deaths::new(1);
        strict.claimed([(shard, 1)]);
        assert!(strict.are_suspicious(shard));
    }
}
