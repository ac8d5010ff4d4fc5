//! The processor's part that knows which workflows its shards need: those of which they have or had open runs. What is not in
//! the store yet is in the next append. It must not know who owns a shard next.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::id::{RunId, ShardId};
use crate::data::name::Name;
use crate::processor::Processor;
use crate::store::append::{Append, Need};
use crate::store::lease::ClaimedShard;

/// The needs of a processor's shards.
#[derive(Default)]
pub(super) struct Needs {
    known: BTreeMap<ShardId, BTreeSet<Name>>,
    /// Those that the store has not acknowledged.
    fresh: BTreeSet<Need>,
}

impl Needs {
    /// A shard was claimed, or named by a later claim: by then the store may have forgotten needs without open runs. What it
    /// lacks because it was told later is told again.
    pub(super) fn claim(&mut self, claimed: &ClaimedShard) {
        self.known.insert(claimed.shard, claimed.needs.iter().cloned().collect());
    }

    /// These shards go to another owner.
    pub(super) fn leave(&mut self, shards: &BTreeSet<ShardId>) {
        self.known.retain(|shard, _| !shards.contains(shard));
        self.fresh.retain(|need| !shards.contains(&need.shard));
    }

    /// Notes that the shard of this run has an open run of this workflow.
    pub(super) fn note(&mut self, run: RunId, workflow: &Name) {
        let Some(known) = self.known.get_mut(&run.shard()) else { return };
        if !known.contains(workflow) {
            known.insert(workflow.clone());
            self.fresh.insert(Need { shard: run.shard(), workflow: workflow.clone() });
        }
    }

    /// What the next append has to say. It does not matter what becomes of the append, because another one says it again.
    pub(super) fn fresh(&self) -> Vec<Need> {
        self.fresh.iter().cloned().collect()
    }

    /// The store has this append.
    pub(super) fn appended(&mut self, append: &Append) {
        append.needs.iter().for_each(|need| _ = self.fresh.remove(need));
    }

    /// The workflows that a shard needs, ascending.
    pub(super) fn of(&self, shard: ShardId) -> impl Iterator<Item = &Name> {
        self.known.get(&shard).into_iter().flatten()
    }
}

impl Processor {
    /// Warns of claimed shards with open runs of workflows that are not registered here. They come here only if no live worker
    /// knows all that they need.
    pub(super) fn warn_of_unknown_needs(&self, claimed: &[&ClaimedShard]) {
        let registry = &self.setup.registry;
        let unknown = |claimed: &&ClaimedShard| {
            let unknown = claimed.needs.iter().filter(|workflow| !registry.knows(workflow));
            unknown.cloned().collect::<Vec<Name>>()
        };
        let unknown: Vec<Vec<Name>> =
            claimed.iter().map(unknown).filter(|unknown| !unknown.is_empty()).collect();
        let shards = unknown.len();
        let workflows: BTreeSet<Name> = unknown.into_iter().flatten().collect();
        if shards > 0 {
            let (lease, worker) = (self.setup.lease, &self.setup.config.worker);
            tracing::warn!(
                %lease, %worker, shards, ?workflows,
                "shards have open runs of workflows that are not registered here, and no live worker of the queue knows all \
                 that these shards need: the runs wait. Programs with different workflows need a queue each"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::id::{AppendNo, ClaimId, LeaseId, Position};
    use crate::testing::run_id;

    fn claimed(needs: &[Name]) -> ClaimedShard {
        ClaimedShard {
            shard: run_id(0).shard(),
            claim: ClaimId::FIRST,
            next_position: Position::FIRST,
            deaths: 0,
            former: None,
            needs: needs.to_vec(),
        }
    }

    #[test]
    fn need_is_said_until_the_store_has_it_and_again_if_a_claim_lacks_it() {
        // Given a shard that needs one workflow, and runs of two
        let (mut needs, shard) = (Needs::default(), run_id(0).shard());
        let (old, new) = (Name::from_static("old"), Name::from_static("new"));
        let need = Need { shard, workflow: new.clone() };
        needs.claim(&claimed(std::slice::from_ref(&old)));
        let note_both = |needs: &mut Needs| {
            needs.note(run_id(1), &old);
            needs.note(run_id(2), &new);
            needs.fresh()
        };
        assert_eq!(note_both(&mut needs), std::slice::from_ref(&need));
        assert_eq!(note_both(&mut needs), std::slice::from_ref(&need), "its append may have failed");

        // When the store has it, then it is not said again
        let append = Append { needs: vec![need.clone()], ..Append::new(LeaseId::FIRST, AppendNo::FIRST) };
        needs.appended(&append);
        assert_eq!(note_both(&mut needs), []);

        // And when a claim no longer names it, then it is
        needs.claim(&claimed(std::slice::from_ref(&old)));
        assert_eq!(note_both(&mut needs), [need]);

        // And nothing is said of a shard that has left
        needs.leave(&BTreeSet::from([shard]));
        assert_eq!(note_both(&mut needs), []);
    }
}
