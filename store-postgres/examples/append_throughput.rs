//! How many one-activity runs per second the store appends, with nothing above it: the limit of what any engine on
//! top of it can do. Needs a durable server in `DATABASE_URL`; drops and makes the schema `append_throughput`.
//!
//! ```text
//! DATABASE_URL=postgres://… cargo run --release -p pgworkflows-postgres --example append_throughput -- \
//!     [mem|inbox] [sessions] [runs per batch] [seconds]
//! ```
//!
//! `mem`: runs start in the worker's process. `inbox`: every start is submitted in batches of 50 and read back.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{AppendNo, EventName, EventSeq, LeaseId, MessageId, Position, RunId, ShardId};
use pgworkflows_core::store::{
    Append, Claim, ClosedRun, ClosedStatus, InboxCursor, InboxRead, MessageRef, NewEvent, NewRun, OpenRow,
    OpenState, OpenedRun, Session, Store, Submission, UpdatedRun,
};
use pgworkflows_postgres::PostgresStore;
use sqlx::{Connection, PgConnection};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL names no server")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument =
        |index: usize, default: &str| arguments.get(index).map_or(default, String::as_str).to_owned();
    let inbox = argument(0, "mem") == "inbox";
    let (sessions, runs): (u16, usize) = (argument(1, "2").parse()?, argument(2, "500").parse()?);
    let duration = Duration::from_secs(argument(3, "5").parse()?);

    sqlx::query("drop schema if exists append_throughput cascade")
        .execute(&mut PgConnection::connect(&url).await?)
        .await?;
    let store = PostgresStore::builder(&url).schema("append_throughput").connect().await?;
    let queue = store.queue("default", 64).await?;
    let began = Instant::now();
    let mut lanes = Vec::new();
    for _ in 0..sessions {
        let lane = Lane::new(&store, 64 / sessions).await?;
        lanes.push(tokio::spawn(lane.run(queue.now, inbox, runs, duration)));
    }
    let (mut total, mut appends) = (0, 0);
    for lane in lanes {
        let lane = lane.await??;
        total += lane.0;
        appends += lane.1;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "inbox={inbox} sessions={sessions} batch={runs}: {:.0} runs/s, {:.0} appends/s",
        total as f64 / seconds,
        appends as f64 / seconds
    );
    Ok(())
}

/// One session with its lease, as a processor would have it.
struct Lane {
    store: PostgresStore,
    session: Box<dyn Session>,
    lease: LeaseId,
    number: AppendNo,
    positions: BTreeMap<ShardId, Position>,
    cursor: InboxCursor,
    random: u64,
}

impl Lane {
    async fn new(store: &PostgresStore, shards: u16) -> Result<Self, Error> {
        let mut session = store.session().await?;
        let claim = Claim {
            queue: "default".to_owned(),
            lease: None,
            worker: "bench".to_owned(),
            ttl: Duration::from_secs(60),
            limit: shards,
        };
        let claimed = session.claim(&claim).await?;
        Ok(Self {
            store: store.clone(),
            session,
            lease: claimed.lease,
            number: AppendNo::FIRST,
            positions: claimed.shards.iter().map(|shard| (shard.shard, shard.next_position)).collect(),
            cursor: InboxCursor::default(),
            random: claimed.lease.get() << 48,
        })
    }

    async fn run(
        mut self,
        born: Timestamp,
        inbox: bool,
        runs: usize,
        duration: Duration,
    ) -> Result<(usize, usize), Error> {
        let shards: Vec<ShardId> = self.positions.keys().copied().collect();
        let began = Instant::now();
        let (mut total, mut appends) = (0, 0);
        while began.elapsed() < duration {
            let at = Timestamp::from_micros(born.as_micros() + began.elapsed().as_micros() as i64);
            let ids: Vec<RunId> = (0..runs)
                .map(|index| {
                    self.random += 1;
                    RunId::new(at, shards[index % shards.len()], self.random)
                })
                .collect();
            let mut first = self.append();
            if inbox {
                first.consumed = self.pass_inbox(&ids, &shards).await?;
            }
            for run in &ids {
                self.event(&mut first, *run, 1, "run.started", 64, at);
                self.event(&mut first, *run, 2, "activity.scheduled", 48, at);
                let row = OpenRow { state: OpenState::Busy, wake_at: None, waiting_on: None };
                if inbox {
                    first.updated.push(UpdatedRun { run: *run, row });
                } else {
                    first.opened.push(OpenedRun { run: *run, workflow: "trial".into(), row });
                }
            }
            self.send(first).await?;
            let mut second = self.append();
            for run in &ids {
                self.event(&mut second, *run, 3, "activity.completed", 48, at);
                self.event(&mut second, *run, 4, "run.completed", 32, at);
                second.closed.push(ClosedRun {
                    run: *run,
                    workflow: "trial".into(),
                    key: None,
                    status: ClosedStatus::Completed,
                    closed_at: at,
                    outcome: Bytes::from_static(&[1; 32]),
                });
            }
            self.send(second).await?;
            total += runs;
            appends += 2;
        }
        Ok((total, appends))
    }

    /// Submits the starts as clients would, and reads them back.
    async fn pass_inbox(&mut self, ids: &[RunId], shards: &[ShardId]) -> Result<Vec<MessageRef>, Error> {
        for chunk in ids.chunks(50) {
            let starts: Vec<_> = chunk.iter().map(|run| start(*run)).collect();
            self.store.submit(&starts).await?;
        }
        let mut consumed = Vec::new();
        while consumed.len() < ids.len() {
            let read = InboxRead {
                shards: shards.to_vec(),
                cursor: self.cursor.clone(),
                limit: 2000,
                bytes: usize::MAX,
            };
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
        Append {
            lease: self.lease,
            number: self.number,
            digest: [0; 32],
            events: Vec::new(),
            opened: Vec::new(),
            updated: Vec::new(),
            closed: Vec::new(),
            consumed: Vec::new(),
            undelivered: Vec::new(),
            suspects: Vec::new(),
            cleared: Vec::new(),
        }
    }

    fn event(
        &mut self,
        append: &mut Append,
        run: RunId,
        seq: u32,
        name: &'static str,
        bytes: usize,
        at: Timestamp,
    ) {
        let position = self.positions.get_mut(&run.shard()).expect("its own shard");
        append.events.push(NewEvent {
            run,
            seq: EventSeq::new(seq),
            position: *position,
            name: EventName::from_static(name),
            at,
            body: Bytes::from(vec![7; bytes]),
        });
        *position = position.next();
    }

    async fn send(&mut self, mut append: Append) -> Result<(), Error> {
        append.digest = append.content_digest();
        self.session.append(&append).await?;
        self.number = self.number.next();
        Ok(())
    }
}

fn start(run: RunId) -> Submission {
    Submission {
        message: MessageId::from_u128(run.as_u128()),
        run,
        body: Bytes::from_static(&[7; 64]),
        opens: Some(NewRun { workflow: "trial".to_owned(), key: None, input_digest: Some([0; 32]) }),
    }
}
