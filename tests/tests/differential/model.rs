//! What a sequence remembers of its operations, so that most of those that are drawn make sense. It must not judge an
//! answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use pgworkflows::Timestamp;
use pgworkflows::id::{AppendNo, EventSeq, MessageId, Position, RunId, ShardId};
use pgworkflows::store::{
    Append, Build, ClosedStatus, DueMark, FollowUp, NewRun, Queue, SentMessage, Submission, Submitted,
};

use crate::dice::Dice;
use crate::operation::{Answer, Operation, Reply};
use crate::tasks::Tasks;

/// The attributes of runs.
pub(crate) const ATTRIBUTES: [&str; 2] = ["customer", "region"];

/// One of two values of an attribute.
pub(crate) fn value(number: usize) -> &'static str {
    ["eu", "us"][number % 2]
}

/// How many runs a sequence has at most.
const RUNS: usize = 8;

/// The state of a sequence.
pub(crate) struct Model {
    pub(crate) queue: Queue,
    /// The ids of all runs that may exist, in ascending order.
    pub(crate) pool: Vec<RunId>,
    pub(crate) runs: BTreeMap<RunId, Run>,
    pub(crate) leases: Vec<Lease>,
    /// Messages that were read and not consumed.
    pub(crate) read: BTreeSet<(RunId, MessageId)>,
    pub(crate) messages: usize,
    /// What the open transactions of clients have submitted.
    pub(crate) open: BTreeMap<usize, Vec<Submission>>,
    /// Whether there are tasks.
    pub(crate) has_tasks: bool,
    pub(crate) tasks: Tasks,
}

/// A run that exists.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) workflow: String,
    pub(crate) key: Option<String>,
    pub(crate) next_seq: EventSeq,
    pub(crate) is_over: bool,
}

impl Run {
    fn new(workflow: &str, key: Option<String>) -> Self {
        Self { workflow: workflow.to_owned(), key, next_seq: EventSeq::FIRST, is_over: false }
    }
}

/// A lease that was claimed.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) build: Build,
    pub(crate) next: AppendNo,
    pub(crate) positions: BTreeMap<ShardId, Position>,
    pub(crate) last: Option<Append>,
    /// Whether it may have ended.
    pub(crate) doubtful: bool,
}

impl Model {
    pub(crate) fn new(queue: Queue, has_tasks: bool) -> Self {
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
            has_tasks,
            tasks: Tasks::default(),
        }
    }

    /// Remembers the answer to an operation.
    pub(crate) fn learn(&mut self, operation: &Operation, answer: &Answer) {
        answer.iter().for_each(|reply| self.tasks.learn(operation, reply));
        match (operation, answer) {
            (Operation::Submit(submissions), Ok(Reply::Submitted(answers))) => {
                for (submission, answer) in submissions.iter().zip(answers) {
                    if *answer == Submitted::Accepted {
                        self.submitted(submission);
                    }
                }
            }
            (Operation::SubmitWithin { transaction, submissions }, Ok(Reply::Submitted(answers))) => {
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
            (Operation::Claim { lease, build, .. }, Ok(Reply::Claimed(shards, _))) => {
                let positions = shards.iter().map(|shard| (shard.shard, shard.next_position)).collect();
                match lease {
                    Some(lease) => self.leases[*lease].positions = positions,
                    None => {
                        let (build, next) = (build.clone(), AppendNo::FIRST);
                        self.leases.push(Lease { build, next, positions, last: None, doubtful: false });
                    }
                }
            }
            (Operation::ReadInbox { .. }, Ok(Reply::Messages(messages))) => {
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
            self.runs.entry(submission.run).or_insert(Run::new(workflow, key.clone()));
        }
    }

    fn appended(&mut self, lease: usize, append: &Append) {
        let Some(state) = self.leases.get_mut(lease) else { return };
        if append.number < state.next {
            // It was repeated.
            return;
        }
        state.next = append.number.next();
        state.last = Some(append.clone());
        self.tasks.appended(append);
        for opened in &append.opened {
            self.runs.insert(opened.run, Run::new(&opened.workflow, None));
        }
        for closed in &append.closed {
            let run = Run::new(&closed.workflow, closed.key.clone());
            self.runs.entry(closed.run).or_insert(run).is_over = true;
        }
        for frame in &append.frames {
            state.positions.insert(frame.run.shard(), frame.position.next());
            if let Some(run) = self.runs.get_mut(&frame.run) {
                run.next_seq = frame.next_seq();
            }
        }
        for SentMessage { run, opens, .. } in &append.sent {
            if let Some(child) = opens {
                self.runs.entry(*run).or_insert(Run::new(&child.workflow, None));
            }
        }
        for released in &append.released {
            state.positions.remove(&released.shard);
        }
        for message in append.consumed.iter().chain(&append.undelivered) {
            self.read.retain(|(_, read)| *read != message.message);
        }
    }

    pub(crate) fn all_shards(&self) -> Vec<ShardId> {
        let first = self.queue.first_shard.get();
        (first..first + self.queue.shard_count).filter_map(|number| ShardId::new(number).ok()).collect()
    }

    pub(crate) fn shards(&self, dice: &mut Dice) -> Vec<ShardId> {
        let all = self.all_shards();
        if dice.chance(70) { all } else { dice.pick(&all).into_iter().collect() }
    }

    pub(crate) fn run(&self, dice: &mut Dice) -> RunId {
        dice.pick(&self.pool).unwrap_or(RunId::from_u128(0))
    }

    pub(crate) fn lease(&self, dice: &mut Dice) -> usize {
        // When a lease without shards has expired, a store may fence it or not. So only those with shards are compared.
        let numbers = (0..self.leases.len()).filter(|number| !self.leases[*number].positions.is_empty());
        let numbers: Vec<usize> = numbers.collect();
        // Usually the newest, because most others have ended. Sometimes one that never existed.
        let newest = numbers.last().copied();
        let any = if dice.chance(90) { dice.pick(&numbers) } else { None };
        (if dice.chance(75) { newest } else { any }).unwrap_or(usize::MAX)
    }

    /// The start of a run, which is the same each time. Some runs share a key, and some of those an input; some have a parent.
    pub(crate) fn start(&self, run: RunId) -> NewRun {
        let index = self.pool.iter().position(|pooled| *pooled == run).unwrap_or_default();
        NewRun {
            workflow: workflow(&self.queue, index % 2),
            key: (index < 6).then(|| key(index / 2 % 2)),
            parent: (index % 4 != 1).then(|| self.pool[index % 2]),
            input_digest: (index != 4).then_some([index as u8 / 4; 32]),
            followed_by: (index % 3 == 1).then(|| {
                let Submission { message, body, .. } =
                    submission(run, MessageId::from_u128(run.as_u128() ^ 3_000));
                FollowUp { message, body }
            }),
            attributes: ATTRIBUTES[..index % 3]
                .iter()
                .map(|name| ((*name).into(), value(index).to_owned()))
                .collect(),
        }
    }

    pub(crate) fn workflow(&self, dice: &mut Dice) -> String {
        workflow(&self.queue, dice.below(2))
    }

    pub(crate) fn time(&self, dice: &mut Dice) -> Timestamp {
        self.queue.now.saturating_add(Duration::from_secs(dice.below(10) as u64))
    }

    pub(crate) fn mark(&self, dice: &mut Dice) -> DueMark {
        DueMark { wake_at: self.time(dice), run: self.run(dice) }
    }
}

/// The code of a worker. Most know both workflows; others know one of them, or are newer.
pub(crate) fn build(queue: &Queue, dice: &mut Dice) -> Build {
    let (generation, workflows): (u64, &[usize]) = match dice.below(10) {
        0..6 => (1, &[0, 1]),
        6 => (2, &[0, 1]),
        7 | 8 => (1, &[0]),
        _ => (1, &[1]),
    };
    let workflows = workflows.iter().map(|number| workflow(queue, *number).into());
    Build { generation, workflows: workflows.collect() }
}

/// Sequences do not share workflows, because keys and lists do not depend on queues.
pub(crate) fn workflow(queue: &Queue, number: usize) -> String {
    format!("{} workflow {number}", queue.name)
}

pub(crate) fn key(number: usize) -> String {
    format!("key {number}")
}

pub(crate) fn submission(run: RunId, message: MessageId) -> Submission {
    let body = Bytes::from(format!("message {}", message.as_u128() as u16));
    Submission { message, run, body, opens: None }
}

pub(crate) fn status(dice: &mut Dice) -> ClosedStatus {
    let statuses = [
        ClosedStatus::Completed,
        ClosedStatus::Failed,
        ClosedStatus::Cancelled,
        ClosedStatus::Terminated,
        ClosedStatus::TimedOut,
    ];
    statuses[dice.below(statuses.len())]
}
