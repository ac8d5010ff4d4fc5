//! The processor's part that holds runs: those in memory, in the order of their deadlines and releases, and those that are
//! left alone. It must not know what a run does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::data::id::{RunId, ShardId};
use crate::data::id_map::IdMap;
use crate::data::time::Timestamp;
use crate::processor::live::Live;
use crate::processor::memory::{Held, Tally};
use crate::processor::received::Received;
use crate::store::inbox::MessageRef;

/// The runs of a processor.
pub(super) struct Runs {
    tally: Tally,
    in_memory: IdMap<RunId, InMemory>,
    order: Order,
    /// Runs that park with a deadline up to this time stay in memory.
    kept_until: Option<Timestamp>,
    /// The run that was worked on last: if the turn took too long, this run is at fault.
    worked_on: Option<RunId>,
    /// Runs that are left alone here, and why: the store refuses what they write, their histories are invalid, or they are
    /// set aside.
    left_alone: BTreeMap<RunId, String>,
    /// The messages to them that stay in the inbox.
    passed_over: BTreeMap<RunId, Vec<MessageRef>>,
    /// The runs that were continued, as long as a read may still return messages that are for their successors.
    continued: BTreeMap<RunId, Continued>,
}

/// A run that was continued.
struct Continued {
    successor: RunId,
    /// Whether the store knows.
    committed: bool,
}

struct InMemory {
    live: Box<Live>,
    /// Its entry in [`Order::wakes`].
    wake: Option<Timestamp>,
    /// The messages that arrived before it was in memory, and those that arrived after them.
    arrivals: VecDeque<Received>,
    /// Its entry in [`Order::resting`].
    rests: Option<u64>,
    /// Counts its bytes.
    held: Held,
}

impl InMemory {
    /// Takes the messages that were not delivered: terminations that wait, and what arrived after them.
    fn take_undelivered(&mut self) -> VecDeque<Received> {
        let mut undelivered = VecDeque::from(self.live.take_held());
        undelivered.append(&mut self.arrivals);
        undelivered
    }
}

/// The order in which runs in memory have work to do.
#[derive(Default)]
struct Order {
    /// The first deadline of each run.
    wakes: BTreeSet<(Timestamp, RunId)>,
    /// Runs whose code is still to handle events that waited for it.
    releasing: BTreeSet<RunId>,
    /// Runs with [`InMemory::arrivals`], which take turns.
    receiving: VecDeque<RunId>,
    /// Runs that stay in memory although they could leave it, in the order in which they came to rest.
    resting: BTreeMap<u64, RunId>,
    /// How often a run came to rest, and how often it had at the last two heartbeats, the earlier one first.
    rested: u64,
    rested_at: [u64; 2],
}

/// A run in memory and its place in the order of work.
pub(super) struct RunEntry<'a> {
    pub(super) live: &'a mut Live,
    wake: &'a mut Option<Timestamp>,
    held: &'a mut Held,
    order: &'a mut Order,
}

impl RunEntry<'_> {
    /// Updates the order of work after progress: the next deadline may differ, and the code may have events to handle. Its
    /// size may differ, too.
    pub(super) fn update_order(self) {
        let Self { live, wake, held, order } = self;
        held.resize(live.bytes());
        if live.run().can_release() {
            order.releasing.insert(live.id());
        }
        let next = live.next_deadline().map(|deadline| deadline.at);
        if next != *wake {
            wake.inspect(|old| _ = order.wakes.remove(&(*old, live.id())));
            order.wakes.extend(next.map(|at| (at, live.id())));
            *wake = next;
        }
    }
}

impl Runs {
    pub(super) fn new(tally: Tally) -> Self {
        Self {
            tally,
            in_memory: IdMap::default(),
            order: Order::default(),
            kept_until: None,
            worked_on: None,
            left_alone: BTreeMap::new(),
            passed_over: BTreeMap::new(),
            continued: BTreeMap::new(),
        }
    }

    /// Takes a run into memory.
    pub(super) fn insert(&mut self, live: Box<Live>) {
        let (id, held) = (live.id(), self.tally.hold(live.bytes()));
        let in_memory = InMemory { live, wake: None, arrivals: VecDeque::new(), rests: None, held };
        self.in_memory.insert(id, in_memory);
    }

    /// Takes a run out of memory, with the messages that were not delivered to it.
    pub(super) fn forget(&mut self, run: RunId) -> Option<(Box<Live>, VecDeque<Received>)> {
        let mut in_memory = self.in_memory.remove(&run)?;
        let undelivered = in_memory.take_undelivered();
        let InMemory { live, wake, rests, .. } = in_memory;
        wake.inspect(|wake| _ = self.order.wakes.remove(&(*wake, run)));
        rests.inspect(|rests| _ = self.order.resting.remove(rests));
        Some((live, undelivered))
    }

    /// Takes the runs of these shards out of memory, ascending, with all that is known of other runs there.
    pub(super) fn leave(&mut self, shards: &BTreeSet<ShardId>) -> Vec<Live> {
        let is_leaving = |run: RunId| shards.contains(&run.shard());
        self.order.releasing.retain(|run| !is_leaving(*run));
        self.left_alone.retain(|run, _| !is_leaving(*run));
        self.passed_over.retain(|run, _| !is_leaving(*run));
        self.continued.retain(|run, _| !is_leaving(*run));
        let runs = self.in_memory.sorted().into_iter().map(|(run, _)| *run).filter(|run| is_leaving(*run));
        let runs: Vec<RunId> = runs.collect();
        runs.into_iter().filter_map(|run| self.forget(run)).map(|(live, _)| *live).collect()
    }

    /// All runs in memory, ascending.
    pub(super) fn all(&self) -> impl Iterator<Item = &Live> {
        self.in_memory.sorted().into_iter().map(|(_, in_memory)| &*in_memory.live)
    }

    /// Has messages delivered to a run in memory one by one, because many may have arrived before it was.
    pub(super) fn receive(&mut self, run: RunId, messages: impl IntoIterator<Item = Received>) {
        if let Some(InMemory { arrivals, .. }) = self.in_memory.get_mut(&run) {
            let receiving = !arrivals.is_empty();
            arrivals.extend(messages);
            if !receiving && !arrivals.is_empty() {
                self.order.receiving.push_back(run);
            }
        }
    }

    /// Whether messages are still to be delivered to a run.
    pub(super) fn is_receiving(&self, run: RunId) -> bool {
        self.in_memory.get(&run).is_some_and(|in_memory| !in_memory.arrivals.is_empty())
    }

    /// Whether messages are still to be delivered to runs in memory.
    pub(super) fn has_received(&self) -> bool {
        !self.order.receiving.is_empty()
    }

    /// Takes the next of these messages, and its run.
    pub(super) fn next_received(&mut self) -> Option<(RunId, Received)> {
        while let Some(run) = self.order.receiving.pop_front() {
            let arrivals = self.in_memory.get_mut(&run).map(|in_memory| &mut in_memory.arrivals);
            if let Some(arrivals) = arrivals
                && let Some(received) = arrivals.pop_front()
            {
                if !arrivals.is_empty() {
                    self.order.receiving.push_back(run);
                }
                return Some((run, received));
            }
        }
        None
    }

    /// How many runs are in memory.
    pub(super) fn len(&self) -> usize {
        self.in_memory.len()
    }

    /// Whether a run is in memory.
    pub(super) fn contains(&self, run: RunId) -> bool {
        self.in_memory.contains_key(&run)
    }

    pub(super) fn get(&self, run: RunId) -> Option<&Live> {
        self.in_memory.get(&run).map(|in_memory| &*in_memory.live)
    }

    pub(super) fn get_mut(&mut self, run: RunId) -> Option<&mut Live> {
        self.in_memory.get_mut(&run).map(|in_memory| &mut *in_memory.live)
    }

    /// Notes that a run is worked on.
    pub(super) fn work_on(&mut self, run: RunId) {
        self.worked_on = Some(run);
    }

    /// The run that was worked on last.
    pub(super) fn worked_on(&self) -> Option<RunId> {
        self.worked_on
    }

    /// The entry of a run in memory.
    pub(super) fn entry(&mut self, run: RunId) -> Option<RunEntry<'_>> {
        let InMemory { live, wake, held, .. } = self.in_memory.get_mut(&run)?;
        Some(RunEntry { live, wake, held, order: &mut self.order })
    }

    /// The first deadline, and its run.
    pub(super) fn next_wake(&self) -> Option<(Timestamp, RunId)> {
        self.order.wakes.first().copied()
    }

    /// Takes the next run that may have events to handle.
    pub(super) fn next_release(&mut self) -> Option<RunId> {
        self.order.releasing.pop_first()
    }

    /// From now on, runs that park with a deadline up to this time stay in memory.
    pub(super) fn keep_until(&mut self, until: Timestamp) {
        self.kept_until = self.kept_until.max(Some(until));
    }

    /// Runs that park with a deadline up to this time stay in memory.
    pub(super) fn kept_until(&self) -> Option<Timestamp> {
        self.kept_until
    }

    /// Whether a run in memory may leave it, so that only its rows remain.
    pub(super) fn is_idle(&self, run: RunId) -> bool {
        let idle = |live: &Live| live.is_idle(self.kept_until) || self.left_alone.contains_key(&run);
        self.get(run).is_some_and(|live| live.is_committed() && idle(live)) && !self.is_receiving(run)
    }

    /// Keeps an idle run in memory as long as there is room.
    pub(super) fn rest(&mut self, run: RunId) {
        let Some(InMemory { rests, .. }) = self.in_memory.get_mut(&run) else { return };
        self.order.rested += 1;
        rests.replace(self.order.rested).inspect(|rests| _ = self.order.resting.remove(rests));
        self.order.resting.insert(self.order.rested, run);
    }

    /// Ends the rest of the run that rests longest: it may leave memory.
    pub(super) fn next_resting(&mut self) -> Option<RunId> {
        let (_, run) = self.order.resting.pop_first()?;
        self.in_memory.get_mut(&run).into_iter().for_each(|in_memory| in_memory.rests = None);
        Some(run)
    }

    /// The same, of a run that has rested since before the last two heartbeats.
    pub(super) fn next_rested(&mut self) -> Option<RunId> {
        let (rests, _) = self.order.resting.first_key_value()?;
        if *rests <= self.order.rested_at[0] { self.next_resting() } else { None }
    }

    /// A heartbeat is about to be sent: another while of rest is over.
    pub(super) fn note_heartbeat(&mut self) {
        self.order.rested_at = [self.order.rested_at[1], self.order.rested];
    }

    /// From now on the run is left alone. Returns whether that is new.
    pub(super) fn leave_alone(&mut self, run: RunId, why: String) -> bool {
        self.left_alone.insert(run, why).is_none()
    }

    pub(super) fn is_left_alone(&self, run: RunId) -> bool {
        self.left_alone.contains_key(&run)
    }

    pub(super) fn why_left_alone(&self, run: RunId) -> Option<&String> {
        self.left_alone.get(&run)
    }

    /// This message to a run that is left alone stays in the inbox.
    pub(super) fn pass_over(&mut self, run: RunId, message: MessageRef) {
        self.passed_over.entry(run).or_default().push(message);
    }

    /// The run is not left alone any more. Returns the messages that stayed in the inbox for it, and those that were about to;
    /// `None` if it was not left alone.
    pub(super) fn take_up(&mut self, run: RunId) -> Option<Vec<MessageRef>> {
        self.left_alone.remove(&run)?;
        let mut messages = self.passed_over.remove(&run).unwrap_or_default();
        if let Some(InMemory { arrivals, .. }) = self.in_memory.get_mut(&run) {
            messages.extend(arrivals.drain(..).map(|received| received.reference));
        }
        Some(messages)
    }

    /// A run is continued by another. Returns the messages that were not delivered to it.
    pub(super) fn continue_with(&mut self, run: RunId, successor: RunId) -> VecDeque<Received> {
        self.continued.insert(run, Continued { successor, committed: false });
        self.in_memory.get_mut(&run).map(InMemory::take_undelivered).unwrap_or_default()
    }

    /// The run that receives what was read for `run`: the last one that continues it, as far as the store may not know.
    pub(super) fn current(&self, mut run: RunId) -> RunId {
        while let Some(continued) = self.continued.get(&run) {
            run = continued.successor;
        }
        run
    }

    /// The store knows that a run was continued. A read in progress may not.
    pub(super) fn settle_continued(&mut self, run: RunId, is_reading: bool) {
        if !is_reading {
            self.continued.remove(&run);
        } else if let Some(continued) = self.continued.get_mut(&run) {
            continued.committed = true;
        }
    }

    /// A read begins, which sees everything that is committed.
    pub(super) fn forget_continued(&mut self) {
        self.continued.retain(|_, continued| !continued.committed);
    }

    /// The store refuses the end of a run that was to be continued. Returns the run that was to continue it.
    pub(super) fn undo_continuation(&mut self, run: RunId) -> Option<RunId> {
        self.continued.remove(&run).map(|continued| continued.successor)
    }

    /// The run is over: it is not left alone any more. Returns the messages that stayed in the inbox for it.
    pub(super) fn end(&mut self, run: RunId) -> Vec<MessageRef> {
        self.left_alone.remove(&run);
        self.passed_over.remove(&run).unwrap_or_default()
    }
}
