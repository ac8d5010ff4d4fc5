//! The processor's part that requests histories: which runs to load, and which messages wait for them. It must not know how
//! a run is replayed.
//!
//! A run in memory is never loaded, and a run that is being loaded enters memory in no other way. So a history is complete
//! when it is replayed, however long its read took.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::data::id::{EventSeq, RunId, ShardId};
use crate::data::time::Timestamp;
use crate::processor::histories::Arrived;
use crate::processor::memory::{RUN_BYTES, Tally};
use crate::processor::received::Received;
use crate::store::history::{DueMark, Load, Loaded, Unparked};

/// How many runs are listed at once.
const LISTED: u32 = 2_000;

/// For how many runs histories are requested at once, or two more.
const PAGE: usize = 250;

/// Whether there is room for starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starts {
    Welcome,
    HeldBack,
}

/// The runs to load, and those whose starts are held back.
pub(super) struct Loads {
    tally: Tally,
    /// Shards whose busy and stalled runs are still to be listed.
    listings: VecDeque<Unparked>,
    /// All runs to load, with the messages that wait for them.
    waiting: BTreeMap<RunId, Vec<Received>>,
    /// Runs with a waiting message, in the order of arrival.
    wanted: VecDeque<RunId>,
    /// Runs with a near deadline, as they were found.
    due: VecDeque<DueMark>,
    /// Runs that were busy or stalled when their shard was claimed.
    recovering: VecDeque<RunId>,
    /// Runs that must not be loaded yet.
    held: BTreeSet<RunId>,
    /// Runs whose starts are held back, in the order of arrival. They have no history.
    starts: VecDeque<RunId>,
    /// The run whose history was cut, and where its last frame that arrived begins: the rest is requested next.
    cut: Option<(RunId, EventSeq)>,
}

impl Loads {
    pub(super) fn new(tally: Tally) -> Self {
        Self {
            tally,
            listings: VecDeque::new(),
            waiting: BTreeMap::new(),
            wanted: VecDeque::new(),
            due: VecDeque::new(),
            recovering: VecDeque::new(),
            held: BTreeSet::new(),
            starts: VecDeque::new(),
            cut: None,
        }
    }

    /// Has the busy and stalled runs of some shards loaded.
    pub(super) fn recover(&mut self, shards: Vec<ShardId>) {
        self.listings.push_back(Unparked { shards, after: None, limit: LISTED });
    }

    /// Has a run loaded for the messages that wait for it.
    pub(super) fn want(&mut self, run: RunId, waiting: impl IntoIterator<Item = Received>) {
        let queue = self.waiting.entry(run).or_insert_with(|| {
            self.wanted.push_back(run);
            Vec::new()
        });
        queue.extend(waiting);
    }

    /// Has a run loaded for its deadline.
    pub(super) fn want_due(&mut self, due: DueMark) {
        self.waiting.entry(due.run).or_insert_with(|| {
            self.due.push_back(due);
            Vec::new()
        });
    }

    /// Holds a run back before it is loaded, with the messages that wait for it.
    pub(super) fn hold(&mut self, run: RunId, waiting: Vec<Received>) {
        self.waiting.entry(run).or_default().extend(waiting);
        self.held.insert(run);
    }

    /// A run that was held back enters memory in another way: takes the messages that wait for it.
    pub(super) fn unhold(&mut self, run: RunId) -> Vec<Received> {
        self.held.remove(&run);
        self.take_waiting(run)
    }

    /// Whether a run is held back.
    pub(super) fn is_held(&self, run: RunId) -> bool {
        self.held.contains(&run)
    }

    /// Has a run that was held back loaded.
    pub(super) fn admit(&mut self, run: RunId) {
        if self.held.remove(&run) {
            self.wanted.push_back(run);
        }
    }

    /// Holds back the start of a run that is not expected. What is sent to the run waits with it.
    pub(super) fn hold_start(&mut self, run: RunId, start: Received) {
        self.waiting.insert(run, vec![start]);
        self.starts.push_back(run);
    }

    /// Whether starts are held back.
    pub(super) fn has_starts(&self) -> bool {
        !self.starts.is_empty()
    }

    /// Takes the next run whose start is held back, and what waits for it.
    pub(super) fn next_start(&mut self) -> Option<(RunId, Vec<Received>)> {
        let run = self.starts.pop_front()?;
        Some((run, self.take_waiting(run)))
    }

    /// Whether runs are to be loaded for messages.
    pub(super) fn has_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether runs are to be loaded for deadlines.
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Has a run that was busy or stalled when its shard was claimed loaded.
    pub(super) fn want_recovered(&mut self, run: RunId) {
        self.waiting.entry(run).or_insert_with(|| {
            self.recovering.push_back(run);
            Vec::new()
        });
    }

    /// Whether runs of claimed shards are still to be loaded.
    pub(super) fn is_recovering(&self) -> bool {
        !(self.listings.is_empty() && self.recovering.is_empty() && self.cut.is_none())
    }

    /// Whether a run is to be loaded.
    pub(super) fn expects(&self, run: RunId) -> bool {
        self.waiting.contains_key(&run)
    }

    /// The messages that wait for a run to load; `None` if it is not to be loaded.
    pub(super) fn queue(&mut self, run: RunId) -> Option<&mut Vec<Received>> {
        self.waiting.get_mut(&run)
    }

    /// A run was loaded: takes the messages that waited for it.
    pub(super) fn take_waiting(&mut self, run: RunId) -> Vec<Received> {
        self.waiting.remove(&run).unwrap_or_default()
    }

    /// Returns the next list to request.
    pub(super) fn ask_list(&mut self) -> Option<Unparked> {
        self.listings.pop_front()
    }

    /// Takes its answer. If it was cut, requests the next page.
    pub(super) fn listed(&mut self, asked: Unparked, cut: Option<RunId>) {
        if cut.is_some() && !asked.shards.is_empty() {
            self.listings.push_back(Unparked { after: cut, ..asked });
        }
    }

    pub(super) fn list_failed(&mut self, asked: Unparked) {
        self.listings.extend((!asked.shards.is_empty()).then_some(asked));
    }

    /// Returns the next histories to request, and at most so many bytes of them. With `only_due_at`, few are requested, and no
    /// run whose deadline comes later.
    pub(super) fn ask(&mut self, bytes: usize, only_due_at: Option<Timestamp>) -> Option<Load> {
        let count = if only_due_at.is_some() { 1 } else { (bytes / RUN_BYTES).clamp(1, PAGE) };
        if let Some((run, seq)) = self.cut {
            return Some(Load { runs: vec![run], after: Some(seq), bytes });
        }
        let is_due = |due: &mut DueMark| only_due_at.is_none_or(|at| due.wake_at <= at);
        let mut runs: Vec<RunId> = Vec::new();
        while runs.len() < count {
            // One of each kind in turn, so that none waits for all of another.
            let due = self.due.pop_front_if(is_due).map(|due| due.run);
            let next = [self.wanted.pop_front(), due, self.recovering.pop_front()];
            if next == [None; 3] {
                break;
            }
            runs.extend(next.into_iter().flatten());
        }
        runs.sort_unstable();
        (!runs.is_empty()).then_some(Load { runs, after: None, bytes })
    }

    /// Takes its answer. Returns the histories that arrived.
    pub(super) fn answer(&mut self, asked: Load, loaded: Loaded) -> Vec<Arrived> {
        let mut histories = loaded.histories.into_iter().peekable();
        let mut arrived = Vec::with_capacity(asked.runs.len());
        self.cut = None;
        for run in asked.runs {
            let history = histories.next_if(|history| history.run == run);
            let frames = history.map(|history| history.frames).unwrap_or_default();
            if loaded.cut.is_none_or(|cut| run < cut) {
                arrived.push(Arrived::new(run, frames, true, &self.tally));
            } else if let Some(last) = frames.last() {
                self.cut = Some((run, last.seq));
                arrived.push(Arrived::new(run, frames, false, &self.tally));
            } else {
                self.wanted.push_back(run);
            }
        }
        arrived
    }

    pub(super) fn failed(&mut self, asked: Load) {
        // The rest of a cut history is requested again anyway.
        if asked.after.is_none() {
            self.wanted.extend(asked.runs);
        }
    }

    /// These shards go to another owner: nothing of them is loaded any more.
    pub(super) fn leave_shards(&mut self, shards: &BTreeSet<ShardId>) {
        let is_staying = |run: &RunId| !shards.contains(&run.shard());
        self.listings.iter_mut().for_each(|list| list.shards.retain(|shard| !shards.contains(shard)));
        self.listings.retain(|list| !list.shards.is_empty());
        self.waiting.retain(|run, _| is_staying(run));
        self.wanted.retain(is_staying);
        self.due.retain(|due| is_staying(&due.run));
        self.recovering.retain(is_staying);
        self.held.retain(is_staying);
        self.starts.retain(is_staying);
        self.cut.take_if(|(run, _)| !is_staying(run));
    }

    /// Stops loading a run, and returns the messages that wait for it.
    pub(super) fn leave(&mut self, run: RunId) -> Vec<Received> {
        self.cut.take_if(|(cut, _)| *cut == run);
        self.take_waiting(run)
    }
}
