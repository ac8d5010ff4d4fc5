//! The write-ahead log beside the file: how long it becomes.

mod common;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::store::{NewRun, Queue, Store, Submission};
use pgworkflows_sqlite::SqliteStore;
use sqlx::{Connection, SqliteConnection};

use self::common::Directory;

/// Longer than a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Above this, the log is emptied.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// A start with a body of 1 MB.
fn start(queue: &Queue, number: u64) -> Submission {
    let run = RunId::new(queue.now, queue.first_shard, number);
    let body = Bytes::from(vec![7; 1_000_000]);
    Submission { message: MessageId::from_u128(u128::from(number)), run, body, opens: Some(NewRun::of("w")) }
}

/// Reads at every moment: each of two connections begins to read before the other one ends.
async fn read_for_ever(file: &Path) {
    let connect = async || SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let (mut one, mut other) = (connect().await, connect().await);
    loop {
        sqlx::raw_sql("begin; select count(*) from queues").execute(&mut one).await.unwrap();
        let _ = sqlx::raw_sql("rollback").execute(&mut other).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        std::mem::swap(&mut one, &mut other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_stays_short_although_somebody_reads_at_every_moment() {
    let directory = Directory::new("log");
    let file = directory.file("runs.db");
    let store = SqliteStore::open(&file).await.unwrap();
    let queue = store.queue("default", 1).await.unwrap();
    let reading = tokio::spawn({
        let file = file.clone();
        async move { read_for_ever(&file).await }
    });
    let log_bytes = || directory.file("runs.db-wal").metadata().unwrap().len();
    // Given a log that has become long
    let mut number = 0;
    while log_bytes() <= LOG_BYTES_MAX {
        number += 1;
        store.submit(&[start(&queue, number)]).await.unwrap();
    }
    // Then a later call empties it: the next one, but on a machine on which every read takes long
    let emptied = async {
        while log_bytes() > LOG_BYTES_MAX {
            store.queue("default", 1).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, emptied).await.unwrap();
    reading.abort();
}
