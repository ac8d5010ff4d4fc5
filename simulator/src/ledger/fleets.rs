//! The account of workers that differ: a shard goes only to a lease that knows the workflows of its runs, and to none of a
//! worse build while a better one is live. It compares builds by itself. It must not know who should own what.

use std::collections::BTreeSet;

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{LeaseId, ShardId};
use pgworkflows_core::store::Build;

use super::Accounts;

impl Accounts {
    pub(super) fn leased(&mut self, lease: LeaseId, build: &Build) {
        self.builds.insert(lease, build.clone());
    }

    /// A lease may get these shards, which were free.
    pub(super) fn suits(
        &self,
        lease: LeaseId,
        shards: &[ShardId],
        now: Timestamp,
        violations: &mut Vec<String>,
    ) {
        let Some(build) = self.builds.get(&lease) else {
            return violations.push(format!("lease {lease} makes a claim, and was never made"));
        };
        let live = self.leases.iter().filter(|(_, account)| account.until > now);
        let live: Vec<&Build> = live.filter_map(|(lease, _)| self.builds.get(lease)).collect();
        if let (true, Some(better)) = (!shards.is_empty(), live.iter().find(|other| is_better(other, build)))
        {
            violations
                .push(format!("lease {lease} of {build:?} got shards while one of {better:?} was live"));
        }
        for shard in shards {
            let (mut begun, mut open) = (BTreeSet::new(), BTreeSet::new());
            for (_, run) in self.runs.iter().filter(|(run, _)| run.shard() == *shard) {
                begun.extend(run.workflow.as_deref());
                open.extend(run.workflow.as_deref().filter(|_| !run.is_over && !run.events.is_empty()));
            }
            let from = self.shards.get(shard).and_then(|shard| shard.released_by);
            let from = from.filter(|from| self.leases.get(from).is_some_and(|account| account.until > now));
            if let Some(before) = from.and_then(|from| self.builds.get(&from))
                && knows(before, &begun)
                && before != build
                && !is_better(build, before)
            {
                violations
                    .push(format!("lease {lease} of {build:?} got shard {shard} from one of {before:?}"));
            }
            let is_served = live.iter().any(|other| knows(other, &begun));
            if is_served && !knows(build, &open) {
                violations.push(format!(
                    "lease {lease} of {build:?} got shard {shard}, which has open runs of {open:?}, and others know all of \
                     {begun:?}"
                ));
            }
        }
    }

    /// Whether these leases are of more than one build.
    pub(super) fn differ(&self, leases: impl Iterator<Item = LeaseId>) -> bool {
        let mut builds = leases.filter_map(|lease| self.builds.get(&lease));
        let first = builds.next();
        builds.any(|build| Some(build) != first)
    }
}

fn knows(build: &Build, workflows: &BTreeSet<&str>) -> bool {
    workflows.iter().all(|workflow| build.workflows.iter().any(|known| known == workflow))
}

/// Whether a build knows more than the other, or the same and is newer.
fn is_better(one: &Build, other: &Build) -> bool {
    let more = one.workflows.iter().any(|workflow| !other.workflows.contains(workflow));
    let less = other.workflows.iter().any(|workflow| !one.workflows.contains(workflow));
    !less && (more || one.generation > other.generation)
}
