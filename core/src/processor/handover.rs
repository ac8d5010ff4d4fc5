//! Hands single shards over to other owners: a shard starts nothing new, waits for what is being executed, leaves memory,
//! and is released within an append. It must not know who gets the shard.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::id::{CommandId, RunId, ShardId};
use crate::data::name::Name;
use crate::data::time::Timestamp;
use crate::processor::Processor;
use crate::processor::effect::Effect;
use crate::store::append::Released;

/// The shards of a lease, as the worker's heartbeat has to know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardCounts {
    /// How many shards the processor owns, as far as it knows.
    pub(crate) owned: usize,
    /// How many of these are on their way to another owner.
    pub(crate) going: usize,
    /// Whether the runs of claimed shards are still to be loaded.
    pub(crate) recovering: bool,
}

/// How much of a processor's work a shard has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct ShardLoad {
    /// How many attempts and steps are being executed.
    executed: usize,
    /// How many runs are in memory.
    runs: usize,
}

impl Processor {
    pub(crate) fn shard_counts(&self) -> ShardCounts {
        let going = self.shards.going().len();
        ShardCounts { owned: self.shards.len(), going, recovering: self.loads.is_recovering() }
    }

    /// Keeps that many shards. The others go to other owners: those with the least work first. `becomes_task` says whether an
    /// attempt can become a task of this process.
    pub(crate) fn keep(
        &mut self,
        count: usize,
        becomes_task: impl Fn(RunId, CommandId) -> bool,
        now: Timestamp,
    ) {
        let surplus = self.shards.kept().count().saturating_sub(count);
        if surplus == 0 {
            return;
        }
        let mut by_load: Vec<(ShardLoad, ShardId)> =
            self.loads_of_shards(becomes_task).into_iter().map(|(shard, load)| (load, shard)).collect();
        by_load.sort_unstable();
        let shards: Vec<ShardId> = by_load.into_iter().map(|(_, shard)| shard).take(surplus).collect();
        self.drain(&shards, now);
        if !shards.is_empty() {
            let (lease, shards) = (self.setup.lease, shards.len());
            tracing::info!(%lease, shards, kept = count, "shards go to other workers");
        }
    }

    /// These shards, as far as it owns them, go to a worker that knows the workflows of their runs.
    pub(crate) fn leave_to_knowing(
        &mut self,
        shards: &[ShardId],
        becomes_task: impl Fn(RunId, CommandId) -> bool,
        now: Timestamp,
    ) {
        if shards.is_empty() {
            return;
        }
        let loads = self.loads_of_shards(becomes_task);
        let shards: Vec<ShardId> = shards.iter().copied().filter(|shard| loads.contains_key(shard)).collect();
        self.drain(&shards, now);
        if !shards.is_empty() {
            let needs = shards.iter().flat_map(|shard| self.needs.of(*shard));
            let unknown: BTreeSet<&Name> =
                needs.filter(|workflow| !self.setup.registry.knows(workflow)).collect();
            let (lease, shards) = (self.setup.lease, shards.len());
            tracing::info!(
                %lease, shards, ?unknown, "shards go to a worker that knows workflows of their runs which are not registered here"
            );
        }
    }

    /// How much work the shards that may go have. Not those in which a suspect is tried, because a death could not be told from
    /// the handover, or in which an attempt is in progress of which the log says that it began, because one that may happen
    /// once would be lost.
    fn loads_of_shards(
        &self,
        becomes_task: impl Fn(RunId, CommandId) -> bool,
    ) -> BTreeMap<ShardId, ShardLoad> {
        let mut loads: BTreeMap<ShardId, ShardLoad> =
            self.shards.kept().map(|shard| (shard, ShardLoad::default())).collect();
        loads.retain(|shard, _| !self.suspects.tries_in(*shard));
        for live in self.runs.all() {
            let shard = live.id().shard();
            if live.logged_attempts().any(|call| !becomes_task(live.id(), call)) {
                loads.remove(&shard);
            } else if let Some(load) = loads.get_mut(&shard) {
                load.executed += live.executed();
                load.runs += 1;
            }
        }
        loads
    }

    fn drain(&mut self, shards: &[ShardId], now: Timestamp) {
        let until = now.saturating_add(self.setup.config.handover_grace);
        shards.iter().for_each(|shard| self.shards.drain(*shard, until));
    }

    /// Whether a shard waits for what is being executed, before it goes to another owner.
    pub(crate) fn is_draining(&self, shard: ShardId) -> bool {
        self.shards.is_draining(shard)
    }

    /// Ends the wait of shards that have waited long enough, or of which nothing is executed any more. `executed` says how
    /// many attempts and steps of a shard the executor has, without those that become tasks.
    pub(crate) fn end_drains(&mut self, now: Timestamp, executed: impl Fn(ShardId) -> usize) {
        for shard in self.shards.end_drains(now, |shard| executed(shard) > 0) {
            tracing::warn!(
                lease = %self.setup.lease, %shard, executed = executed(shard),
                "activities and steps have not ended within the grace of the handover: they are cancelled here, and the next \
                 owner of their shard repeats them"
            );
        }
    }

    /// The time at which the next of these waits ends.
    pub(crate) fn next_drain_end(&self) -> Option<Timestamp> {
        self.shards.next_drain_end()
    }

    /// Takes the shards that the next append releases: everything that waits to be written to them is in it. Their runs leave
    /// memory, and from now on nothing is done for them, whatever becomes of the append. Their messages stay in the inbox.
    pub(super) fn leave(&mut self) -> BTreeSet<ShardId> {
        let ready: BTreeMap<ShardId, bool> = self.shards.to_release().collect();
        if ready.is_empty() {
            return BTreeSet::new();
        }
        let waiting = self.outbox.shards();
        let leaving: BTreeMap<ShardId, bool> =
            ready.into_iter().filter(|(shard, _)| !waiting.contains(shard)).collect();
        let fresh = leaving.iter().filter(|(_, has_left)| !**has_left).map(|(shard, _)| *shard).collect();
        self.leave_memory(&fresh);
        leaving.into_keys().collect()
    }

    fn leave_memory(&mut self, shards: &BTreeSet<ShardId>) {
        if shards.is_empty() {
            return;
        }
        self.shards.leave(shards);
        self.inbox.leave(shards);
        self.deadlines.leave(shards);
        self.loads.leave_shards(shards);
        self.histories.leave(shards);
        self.unknown_workflows.leave_shards(shards);
        self.needs.leave(shards);
        self.suspects.leave(shards);
        self.left_since_read.extend(shards);
        // The next owner repeats what is still being executed, and is no task.
        let runs = self.runs.leave(shards);
        let (lease, shards, count) = (self.setup.lease, shards.len(), runs.len());
        for mut live in runs {
            let run = live.id();
            self.outbox.cause(live.executing().drop_all().map(|id| Effect::Abort { run, id }));
        }
        tracing::info!(%lease, shards, runs = count, "shards are handed over");
    }

    /// The store has released these shards.
    pub(super) fn released(&mut self, released: &[Released]) {
        released.iter().for_each(|released| self.shards.remove(released.shard));
    }
}
