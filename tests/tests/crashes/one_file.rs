//! Several worker processes share a SQLite file, and are killed by `SIGKILL` while they write.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::future::join_all;
use pgworkflows::{Client, SqliteStore};
use pgworkflows_tests::noted::Noted;
use pgworkflows_tests::{DEADLINE, Directory};
use sqlx::{Connection, SqliteConnection};

/// How many processes share the file, beside the test itself.
const WORKERS: usize = 3;

/// How many runs there are.
const RUNS: u32 = 60;

/// How often one of the processes is killed.
const KILLS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_share_a_file_are_killed_and_lose_nothing() {
    // Given a file that several workers share
    let directory = Directory::new();
    let (file, notes) = (directory.file("runs.db"), directory.file("notes"));
    let store = SqliteStore::open(&file).await.unwrap();
    let client = Client::builder(store).queue_shards(8).build().unwrap();
    let mut workers: Vec<Process> = (0..WORKERS).map(|_| Process::spawn(&file, &notes)).collect();

    // When one after the other is killed while runs go on
    let runs = async {
        let runs = (0..RUNS).map(async |number| {
            tokio::time::sleep(Duration::from_millis(20) * number).await;
            let run = client.start::<Noted>(number).key(number.to_string()).await.unwrap();
            run.result().timeout(DEADLINE).await.unwrap()
        });
        join_all(runs).await
    };
    let kills = async {
        for kill in 0..KILLS {
            tokio::time::sleep(Duration::from_millis(200)).await;
            workers[kill % WORKERS] = Process::spawn(&file, &notes);
        }
    };
    let (results, ()) = futures::join!(runs, kills);

    // Then every run has its result, no recorded activity was executed again, and the file is whole
    assert!(results.into_iter().eq((0..RUNS).map(|number| 2 * number + 3)));
    drop(workers);
    check(&file, &notes).await;
}

/// Checks the file itself, without the engine.
async fn check(file: &Path, notes: &Path) {
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let whole: String =
        sqlx::query_scalar("pragma integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(whole, "ok");
    let question = |sql: &'static str| sqlx::query_scalar::<_, i64>(sql);
    let open = question("select count(*) from open_runs").fetch_one(&mut connection).await.unwrap();
    let waiting = question("select count(*) from inbox").fetch_one(&mut connection).await.unwrap();
    assert_eq!((open, waiting), (0, 0));
    // The events of each run are contiguous, and so are the positions of each shard: 12 bits of a run's id hold it.
    let gaps = question(
        "select count(*) from (
             select seq - lag(seq + count, 1, 1) over (partition by run_id order by seq) as gap from frames
             union all
             select position - count - lag(position, 1, 0)
                        over (partition by substr(hex(run_id), 14, 3) order by position) from frames)
         where gap <> 0",
    );
    assert_eq!(gaps.fetch_one(&mut connection).await.unwrap(), 0);

    let mut executions: BTreeMap<String, usize> = BTreeMap::new();
    for line in std::fs::read_to_string(notes).unwrap().lines() {
        *executions.entry(line.to_owned()).or_default() += 1;
    }
    assert_eq!(executions.len(), 2 * RUNS as usize, "every activity was executed");
    // Each kill repeats what was under way and not recorded, which is never all that there was.
    let repeated = executions.values().filter(|count| **count > 1).count();
    assert!(repeated < executions.len(), "{executions:?}");
}

/// A worker process; killed when it is dropped.
struct Process(Child);

impl Process {
    fn spawn(file: &Path, notes: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sqlite_worker"));
        Self(command.args([file, notes]).stdin(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
