//! Draws the operations of a sequence: most make sense, and some must be refused. It must not judge an answer.

use std::collections::BTreeSet;
use std::time::Duration;

use pgworkflows::id::{AppendNo, EventSeq, MessageId, RunId};
use pgworkflows::store::{
    Attributes, Build, Due, KeyPage, Load, OpenState, RunFilter, RunPage, Submission, Topic, Unparked, Watch,
    What,
};

use crate::dice::Dice;
use crate::draw_append::VIEWS;
use crate::model::{ATTRIBUTES, Model, build, key, status, submission, value};
use crate::operation::Operation;

/// How many messages a sequence submits at most, apart from repetitions.
const MESSAGES: usize = 40;

/// The number of a reader without a lease, which reads page by page.
const PAGER: usize = usize::MAX - 1;

impl Model {
    /// Draws the next operation.
    pub(crate) fn draw(&mut self, dice: &mut Dice) -> Operation {
        if self.has_tasks && dice.chance(40) {
            return self.draw_of_tasks(dice);
        }
        match dice.below(100) {
            0..18 => Operation::Submit(self.submissions(dice)),
            18..22 => self.submit_within(dice),
            22..26 => Operation::EndTransaction { transaction: dice.below(2), commit: dice.chance(70) },
            26..34 => self.claim(dice),
            34..36 => Operation::Expire,
            36..42 => self.heartbeat(dice),
            42..66 => self.append(dice),
            // A cursor belongs to the shards with which it began.
            66..72 => {
                let lease = self.lease(dice);
                self.read_inbox(lease, usize::MAX)
            }
            72..75 => {
                let bytes = dice.below(50);
                self.read_inbox(PAGER, if self.has_tasks { usize::MAX } else { bytes })
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
            87..90 => Operation::Describe(self.run(dice)),
            90 => self.view(self.run(dice), dice),
            91 => Operation::QueuesOf(self.workflow(dice)),
            92 => Operation::Find { workflow: self.workflow(dice), key: key(dice.below(3)) },
            93 => self.keyed_runs(dice),
            94..97 => self.list(dice),
            _ => Operation::Query(self.load(dice)),
        }
    }

    /// Asks which runs of the pool are over, and which have published views, in an answer of at most that many bytes.
    fn watch(&self, bytes: usize) -> Operation {
        let afters = [None, Some(EventSeq::new(3))].map(|after| What::Published { after });
        let topics = |run: &RunId| {
            let run = *run;
            let replies = [0, 1, 2].map(|message| What::Replied { message: MessageId::from_u128(message) });
            let what = [What::Closed].into_iter().chain(afters).chain(replies);
            what.map(move |what| Topic { run, what })
        };
        Operation::Watch(Watch { topics: self.pool.iter().flat_map(topics).collect(), bytes })
    }

    fn view(&self, run: RunId, dice: &mut Dice) -> Operation {
        Operation::View { run, view: VIEWS[dice.below(VIEWS.len())] }
    }

    fn keyed_runs(&self, dice: &mut Dice) -> Operation {
        let prefixes = ["", "key ", "key 1", "kez"];
        Operation::KeyedRuns(KeyPage {
            workflow: self.workflow(dice).into(),
            prefix: prefixes[dice.below(prefixes.len())].to_owned(),
            after: dice.chance(40).then(|| key(dice.below(3))),
            limit: 1 + dice.below(3) as u32,
        })
    }

    /// Reads everything.
    pub(crate) fn final_reads(&self) -> Vec<Operation> {
        let shards = self.all_shards();
        let all = Load { runs: self.pool.clone(), after: None, bytes: usize::MAX };
        let mut reads = vec![
            Operation::Load(all.clone()),
            Operation::Query(all),
            Operation::Unparked(Unparked { shards: shards.clone(), after: None, limit: 100 }),
            self.watch(usize::MAX),
            // With a cursor that has read nothing yet.
            self.read_inbox(usize::MAX, usize::MAX),
            Operation::ActivityQueues,
            Operation::Expire,
            Operation::Claim { lease: None, build: Build::default(), limit: self.queue.shard_count },
        ];
        let until = self.queue.now.saturating_add(Duration::from_secs(3600));
        reads.push(Operation::DueRuns(Due { shards, after: None, until, limit: 100 }));
        reads.extend(self.pool.iter().map(|run| Operation::Describe(*run)));
        let views = self.pool.iter().flat_map(|run| VIEWS.map(|view| Operation::View { run: *run, view }));
        reads.extend(views);
        reads
    }

    fn read_inbox(&self, lease: usize, bytes: usize) -> Operation {
        Operation::ReadInbox { lease, shards: self.all_shards(), bytes, in_order: !self.has_tasks }
    }

    fn submissions(&mut self, dice: &mut Dice) -> Vec<Submission> {
        let count = if dice.chance(80) { 1 } else { 1 + dice.below(3) };
        let mut submissions = Vec::new();
        for _ in 0..count {
            let run = self.run(dice);
            let held = self.open.values().flatten().any(|open| open.run == run);
            // A submission of what an open transaction has submitted would wait for the end of that transaction.
            if !held {
                submissions.push(self.submission(run, dice));
            }
        }
        // The store may insert a message that follows a start after the others of its batch.
        let follows =
            |submission: &Submission| submission.opens.as_ref().is_some_and(|new| new.followed_by.is_some());
        if let Some(alone) = submissions.iter().find(|submission| follows(submission)).cloned() {
            return vec![alone];
        }
        // Clients send a run nothing before its start.
        submissions.sort_by_key(|submission| submission.opens.is_none());
        submissions
    }

    fn submission(&mut self, run: RunId, dice: &mut Dice) -> Submission {
        if dice.chance(45) {
            let message = MessageId::from_u128(run.as_u128() ^ 1);
            return Submission { opens: Some(self.start(run)), ..submission(run, message) };
        }
        // Most messages are new. Some were sent to this run before.
        let known = self.messages > 0 && dice.chance(15);
        if !known {
            self.messages += 1;
        }
        let number = if known { dice.below(self.messages) } else { self.messages };
        submission(run, MessageId::from_u128(run.as_u128() ^ (2 + number.min(MESSAGES) as u128)))
    }

    fn submit_within(&mut self, dice: &mut Dice) -> Operation {
        // Only signals of its own, so that no other request has to wait for the transaction.
        let transaction = dice.below(2);
        self.messages += 1;
        let run = self.run(dice);
        let message = MessageId::from_u128(run.as_u128() ^ (1_000 + self.messages as u128));
        Operation::SubmitWithin { transaction, submissions: vec![submission(run, message)] }
    }

    fn claim(&self, dice: &mut Dice) -> Operation {
        let lease = Some(self.lease(dice)).filter(|lease| *lease < self.leases.len() && dice.chance(30));
        let build = lease.map_or_else(|| build(&self.queue, dice), |lease| self.leases[lease].build.clone());
        Operation::Claim { lease, build, limit: dice.below(5) as u16 }
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
        let after = dice.chance(30).then(|| EventSeq::new(dice.below(10) as u32));
        let bytes = if dice.chance(50) { dice.below(800) } else { usize::MAX };
        Load { runs: runs.into_iter().collect(), after, bytes }
    }

    fn list(&self, dice: &mut Dice) -> Operation {
        let mut attributes = Attributes::default();
        for attribute in ATTRIBUTES {
            let value = dice.chance(20).then(|| value(dice.below(2)).to_owned());
            attributes.set(attribute.into(), value);
        }
        let filter = RunFilter {
            workflow: Some(self.workflow(dice)),
            parent: dice.chance(40).then(|| self.pool[dice.below(2)]),
            open: dice.chance(30).then(|| dice.chance(50)),
            state: dice.chance(20).then(|| state(dice)),
            status: dice.chance(20).then(|| status(dice)),
            since: dice.chance(20).then(|| self.run(dice)),
            attributes,
        };
        let page =
            RunPage { before: dice.chance(30).then(|| self.run(dice)), limit: 1 + dice.below(5) as u32 };
        Operation::List { filter, page }
    }
}

fn state(dice: &mut Dice) -> OpenState {
    let states =
        [OpenState::Pending, OpenState::Busy, OpenState::Parked, OpenState::Stalled, OpenState::Paused];
    states[dice.below(states.len())]
}
