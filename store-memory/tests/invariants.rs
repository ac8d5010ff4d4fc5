//! Random operations of two owners and two clients under random faults. The invariants of the design hold after each
//! operation. The tests must not know more of the store than the seam and its faults.
//!
//! Owners and clients follow the protocol: an append with an unknown outcome is repeated unchanged, `Fenced` makes an
//! owner forget everything, and a client repeats a message until it is answered.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{claim, empty_append, frame, reference, signal, start};
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{AppendNo, ClaimId, EventSeq, LeaseId, MessageId, Position, RunId, ShardId};
use pgworkflows_core::store::{
    Append, Claim, ClosedRun, ClosedStatus, Frame, Heartbeat, Hint, InboxCursor, InboxMessage, InboxRead,
    LeaseHeartbeat, Load, OpenRow, Release, RunFilter, RunHistory, RunPage, Session, Store, StoreError,
    Submission, Submitted, UpdatedRun,
};
use pgworkflows_memory::{Fault, FaultPoint, Faults, ManualClock, MemoryStore, Stage};
use proptest::prelude::*;

const TTL: Duration = Duration::from_secs(10);
/// A run ends with the message whose number is a multiple of this.
const LAST_MESSAGE: u128 = 7;

#[derive(Clone, Debug)]
enum Operation {
    /// The owner works: it repeats an unresolved append, or claims, or reads and appends.
    Work(usize),
    /// The owner sends a heartbeat.
    Heartbeat(usize),
    Release(usize),
    /// The owner's process dies.
    Crash(usize),
    /// The client starts a run, or repeats what was not answered.
    Start(usize),
    /// The client signals one of its runs, or repeats what was not answered.
    Signal(usize, usize),
    DeliverLingering,
    Advance(u64),
    Snapshot,
    Restore,
}

fn operations(restores: bool) -> impl Strategy<Value = Vec<Operation>> {
    let restore_weight = u32::from(restores);
    let operation = prop_oneof![
        12 => (0..2_usize).prop_map(Operation::Work),
        3 => (0..2_usize).prop_map(Operation::Heartbeat),
        1 => (0..2_usize).prop_map(Operation::Release),
        1 => (0..2_usize).prop_map(Operation::Crash),
        4 => (0..2_usize).prop_map(Operation::Start),
        8 => (0..2_usize, 0..100_usize).prop_map(|(client, run)| Operation::Signal(client, run)),
        3 => Just(Operation::DeliverLingering),
        3 => (0..8_u64).prop_map(Operation::Advance),
        restore_weight => Just(Operation::Snapshot),
        restore_weight => Just(Operation::Restore),
    ];
    prop::collection::vec(operation, 1..250)
}

fn weights() -> impl Strategy<Value = FaultWeights> {
    // Some weights are zero in some cases, because one fault can hide another.
    let weight = || prop_oneof![Just(0_u32), 1..300_u32];
    [weight(), weight(), weight(), weight(), weight()].prop_map(|[one, two, three, four, five]| {
        FaultWeights {
            request_lost: one,
            repeated: two,
            lingering: three,
            commit_lost: four,
            acknowledgement_lost: five,
            delayed: one / 2,
            hint_lost: two,
            hint_repeated: three,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_or_doubled(
        operations in operations(false), seed in any::<u64>(), weights in weights(),
    ) {
        block_on(async {
            let mut world = World::new(seed, weights).await;
            for operation in operations {
                world.perform(operation).await;
                world.check_log().await;
            }
            world.quiesce().await;
            world.check_log().await;
            world.check_messages().await;
        });
    }

    #[test]
    fn log_has_no_gap_though_commits_are_lost(
        operations in operations(true), seed in any::<u64>(), weights in weights(),
    ) {
        block_on(async {
            let mut world = World::new(seed, weights).await;
            for operation in operations {
                world.perform(operation).await;
                world.check_log().await;
            }
        });
    }
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
}

struct World {
    store: MemoryStore,
    clock: Arc<ManualClock>,
    faults: Arc<SeededFaults>,
    owners: Vec<Owner>,
    clients: Vec<Client>,
    numbers_used: u64,
    backup: Option<pgworkflows_memory::Snapshot>,
    restored: bool,
}

#[derive(Default)]
struct Client {
    runs: Vec<RunId>,
    unanswered: Option<Submission>,
    accepted: Vec<(RunId, MessageId)>,
}

impl World {
    async fn new(seed: u64, weights: FaultWeights) -> Self {
        let clock = Arc::new(ManualClock::default());
        let faults = Arc::new(SeededFaults::new(seed));
        let store = MemoryStore::with_faults(clock.clone(), faults.clone());
        store.queue("default", common::SHARDS).await.unwrap();
        let mut owners = Vec::new();
        for _ in 0..2 {
            owners.push(Owner::new(store.session().await.unwrap()));
        }
        faults.set_weights(weights);
        let clients = vec![Client::default(), Client::default()];
        Self { store, clock, faults, owners, clients, numbers_used: 0, backup: None, restored: false }
    }

    async fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Work(owner) => self.owners[owner].work(self.restored).await,
            Operation::Heartbeat(owner) => self.owners[owner].heartbeat().await,
            Operation::Release(owner) => self.owners[owner].release().await,
            Operation::Crash(owner) => self.owners[owner].forget(),
            Operation::Start(client) => {
                self.numbers_used += 1;
                self.send(client, start(self.numbers_used)).await;
            }
            Operation::Signal(client, to) => {
                let runs = &self.clients[client].runs;
                if !runs.is_empty() {
                    self.numbers_used += 1;
                    let to = runs[to % runs.len()];
                    let signal = Submission { run: to, ..signal(0, self.numbers_used) };
                    self.send(client, signal).await;
                }
            }
            Operation::DeliverLingering => {
                self.store.deliver_lingering();
            }
            Operation::Advance(seconds) => self.clock.advance(Duration::from_secs(seconds)),
            Operation::Snapshot => self.backup = Some(self.store.snapshot()),
            Operation::Restore => {
                if let Some(backup) = &self.backup {
                    self.restored = true;
                    self.store.restore(backup);
                }
            }
        }
    }

    /// Sends a message, or repeats the previous one if it was not answered.
    async fn send(&mut self, client: usize, submission: Submission) {
        let client = &mut self.clients[client];
        let submission = client.unanswered.take().unwrap_or(submission);
        match self.store.submit(std::slice::from_ref(&submission)).await {
            Ok(answers) => match answers[0] {
                Submitted::Accepted => {
                    client.accepted.push((submission.run, submission.message));
                    if submission.opens.is_some() {
                        client.runs.push(submission.run);
                    }
                }
                Submitted::RunOver => {}
                Submitted::UnknownRun => assert!(self.restored, "its start was acknowledged"),
                answer
                @ (Submitted::Existing(_) | Submitted::ExistingOver(_) | Submitted::KeyConflict(_)) => {
                    panic!("{answer:?}")
                }
            },
            Err(StoreError::Unavailable { .. }) => client.unanswered = Some(submission),
            Err(error) => panic!("{error}"),
        }
    }

    /// Ends all faults and processes all waiting messages.
    async fn quiesce(&mut self) {
        self.faults.set_weights(FaultWeights::default());
        while self.store.deliver_lingering() {}
        for client in 0..2 {
            if let Some(unanswered) = self.clients[client].unanswered.clone() {
                self.send(client, unanswered).await;
            }
        }
        self.clock.advance(TTL * 2);
        self.owners.truncate(1);
        self.owners[0].forget();
        self.owners[0].limit = common::SHARDS;
        for _ in 0..1000 {
            self.owners[0].work(self.restored).await;
        }
        let mut session = self.store.session().await.unwrap();
        assert_eq!(common::inbox(&mut *session).await, [], "every message was consumed");
    }

    async fn histories(&self) -> Vec<RunHistory> {
        // Read from a copy, whose reads have no faults.
        let quiet = MemoryStore::new();
        quiet.restore(&self.store.snapshot());
        let page = RunPage { before: None, limit: u32::MAX };
        let runs = quiet.query().list(&RunFilter::default(), &page).await.unwrap();
        // The newest come first.
        let runs = runs.into_iter().rev().map(|run| run.run).collect();
        let load = Load { runs, after: None, bytes: usize::MAX };
        quiet.session().await.unwrap().load(&load).await.unwrap().histories
    }

    /// Checks that `(run, seq)` and `(shard, position)` have no gap, and that no message is recorded twice.
    async fn check_log(&self) {
        let mut positions: BTreeMap<ShardId, Vec<u64>> = BTreeMap::new();
        let mut messages = BTreeSet::new();
        for history in self.histories().await {
            let mut next = EventSeq::FIRST;
            for frame in &history.frames {
                assert_eq!(frame.seq, next, "frames of {}", history.run);
                next = frame.next_seq();
                for message in messages_of(frame) {
                    assert!(messages.insert(message), "recorded twice: {message:?}");
                }
                let taken = frame.first_position().get()..=frame.position.get();
                positions.entry(history.run.shard()).or_default().extend(taken);
            }
        }
        for (shard, mut positions) in positions {
            positions.sort_unstable();
            let gapless: Vec<u64> = (1..=positions.len() as u64).collect();
            assert_eq!(positions, gapless, "positions of shard {shard}");
        }
    }

    /// Checks that each acknowledged message is in the log or undelivered, in the order in which its client sent it.
    async fn check_messages(&self) {
        let histories: BTreeMap<RunId, Vec<MessageId>> = self
            .histories()
            .await
            .into_iter()
            .map(|history| {
                let messages = history.frames.iter().flat_map(messages_of).collect();
                (history.run, messages)
            })
            .collect();
        for client in &self.clients {
            let mut last: BTreeMap<RunId, usize> = BTreeMap::new();
            for (run, message) in &client.accepted {
                let position = histories[run].iter().position(|recorded| recorded == message);
                let Some(position) = position else {
                    let described = self.store.query().describe(*run).await.unwrap().unwrap();
                    let body = body_of(*message);
                    let undelivered =
                        described.undelivered.iter().any(|undelivered| undelivered.body == body);
                    assert!(undelivered, "message {message:?} is lost");
                    continue;
                };
                let before = last.insert(*run, position);
                assert!(before.is_none_or(|before| before < position), "messages of one client swapped");
            }
        }
    }
}

/// An owner of shards, with its memory.
struct Owner {
    session: Box<dyn Session>,
    lease: Option<LeaseId>,
    /// How many shards it claims.
    limit: u16,
    number: u64,
    shards: BTreeMap<ShardId, Position>,
    claims: BTreeMap<ShardId, ClaimId>,
    cursor: InboxCursor,
    /// The recorded messages of each run that was loaded.
    runs: BTreeMap<RunId, Vec<MessageId>>,
    /// An append whose outcome is unknown, and the cursor after the messages that it consumes.
    unresolved: Option<(Append, InboxCursor)>,
}

impl Owner {
    fn new(session: Box<dyn Session>) -> Self {
        Self {
            session,
            lease: None,
            limit: 2,
            number: 1,
            shards: BTreeMap::new(),
            claims: BTreeMap::new(),
            cursor: InboxCursor::default(),
            runs: BTreeMap::new(),
            unresolved: None,
        }
    }

    fn forget(&mut self) {
        self.lease = None;
        self.number = 1;
        self.shards.clear();
        self.cursor = InboxCursor::default();
        self.runs.clear();
        self.unresolved = None;
    }

    async fn work(&mut self, restored: bool) {
        let Some(lease) = self.lease else { return self.claim().await };
        if self.unresolved.is_none() && !self.fill(lease).await {
            return;
        }
        let Some((append, cursor)) = self.unresolved.clone() else { return };
        match self.session.append(&append).await {
            Ok(_) => {
                self.unresolved = None;
                self.cursor = cursor;
                self.number += 1;
                for frame in &append.frames {
                    self.shards.insert(frame.run.shard(), frame.position.next());
                }
            }
            Err(StoreError::Fenced { .. }) => self.forget(),
            Err(StoreError::Unavailable { .. }) => {}
            // Messages that were lost with their commits cannot be consumed.
            Err(StoreError::Conflict { .. }) if restored => self.forget(),
            Err(error) => panic!("an owner that follows the protocol got {error}"),
        }
    }

    async fn claim(&mut self) {
        let Ok(claimed) = self.session.claim(&Claim { limit: self.limit, ..claim(TTL) }).await else {
            return;
        };
        if claimed.shards.is_empty() {
            return;
        }
        self.lease = Some(claimed.lease);
        self.shards = claimed.shards.iter().map(|shard| (shard.shard, shard.next_position)).collect();
        self.claims = claimed.shards.iter().map(|shard| (shard.shard, shard.claim)).collect();
    }

    async fn heartbeat(&mut self) {
        let Some(lease) = self.lease else { return };
        let cursor = self.cursor.clone();
        let due_until = Timestamp::from_micros(0);
        let leases = vec![LeaseHeartbeat {
            lease,
            renew: Some(TTL),
            committed: AppendNo::new(0),
            deaths_max: u32::MAX,
            cursor,
            due_after: None,
            due_until,
            live_runs: 0,
        }];
        let heartbeat = Heartbeat { queue: "default".to_owned(), leases };
        if let Ok(answer) = self.session.heartbeat(&heartbeat).await
            && !answer.leases[0].held
        {
            self.forget();
        }
    }

    async fn release(&mut self) {
        // A lease with an unresolved append is never released.
        if let (Some(lease), None) = (self.lease, &self.unresolved) {
            let _ = self.session.release(&Release { lease, at_fault: None }).await;
            self.forget();
        }
    }

    /// Reads a few messages and builds an append from them. Returns whether there is one to send.
    async fn fill(&mut self, lease: LeaseId) -> bool {
        let shards = self.shards.keys().copied().collect();
        let read =
            InboxRead { shards, cursor: self.cursor.clone(), limit: 3, bytes: usize::MAX, starts: true };
        let page = match self.session.read_inbox(&read).await {
            Ok(page) => page,
            Err(StoreError::Fenced { .. }) => {
                self.forget();
                return false;
            }
            Err(_) => return false,
        };
        let unknown = page.messages.iter().map(|message| message.run);
        let unknown: BTreeSet<_> = unknown.filter(|run| !self.runs.contains_key(run)).collect();
        let load = Load { runs: unknown.into_iter().collect(), after: None, bytes: usize::MAX };
        let Ok(loaded) = self.session.load(&load).await else { return false };
        for RunHistory { run, frames } in loaded.histories {
            self.runs.insert(run, frames.iter().flat_map(messages_of).collect());
        }
        let mut append = empty_append(lease, self.number);
        let mut positions = self.shards.clone();
        for message in &page.messages {
            self.consume(message, &mut append, &mut positions);
        }
        append.seal(|shard| self.claims.get(&shard).copied());
        self.unresolved = Some((append, page.cursor));
        true
    }

    fn consume(
        &mut self,
        message: &InboxMessage,
        append: &mut Append,
        positions: &mut BTreeMap<ShardId, Position>,
    ) {
        let recorded = self.runs.entry(message.run).or_default();
        if recorded.contains(&message.message) {
            append.consumed.push(reference(message));
            return;
        }
        if recorded.last().is_some_and(ends) {
            append.undelivered.push(reference(message));
            return;
        }
        let seq = EventSeq::new(recorded.len() as u32 + 1);
        let position = positions.get_mut(&message.run.shard()).unwrap();
        match append.frames.last_mut() {
            Some(last) if last.run == message.run => {
                (last.count, last.position) = (last.count + 1, *position);
                last.body = [&last.body[..], b"\n", &message.body].concat().into();
            }
            _ => append.frames.push(frame(message.run, seq, *position, message.body.clone())),
        }
        *position = position.next();
        recorded.push(message.message);
        append.consumed.push(reference(message));
        if ends(&message.message) {
            append.closed.push(ClosedRun {
                run: message.run,
                workflow: "order".into(),
                key: None,
                parent: None,
                status: ClosedStatus::Completed,
                closed_at: Timestamp::from_micros(0),
                outcome: Bytes::new(),
            });
        } else {
            append.updated.push(UpdatedRun { run: message.run, row: OpenRow::default() });
        }
    }
}

fn ends(message: &MessageId) -> bool {
    message.as_u128().is_multiple_of(LAST_MESSAGE)
}

fn body_of(message: MessageId) -> Bytes {
    Bytes::from(format!("message {}", message.as_u128()))
}

/// The messages that the events of a frame record: one on each line of its body.
fn messages_of(frame: &Frame) -> Vec<MessageId> {
    let lines = std::str::from_utf8(&frame.body).unwrap().lines();
    let number = |line: &str| line.strip_prefix("message ").unwrap().parse().unwrap();
    let messages: Vec<_> = lines.map(number).map(MessageId::from_u128).collect();
    assert_eq!(messages.len(), frame.count as usize, "events of {frame:?}");
    messages
}

/// How often each fault happens, in thousandths of the points at which it can.
#[derive(Clone, Copy, Debug, Default)]
struct FaultWeights {
    request_lost: u32,
    repeated: u32,
    lingering: u32,
    commit_lost: u32,
    acknowledgement_lost: u32,
    delayed: u32,
    hint_lost: u32,
    hint_repeated: u32,
}

/// Random faults: the same seed and the same calls give the same faults.
#[derive(Debug)]
struct SeededFaults {
    random: Mutex<u64>,
    weights: Mutex<FaultWeights>,
}

impl SeededFaults {
    fn new(seed: u64) -> Self {
        Self { random: Mutex::new(seed), weights: Mutex::default() }
    }

    fn set_weights(&self, weights: FaultWeights) {
        *self.weights.lock().unwrap() = weights;
    }

    fn happens(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.random() % 1000 < u64::from(per_mille)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014), which is short and random enough to choose faults.
    fn random(&self) -> u64 {
        let mut state = self.random.lock().unwrap();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Faults for SeededFaults {
    fn at(&self, point: &FaultPoint<'_>) -> Fault {
        let weights = *self.weights.lock().unwrap();
        if self.happens(weights.delayed) {
            let polls = 1 + self.random() % 16;
            return Fault::Delay(Box::pin(async move {
                for _ in 0..polls {
                    tokio::task::yield_now().await;
                }
            }));
        }
        match point.stage {
            Stage::Request if self.happens(weights.request_lost) => Fault::Lose,
            Stage::Request if self.happens(weights.repeated) => Fault::Repeat,
            Stage::Request if self.happens(weights.lingering) => Fault::Linger,
            Stage::Commit if self.happens(weights.commit_lost) => Fault::Lose,
            Stage::Acknowledgement if self.happens(weights.acknowledgement_lost) => Fault::Lose,
            Stage::Request | Stage::Commit | Stage::Acknowledgement => Fault::Proceed,
        }
    }

    fn hint(&self, _hint: Hint) -> u32 {
        let weights = *self.weights.lock().unwrap();
        match self.happens(weights.hint_lost) {
            true => 0,
            false => 1 + u32::from(self.happens(weights.hint_repeated)),
        }
    }
}
