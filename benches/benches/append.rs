//! Bare appends of whole one-activity runs, on one connection, in runs per second: what a store could do if everything
//! above it cost nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pgworkflows::Timestamp;
use pgworkflows::id::{AppendNo, ClaimId, EventSeq, LeaseId, MessageId, Position, RunId, ShardId};
use pgworkflows::store::{
    Append, Build, Claim, ClosedRun, ClosedStatus, Frame, InboxCursor, InboxRead, MessageRef, NewRun,
    OpenRow, OpenState, OpenedRun, Session, Store, Submission, UpdatedRun,
};
use pgworkflows_benches::Failure;
use pgworkflows_benches::store::{Address, MeasuredStore};

/// Runs per append: what a processor has gathered while the previous append was in flight.
const BATCHES: [usize; 3] = [1, 50, 500];

/// Submissions per call of a client.
const SUBMISSIONS: usize = 50;

fn append(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let address = Address { url: String::new(), schema: "append".to_owned(), without_notifications: false };
    let postgres = runtime.block_on(MeasuredStore::at(&address)).expect("a server");
    for (name, measured) in [("memory", MeasuredStore::memory()), ("postgres", postgres)] {
        let mut writer = runtime.block_on(Writer::open(&measured.store)).expect("a lease");
        let mut group = criterion.benchmark_group("append");
        for (way, through_inbox) in [("", false), (" through the inbox", true)] {
            for runs in BATCHES {
                // Short, since nothing that is appended goes away again.
                group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
                group.throughput(Throughput::Elements(runs as u64)).sample_size(10);
                group.bench_function(BenchmarkId::new(format!("{name}{way}"), runs), |bencher| {
                    bencher.iter_custom(|times| {
                        let began = Instant::now();
                        for _ in 0..times {
                            runtime.block_on(writer.append_runs(runs, through_inbox)).expect("an append");
                        }
                        began.elapsed()
                    });
                });
            }
        }
        group.finish();
    }
}

/// One session with its lease and its shards. It writes what a processor writes for one-activity runs.
struct Writer {
    store: Arc<dyn Store>,
    session: Box<dyn Session>,
    lease: LeaseId,
    number: AppendNo,
    positions: BTreeMap<ShardId, Position>,
    claims: BTreeMap<ShardId, ClaimId>,
    cursor: InboxCursor,
    born: Timestamp,
    runs: u64,
}

impl Writer {
    /// Claims all shards of the queue `default`.
    async fn open(store: &Arc<dyn Store>) -> Result<Self, Failure> {
        let queue = store.queue("default", 64).await?;
        let mut session = store.session().await?;
        let claim = Claim {
            queue: "default".to_owned(),
            lease: None,
            worker: "writer".to_owned(),
            build: Build::default(),
            ttl: Duration::from_secs(3_600),
            limit: 64,
        };
        let claimed = session.claim(&claim).await?;
        Ok(Self {
            store: Arc::clone(store),
            session,
            lease: claimed.lease,
            number: AppendNo::FIRST,
            positions: claimed.shards.iter().map(|shard| (shard.shard, shard.next_position)).collect(),
            claims: claimed.shards.iter().map(|shard| (shard.shard, shard.claim)).collect(),
            cursor: InboxCursor::default(),
            born: queue.now,
            runs: 0,
        })
    }

    /// Appends `count` whole runs, in two appends: their starts with their activities, then their outcomes.
    async fn append_runs(&mut self, count: usize, through_inbox: bool) -> Result<(), Failure> {
        let shards: Vec<ShardId> = self.positions.keys().copied().collect();
        let mut run = || {
            self.runs += 1;
            RunId::new(self.born, shards[self.runs as usize % shards.len()], self.runs)
        };
        let runs: Vec<RunId> = (0..count).map(|_| run()).collect();
        let (mut starts, mut ends) = (self.append(), self.append());
        ends.number = starts.number.next();
        if through_inbox {
            starts.consumed = self.pass_inbox(&runs, shards).await?;
        }
        for run in &runs {
            self.frame(&mut starts, *run, 1, 128);
            let row = OpenRow { state: OpenState::Busy, wake_at: None, waiting_on: None, waits: None };
            if through_inbox {
                starts.updated.push(UpdatedRun { run: *run, row });
            } else {
                starts.opened.push(OpenedRun {
                    run: *run,
                    workflow: "activities".into(),
                    key: None,
                    parent: None,
                    row,
                });
            }
        }
        for run in &runs {
            self.frame(&mut ends, *run, 3, 96);
            ends.closed.push(ClosedRun {
                run: *run,
                workflow: "activities".into(),
                key: None,
                parent: None,
                status: ClosedStatus::Completed,
                closed_at: self.born,
                outcome: Bytes::from_static(&[1; 32]),
            });
        }
        for mut append in [starts, ends] {
            append.seal(|shard| self.claims.get(&shard).copied());
            self.session.append(&append).await?;
            self.number = self.number.next();
        }
        Ok(())
    }

    /// Submits the starts as clients would, and reads them back.
    async fn pass_inbox(&mut self, runs: &[RunId], shards: Vec<ShardId>) -> Result<Vec<MessageRef>, Failure> {
        for runs in runs.chunks(SUBMISSIONS) {
            let submission = |run: &RunId| Submission {
                message: MessageId::from_u128(run.as_u128()),
                run: *run,
                body: Bytes::from_static(&[7; 64]),
                opens: Some(NewRun { input_digest: Some([0; 32]), ..NewRun::of("activities") }),
            };
            self.store.submit(&runs.iter().map(submission).collect::<Vec<_>>()).await?;
        }
        let mut consumed = Vec::new();
        while consumed.len() < runs.len() {
            let (shards, cursor) = (shards.clone(), self.cursor.clone());
            let read = InboxRead { shards, cursor, limit: 2_000, bytes: usize::MAX, starts: true };
            let page = self.session.read_inbox(&read).await?;
            self.cursor = page.cursor;
            consumed.extend(page.messages.iter().map(|message| MessageRef {
                shard: message.run.shard(),
                number: message.number,
                message: message.message,
            }));
        }
        Ok(consumed)
    }

    fn append(&self) -> Append {
        Append::new(self.lease, self.number)
    }

    /// Adds a frame of two events.
    fn frame(&mut self, append: &mut Append, run: RunId, seq: u32, bytes: usize) {
        let Some(next) = self.positions.get_mut(&run.shard()) else { return };
        let (position, body) = (next.next(), Bytes::from(vec![7; bytes]));
        append.frames.push(Frame { run, seq: EventSeq::new(seq), count: 2, position, at: self.born, body });
        *next = position.next();
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
