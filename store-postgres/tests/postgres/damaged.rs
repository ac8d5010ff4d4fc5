//! Damaged frames: what a worker does with the runs that have them, and with their neighbours.

use std::fmt::Debug;
use std::time::Duration;

use pgworkflows_core::client::{RunInfo, RunStatus};
use pgworkflows_core::prelude::*;
use pgworkflows_core::{Client, Worker};
use pgworkflows_pg_harness::Postgres;
use pgworkflows_postgres::PostgresStore;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::TTL;

/// Waits for that many words.
struct Words;

impl Workflow for Words {
    const NAME: &'static str = "words";
    type Input = u32;
    type Output = Vec<String>;

    async fn run(ctx: Context, count: u32) -> WorkflowResult<Vec<String>> {
        let mut words = Vec::new();
        for _ in 0..count {
            words.push(ctx.wait_for(WORD).await?);
        }
        Ok(words)
    }
}

const WORD: Signal<String> = Signal::new("word");

/// What is done to the second of a run's three frames, each of one event, and what is then said about the run.
const DAMAGE: &[(&str, &str)] = &[
    // A count that lies
    ("update pgworkflows.frames f set count = 2", "the frame of 2 events at event 2 "),
    ("update pgworkflows.frames f set count = 0", "the frame of 0 events at event 2 "),
    ("update pgworkflows.frames f set count = -1", "the frame of 4294967295 events at event 2 "),
    // A gap
    ("delete from pgworkflows.frames f", "it continues with event 3, where event 2 should be"),
    // An overlap: the frame has the event of the next one as well
    (
        "update pgworkflows.frames f
         set count = 2, body = '\\x86' || substring(f.body, 2) || (
             select substring(n.body, 2) from pgworkflows.frames n where n.run_id = f.run_id and n.seq = 3)",
        "it continues with event 3, where event 4 should be",
    ),
    // A body that is cut short, or too long
    ("update pgworkflows.frames f set body = ''", "the frame of 1 events at event 2 (0 bytes): at byte 0: "),
    (
        "update pgworkflows.frames f set body = substring(f.body, 1, octet_length(f.body) - 1)",
        "the frame of 1 events at event 2 ",
    ),
    ("update pgworkflows.frames f set body = f.body || '\\x00'", "the frame of 1 events at event 2 "),
    // Lengths that no frame can have
    (
        "update pgworkflows.frames f set body = '\\x9bffffffffffffffff'",
        "the frame of 1 events at event 2 (9 bytes): at byte 0: ",
    ),
    (
        "update pgworkflows.frames f set body = '\\x830f005b7fffffffffffffff'",
        "the frame of 1 events at event 2 (12 bytes): at byte 3: ",
    ),
    // An event of a newer release
    (
        "update pgworkflows.frames f set body = '\\x8318c8' || substring(f.body, 3)",
        "event 2: event `kind-200` ",
    ),
];

fn worker(store: &PostgresStore) -> Worker {
    let worker = Worker::builder(store.clone()).workflow::<Words>().queue_shards(1).processors(1);
    worker.heartbeat_interval(Duration::from_millis(50)).build().unwrap()
}

/// Asks again and again until the answer is right.
async fn eventually<T: Debug>(mut ask: impl AsyncFnMut() -> T, is_right: impl Fn(&T) -> bool) -> T {
    for _ in 0..6000 {
        let answer = ask().await;
        if is_right(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the last answer was {:?}", ask().await);
}

#[tokio::test]
async fn damaged_frames_stall_their_runs_and_no_others() {
    // Given runs of one shard that have three frames and wait for a last word
    let database = Postgres::shared().create_database().unwrap();
    let store = PostgresStore::connect(database.url()).await.unwrap();
    let client = Client::builder(store.clone()).queue_shards(1).poll_interval(Duration::from_millis(50));
    let client = client.build().unwrap();
    let mut runs = Vec::new();
    let wait = async {
        for _ in 0..DAMAGE.len() + 3 {
            runs.push(client.start::<Words>(3).await.unwrap());
        }
        // Each event is in a frame of its own, because it is logged before the next message is sent.
        for (count, next) in [(1, Some("one")), (2, Some("two")), (3, None)] {
            for run in &runs {
                eventually(async || run.history().await.unwrap().len(), |events| *events == count).await;
                if let Some(word) = next {
                    run.signal(WORD, word.to_owned()).await.unwrap();
                }
            }
        }
    };
    worker(&store).run_until(wait).await.unwrap();

    // When all but the first and the last two are damaged, and another worker takes over
    let (whole, damaged) = ([0, DAMAGE.len() + 1, DAMAGE.len() + 2], &runs[1..=DAMAGE.len()]);
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    for (run, (damage, _)) in damaged.iter().zip(DAMAGE) {
        let sql = format!("{damage} where f.run_id = '{}' and f.seq = 2", run.run_id());
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{damage}");
    }
    let resume = async {
        for run in &runs {
            run.signal(WORD, "three".to_owned()).await.unwrap();
        }
        // Then the other runs go on
        for index in whole {
            assert_eq!(runs[index].result().timeout(TTL).await.unwrap(), ["one", "two", "three"]);
        }
        // And each damaged one says what is wrong with it, and where
        for (run, (damage, expected)) in damaged.iter().zip(DAMAGE) {
            let is_left = |info: &RunInfo| info.status == RunStatus::Stalled;
            let info = eventually(async || run.describe().await.unwrap(), is_left).await;
            let says = info.waiting_on.unwrap_or_default();
            assert!(says.contains("the run is left alone: ") && says.contains(expected), "{damage}: {says}");
        }
    };
    worker(&store).run_until(resume).await.unwrap();

    // And nothing was written to them
    let frames = "select count(*) from pgworkflows.frames where run_id = any ($1::uuid[])";
    let ids: Vec<_> = damaged.iter().map(|run| run.run_id().to_string()).collect();
    let frames: i64 = sqlx::query_scalar(frames).bind(ids).fetch_one(&mut connection).await.unwrap();
    assert_eq!(frames, 3 * DAMAGE.len() as i64 - 1);
    // And an export of a frame that cannot be read names the run
    let error = client.export(damaged[0].run_id()).await.unwrap_err().to_string();
    assert!(error.contains(&damaged[0].run_id().to_string()) && error.contains(DAMAGE[0].1), "{error}");
}
