//! What a sequence knows of what it did, as far as it takes to draw operations that mean something; now and then one that
//! must be refused. It must not judge an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use pgworkflows::Timestamp;
use pgworkflows::id::{AppendNo, EventName, EventSeq, InboxNo, LeaseId, MessageId, Position, RunId, ShardId};
use pgworkflows::store::{
    Append, ClosedRun, ClosedStatus, Due, DueMark, Load, MessageRef, NewEvent, NewRun, OpenRow, OpenState,
    OpenedRun, Queue, RunFilter, RunPage, SentMessage, Submission, Submitted, Suspect, SuspectStage, Topic,
    Unparked, UpdatedRun, Watch, What,
};

use crate::dice::Dice;
use crate::operation::{Answer, Operation, Seen};

/// How many runs and messages a sequence has at most.
const RUNS: usize = 8;
const MESSAGES: usize = 40;

/// A reader that is no lease's, and reads page by page.
const PAGER: usize = usize::MAX - 1;

/// What is known of a sequence.
pub(crate) struct Model {
    queue: Queue,
    /// All runs that may ever be, in ascending order.
    pool: Vec<RunId>,
    runs: BTreeMap<RunId, Run>,
    leases: Vec<Lease>,
    /// Messages that were read and not consumed.
    read: BTreeSet<(RunId, MessageId)>,
    messages: usize,
    /// What the clients' transactions that are open have submitted.
    open: BTreeMap<usize, Vec<Submission>>,
}

/// A run that exists.
#[derive(Clone, Debug)]
struct Run {
    workflow: String,
    key: Option<String>,
    next_seq: EventSeq,
    is_over: bool,
}

/// A lease that was given out.
#[derive(Clone, Debug)]
struct Lease {
    next: AppendNo,
    positions: BTreeMap<ShardId, Position>,
    last: Option<Append>,
    /// Whether it may be over.
    doubtful: bool,
}

impl Model {
    pub(crate) fn new(queue: Queue) -> Self {
        let shard = |index: usize| ShardId::new(queue.first_shard.get() + index as u16 % queue.shard_count);
        let run = |index: usize| {
            let born = queue.now.saturating_add(Duration::from_millis(index as u64));
            RunId::new(born, shard(index).expect("the queue's shards exist"), index as u64)
        };
        let pool = (0..RUNS).map(run).collect();
        Self {
            queue,
            pool,
            runs: BTreeMap::new(),
            leases: Vec::new(),
            read: BTreeSet::new(),
            messages: 0,
            open: BTreeMap::new(),
        }
    }

    /// Draws the next operation.
    pub(crate) fn draw(&mut self, dice: &mut Dice) -> Operation {
        match dice.below(100) {
            0..18 => Operation::Submit(self.submissions(dice)),
            18..22 => self.submit_within(dice),
            22..26 => Operation::EndTransaction { transaction: dice.below(2), commit: dice.chance(70) },
            26..34 => self.claim(dice),
            34..36 => Operation::Expire,
            36..42 => self.heartbeat(dice),
            42..66 => self.append(dice),
            // A cursor belongs to the shards that it was begun with.
            66..72 => {
                let lease = self.lease(dice);
                Operation::ReadInbox { lease, shards: self.all_shards(), bytes: usize::MAX }
            }
            72..75 => {
                let bytes = dice.below(50);
                Operation::ReadInbox { lease: PAGER, shards: self.all_shards(), bytes }
            }
            75..77 => Operation::Load(self.load(dice)),
            77..79 => Operation::Unparked(Unparked {
                shards: self.shards(dice),
                after: dice.chance(30).then(|| self.run(dice)),
                limit: 1 + dice.below(4) as u32,
            }),
            79..82 => Operation::DueRuns(Due {
                shards: self.shards(dice),
                after: dice.chance(30).then(|| self.mark(dice)),
                until: self.time(dice),
                limit: 1 + dice.below(3) as u32,
            }),
            82..85 => {
                let at_fault = dice.chance(40).then(|| self.run(dice));
                Operation::Release { lease: self.lease(dice), at_fault }
            }
            85..87 => self.watch(dice.below(20)),
            87..91 => Operation::Describe(self.run(dice)),
            91..93 => Operation::Find { workflow: self.workflow(dice), key: key(dice.below(3)) },
            93..97 => self.list(dice),
            _ => Operation::History {
                run: self.run(dice),
                after: dice.chance(50).then(|| EventSeq::new(dice.below(4) as u32)),
                limit: 1 + dice.below(4) as u32,
            },
        }
    }

    /// Asks which runs of the pool are over, as far as so many bytes go.
    fn watch(&self, bytes: usize) -> Operation {
        let topic = |run: &RunId| Topic { run: *run, what: What::Closed };
        Operation::Watch(Watch { topics: self.pool.iter().map(topic).collect(), bytes })
    }

    /// Looks at everything there is.
    pub(crate) fn last_looks(&self) -> Vec<Operation> {
        let shards = self.all_shards();
        let mut looks = vec![
            Operation::Load(Load { runs: self.pool.clone(), after: None, bytes: usize::MAX }),
            Operation::Unparked(Unparked { shards: shards.clone(), after: None, limit: 100 }),
            self.watch(usize::MAX),
            // A reader that has read nothing yet.
            Operation::ReadInbox { lease: usize::MAX, shards: shards.clone(), bytes: usize::MAX },
            Operation::Expire,
            Operation::Claim { lease: None, limit: self.queue.shard_count },
        ];
        let until = self.queue.now.saturating_add(Duration::from_secs(3600));
        looks.push(Operation::DueRuns(Due { shards, after: None, until, limit: 100 }));
        looks.extend(self.pool.iter().map(|run| Operation::Describe(*run)));
        looks.extend(self.pool.iter().map(|run| Operation::History { run: *run, after: None, limit: 100 }));
        looks
    }

    /// Takes in what came of an operation.
    pub(crate) fn learn(&mut self, operation: &Operation, answer: &Answer) {
        match (operation, answer) {
            (Operation::Submit(submissions), Ok(Seen::Submitted(answers))) => {
                for (submission, answer) in submissions.iter().zip(answers) {
                    if *answer == Submitted::Accepted {
                        self.submitted(submission);
                    }
                }
            }
            (Operation::SubmitWithin { transaction, submissions }, Ok(Seen::Submitted(answers))) => {
                let accepted =
                    submissions.iter().zip(answers).filter(|(_, answer)| **answer == Submitted::Accepted);
                let accepted = accepted.map(|(submission, _)| submission.clone());
                self.open.entry(*transaction).or_default().extend(accepted);
            }
            (Operation::EndTransaction { transaction, commit }, Ok(_)) => {
                for submission in self.open.remove(transaction).unwrap_or_default() {
                    if *commit {
                        self.submitted(&submission);
                    }
                }
            }
            (Operation::Claim { lease, .. }, Ok(Seen::Claimed(shards, _))) => {
                let positions = shards.iter().map(|shard| (shard.shard, shard.next_position)).collect();
                match lease {
                    Some(lease) => self.leases[*lease].positions = positions,
                    None => self.leases.push(Lease {
                        next: AppendNo::FIRST,
                        positions,
                        last: None,
                        doubtful: false,
                    }),
                }
            }
            (Operation::ReadInbox { .. }, Ok(Seen::Messages(messages))) => {
                self.read.extend(messages.iter().map(|(run, message, _)| (*run, *message)));
            }
            (Operation::Release { lease, .. }, Ok(_)) => {
                self.leases.iter_mut().skip(*lease).take(1).for_each(|lease| lease.doubtful = true);
            }
            (Operation::Expire, Ok(_)) => self.leases.iter_mut().for_each(|lease| lease.doubtful = true),
            (Operation::Append { lease, append }, Ok(_)) => self.appended(*lease, append),
            (_, Ok(_) | Err(_)) => {}
        }
    }

    fn submitted(&mut self, submission: &Submission) {
        if let Some(NewRun { workflow, key, .. }) = &submission.opens {
            let (workflow, key) = (workflow.clone(), key.clone());
            let run = Run { workflow, key, next_seq: EventSeq::FIRST, is_over: false };
            self.runs.entry(submission.run).or_insert(run);
        }
    }

    fn appended(&mut self, lease: usize, append: &Append) {
        let Some(state) = self.leases.get_mut(lease) else { return };
        if append.number < state.next {
            // It was a repetition.
            return;
        }
        state.next = append.number.next();
        state.last = Some(append.clone());
        for opened in &append.opened {
            let workflow = opened.workflow.to_string();
            let run = Run { workflow, key: None, next_seq: EventSeq::FIRST, is_over: false };
            self.runs.insert(opened.run, run);
        }
        for closed in &append.closed {
            let run = Run {
                workflow: closed.workflow.to_string(),
                key: closed.key.clone(),
                next_seq: EventSeq::FIRST,
                is_over: true,
            };
            self.runs.entry(closed.run).or_insert(run).is_over = true;
        }
        for event in &append.events {
            state.positions.insert(event.run.shard(), event.position.next());
            if let Some(run) = self.runs.get_mut(&event.run) {
                run.next_seq = event.seq.next();
            }
        }
        for SentMessage { run, opens, .. } in &append.sent {
            if let Some(workflow) = opens {
                let workflow = workflow.to_string();
                let new = Run { workflow, key: None, next_seq: EventSeq::FIRST, is_over: false };
                self.runs.entry(*run).or_insert(new);
            }
        }
        for message in append.consumed.iter().chain(&append.undelivered) {
            self.read.retain(|(_, read)| *read != message.message);
        }
    }

    fn all_shards(&self) -> Vec<ShardId> {
        let first = self.queue.first_shard.get();
        (first..first + self.queue.shard_count).filter_map(|number| ShardId::new(number).ok()).collect()
    }

    fn shards(&self, dice: &mut Dice) -> Vec<ShardId> {
        let all = self.all_shards();
        if dice.chance(70) { all } else { dice.pick(&all).into_iter().collect() }
    }

    fn run(&self, dice: &mut Dice) -> RunId {
        dice.pick(&self.pool).unwrap_or(RunId::from_u128(0))
    }

    fn lease(&self, dice: &mut Dice) -> usize {
        // One that owns nothing is nobody's business: when its time has passed, a store may fence it or not.
        let numbers = (0..self.leases.len()).filter(|number| !self.leases[*number].positions.is_empty());
        let numbers: Vec<usize> = numbers.collect();
        // Most of the time the newest: the others are mostly over. Sometimes one that never was.
        let newest = numbers.last().copied();
        let any = if dice.chance(90) { dice.pick(&numbers) } else { None };
        (if dice.chance(75) { newest } else { any }).unwrap_or(usize::MAX)
    }

    fn workflow(&self, dice: &mut Dice) -> String {
        workflow(&self.queue, dice.below(2))
    }

    fn time(&self, dice: &mut Dice) -> Timestamp {
        self.queue.now.saturating_add(Duration::from_secs(dice.below(10) as u64))
    }

    fn mark(&self, dice: &mut Dice) -> DueMark {
        DueMark { wake_at: self.time(dice), run: self.run(dice) }
    }

    fn submissions(&mut self, dice: &mut Dice) -> Vec<Submission> {
        let count = if dice.chance(80) { 1 } else { 1 + dice.below(3) };
        let mut submissions = Vec::new();
        for _ in 0..count {
            let run = self.run(dice);
            let held = self.open.values().flatten().any(|open| open.run == run);
            // Whoever submits what an open transaction has submitted waits for its end, and nobody here would end it.
            if !held {
                submissions.push(self.submission(run, dice));
            }
        }
        // Nobody sends a run anything before its start.
        submissions.sort_by_key(|submission| submission.opens.is_none());
        submissions
    }

    fn submission(&mut self, run: RunId, dice: &mut Dice) -> Submission {
        if dice.chance(45) {
            let message = MessageId::from_u128(run.as_u128() ^ 1);
            return Submission { opens: Some(self.start(run)), ..submission(run, message) };
        }
        // Most are new; some were sent before, to this run.
        let known = self.messages > 0 && dice.chance(15);
        if !known {
            self.messages += 1;
        }
        let number = if known { dice.below(self.messages) } else { self.messages };
        submission(run, MessageId::from_u128(run.as_u128() ^ (2 + number.min(MESSAGES) as u128)))
    }

    /// How a run is started, every time that it is: a repeated start is the same start. Some runs share a key, and of
    /// those some an input.
    fn start(&self, run: RunId) -> NewRun {
        let index = self.pool.iter().position(|pooled| *pooled == run).unwrap_or_default();
        NewRun {
            workflow: workflow(&self.queue, index % 2),
            key: (index < 6).then(|| key(index / 2 % 2)),
            input_digest: (index != 4).then_some([index as u8 / 4; 32]),
        }
    }

    fn submit_within(&mut self, dice: &mut Dice) -> Operation {
        // Of each run and key only what nobody else can be waiting for: signals, each its own.
        let transaction = dice.below(2);
        self.messages += 1;
        let run = self.run(dice);
        let message = MessageId::from_u128(run.as_u128() ^ (1_000 + self.messages as u128));
        Operation::SubmitWithin { transaction, submissions: vec![submission(run, message)] }
    }

    fn claim(&self, dice: &mut Dice) -> Operation {
        let lease = Some(self.lease(dice)).filter(|lease| *lease < self.leases.len() && dice.chance(30));
        Operation::Claim { lease, limit: dice.below(5) as u16 }
    }

    fn heartbeat(&self, dice: &mut Dice) -> Operation {
        let lease = self.lease(dice);
        let committed = self.leases.get(lease).map_or(1, |lease| lease.next.get()) - 1;
        let committed = AppendNo::new(committed + u64::from(dice.chance(10)));
        let due_after = dice.chance(30).then(|| self.mark(dice));
        let (renew, due_until) = (dice.chance(70), self.time(dice));
        let deaths_max = if dice.chance(20) { dice.below(3) as u32 } else { u32::MAX };
        Operation::Heartbeat { lease, renew, committed, deaths_max, due_after, due_until }
    }

    fn load(&self, dice: &mut Dice) -> Load {
        let runs: BTreeSet<RunId> = (0..1 + dice.below(4)).map(|_| self.run(dice)).collect();
        let after = dice.chance(30).then(|| EventSeq::new(dice.below(4) as u32));
        let bytes = if dice.chance(50) { dice.below(800) } else { usize::MAX };
        Load { runs: runs.into_iter().collect(), after, bytes }
    }

    fn list(&self, dice: &mut Dice) -> Operation {
        let filter = RunFilter {
            workflow: Some(self.workflow(dice)),
            open: dice.chance(30).then(|| dice.chance(50)),
            state: dice.chance(20).then(|| state(dice)),
            status: dice.chance(20).then(|| status(dice)),
        };
        let page =
            RunPage { before: dice.chance(30).then(|| self.run(dice)), limit: 1 + dice.below(5) as u32 };
        Operation::List { filter, page }
    }
}

mod append;

/// No two sequences share a workflow, for keys and lists know no queues.
fn workflow(queue: &Queue, number: usize) -> String {
    format!("{} workflow {number}", queue.name)
}

fn key(number: usize) -> String {
    format!("key {number}")
}

fn submission(run: RunId, message: MessageId) -> Submission {
    let body = Bytes::from(format!("message {}", message.as_u128() as u16));
    Submission { message, run, body, opens: None }
}

fn state(dice: &mut Dice) -> OpenState {
    let states = [OpenState::Pending, OpenState::Busy, OpenState::Parked, OpenState::Stalled];
    states[dice.below(states.len())]
}

fn status(dice: &mut Dice) -> ClosedStatus {
    let statuses =
        [ClosedStatus::Completed, ClosedStatus::Failed, ClosedStatus::Cancelled, ClosedStatus::Terminated];
    statuses[dice.below(statuses.len())]
}
