//! The reads of people: descriptions and lists. They may look at every run, since people can wait longer than
//! processors; so no processor may read through here.

use std::ops::Bound;

use bytes::Bytes;
use pgworkflows_core::id::{LeaseId, MessageId, ShardId};
use pgworkflows_core::store::{
    Attributes, ClosedRun, FoundView, KeyPage, KeyedRun, LeaseDescription, Notice, Queue, QueueDescription,
    Reply, RunDescription, RunFilter, RunPage, ShardNeeds, Topic, Undelivered, Watch, Watched, What,
};
use pgworkflows_core::{RunId, Timestamp};

use super::transaction::RunKey;
use super::{Lease, Row, Run, Shards, State, shard_id};

impl State {
    /// The topics that have happened.
    pub(crate) fn watch(&self, watch: &Watch) -> Watched {
        let notice = |topic: &Topic| match topic.what {
            What::Closed => self.end_of(topic.run).map(Notice::Closed),
            What::Published { after } => {
                let is_continued = self.current_of(topic.run) != topic.run;
                let last = self.views.get(&topic.run).and_then(|views| views.values().max().copied());
                let seq = if is_continued { Notice::CONTINUED } else { last? };
                (Some(seq) > after).then_some(Notice::Published { run: topic.run, after, seq })
            }
            What::Replied { message } => {
                let body = self.reply_to(message, topic.run)?.clone();
                Some(Notice::Replied(Reply { run: topic.run, message, body }))
            }
        };
        Watched::within(watch.bytes, watch.topics.iter().filter_map(notice))
    }

    /// The reply to a message: of the run, or of another one of its chain.
    pub(super) fn reply_to(&self, message: MessageId, run: RunId) -> Option<&Bytes> {
        if let Some(own) = self.replies.get(&(message, run)) {
            return Some(own);
        }
        let first = self.first_of(run);
        let mut replies =
            self.replies.range((message, RunId::from_u128(0))..=(message, RunId::from_u128(u128::MAX)));
        replies.find(|((_, replied), _)| self.first_of(*replied) == first).map(|(_, body)| body)
    }

    /// The end of a run: if it was continued, that of the last run of its chain.
    fn end_of(&self, run: RunId) -> Option<ClosedRun> {
        let end = self.runs.get(&self.current_of(run))?.closed(run)?;
        Some(end).filter(|end| !end.status.is_continued())
    }

    /// The description of a queue.
    pub(crate) fn describe_queue(&self, now: Timestamp, name: &str) -> Option<QueueDescription> {
        let queue = self.queues.get(name)?;
        let is_live = |lease: &Lease| lease.queue == name && lease.expires_at > now;
        // Ids ascend with age.
        let live = self.leases.iter().filter(|(_, lease)| is_live(lease));
        let described = |(id, lease): (&LeaseId, &Lease)| LeaseDescription {
            lease: *id,
            worker: lease.worker.clone(),
            build: lease.build.clone(),
            shards: lease.shards.iter().copied().collect(),
            live_runs: lease.live_runs,
            renewed_at: lease.renewed_at,
        };
        let leases = live.map(described).collect();
        let needs = |shard: ShardId| {
            let workflows: Vec<_> = self.shard(shard)?.needs.iter().cloned().collect();
            (!workflows.is_empty()).then_some(ShardNeeds { shard, workflows })
        };
        let needs = queue.iter().filter_map(needs).collect();
        Some(QueueDescription { name: name.to_owned(), shard_count: queue.count, leases, needs })
    }

    /// All queues, ascending by name.
    pub(crate) fn queues(&self, now: Timestamp) -> Vec<Queue> {
        let queue = |(name, range): (&String, &Shards)| Queue {
            name: name.clone(),
            first_shard: shard_id(range.first),
            shard_count: range.count,
            now,
        };
        self.queues.iter().map(queue).collect()
    }

    /// The queues whose live leases know a workflow; without any, that of the last one.
    pub(crate) fn queues_of(&self, now: Timestamp, workflow: &str) -> Vec<String> {
        let Some(queues) = self.known_queues.get(workflow) else { return Vec::new() };
        let knows = |lease: &Lease| lease.expires_at > now && lease.build.workflows.contains(workflow);
        let is_live =
            |queue: &&String| self.leases.values().any(|lease| lease.queue == **queue && knows(lease));
        let live: Vec<String> = queues.keys().filter(is_live).cloned().collect();
        if !live.is_empty() {
            return live;
        }
        let last = queues.iter().max_by_key(|(_, at)| **at);
        last.map(|(queue, _)| queue.clone()).into_iter().collect()
    }

    /// The description of a run.
    pub(crate) fn describe(&self, id: RunId) -> Option<RunDescription> {
        self.runs.get(&id).map(|run| self.description(id, run))
    }

    fn description(&self, id: RunId, run: &Run) -> RunDescription {
        let undelivered = self.undelivered.get(&id).into_iter().flatten();
        let Run { workflow, key, parent, .. } = run;
        RunDescription {
            run: id,
            workflow: workflow.to_string(),
            key: key.clone(),
            parent: *parent,
            open: run.open_row(),
            closed: run.closed(id),
            attributes: self.attributes.get(&id).cloned().unwrap_or_default(),
            link: run.link,
            current: Some(self.current_of(id)).filter(|current| *current != id),
            undelivered: undelivered.take(Undelivered::SHOWN_MAX).cloned().collect(),
        }
    }

    /// The newest value of a view.
    pub(crate) fn view(&self, id: RunId, view: &str) -> Option<FoundView> {
        let id = self.current_of(id);
        let seq = *self.views.get(&id)?.get(view)?;
        let frame = self.runs.get(&id)?.frames.iter().rfind(|frame| frame.seq <= seq)?;
        Some(FoundView { seq, frame: frame.clone() })
    }

    /// A page of the runs of a workflow that have keys, in the order of the keys.
    pub(crate) fn keyed_runs(&self, page: &KeyPage) -> Vec<KeyedRun> {
        let KeyPage { workflow, prefix, after, limit } = page;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let keys = self.keys.get(workflow.as_str()).into_iter();
        let keys = keys.flat_map(|keys| keys.range::<String, _>((from, Bound::Unbounded)));
        let keys = keys.take_while(|(key, _)| key.starts_with(prefix)).take(*limit as usize);
        let keyed = |(key, held): (&String, &RunKey)| {
            let is_open = self.is_open(self.current_of(held.run));
            KeyedRun { key: key.clone(), run: held.run, is_open }
        };
        keys.map(keyed).collect()
    }

    /// How far a list of so many runs would go: see `StoreQuery::horizon`.
    pub(crate) fn horizon(&self, filter: &RunFilter, page: &RunPage) -> Option<RunId> {
        if let Some((name, value)) = filter.attributes.iter().next() {
            let has = |id: &RunId| self.attributes.get(id).is_some_and(|own| own.has(name, value));
            let in_page =
                self.attributes.keys().rev().filter(|id| page.before.is_none_or(|before| **id < before));
            return in_page.filter(|id| has(id)).nth(page.limit.saturating_sub(1) as usize).copied();
        }
        let last = |selected: bool, open: bool| {
            let of_half = RunFilter { open: Some(open), ..RunFilter::default() };
            let in_page = self.runs.sorted().into_iter().rev();
            let in_page = in_page.filter(|(id, _)| page.before.is_none_or(|before| **id < before));
            let mut runs = in_page.filter(|(_, run)| selected && matches(&of_half, run));
            runs.nth(page.limit.saturating_sub(1) as usize).map(|(id, _)| *id)
        };
        last(filter.selects_open(), true).max(last(filter.selects_closed(), false))
    }

    /// Whether a run has all of these attributes.
    fn has_all(&self, id: RunId, wanted: &Attributes) -> bool {
        let own = self.attributes.get(&id);
        wanted.iter().all(|(name, value)| own.is_some_and(|own| own.has(name, value)))
    }

    /// A page of runs, newest first.
    pub(crate) fn list(&self, filter: &RunFilter, page: &RunPage) -> Vec<RunDescription> {
        let newest_first = self.runs.sorted().into_iter().rev();
        let is_in_page = |id: RunId| page.before.is_none_or(|before| id < before) && Some(id) >= filter.since;
        let in_page = newest_first.filter(|(id, _)| is_in_page(**id));
        let matching =
            in_page.filter(|(id, run)| matches(filter, run) && self.has_all(**id, &filter.attributes));
        matching.take(page.limit as usize).map(|(id, run)| self.description(*id, run)).collect()
    }
}

fn matches(filter: &RunFilter, run: &Run) -> bool {
    let RunFilter { workflow, parent, open, state, status, attributes: _, since: _ } = filter;
    let row = match &run.row {
        Row::Open(_) => {
            let shown = run.open_row().map(|row| row.state);
            open.unwrap_or(true) && status.is_none() && (state.is_none() || *state == shown)
        }
        Row::Closed(closed) => {
            !open.unwrap_or(false) && state.is_none() && status.is_none_or(|status| status == closed.status)
        }
    };
    row && parent.is_none_or(|parent| run.parent == Some(parent))
        && workflow.as_ref().is_none_or(|workflow| run.workflow == workflow.as_str())
}
