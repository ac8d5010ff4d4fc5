//! A file that is moved or replaced while a process has it open: nothing is acknowledged that the file will not have.

mod common;

use pgworkflows_core::store::{Store, StoreError};
use pgworkflows_sqlite::SqliteStore;

use self::common::Directory;

#[track_caller]
fn expect_refused<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    match answer {
        Err(StoreError::Misconfigured { reason }) => {
            for part in ["runs.db", "moved or replaced", "put the file back"] {
                assert!(reason.contains(part), "no `{part}` in: {reason}");
            }
        }
        other => panic!("it was not refused: {other:?}"),
    }
}

#[tokio::test]
async fn file_that_is_moved_is_not_written_until_it_is_back() {
    let directory = Directory::new("moved");
    let (file, elsewhere) = (directory.file("runs.db"), directory.file("elsewhere.db"));
    let store = SqliteStore::open(&file).await.unwrap();
    store.queue("one", 1).await.unwrap();
    std::fs::rename(&file, &elsewhere).unwrap();
    expect_refused(store.queue("two", 1).await);
    // What reads is to ask again, so that no client which waits for a result is told that there will be none.
    let unread = store.query().queues().await.unwrap_err();
    assert!(
        matches!(&unread, StoreError::Unavailable { .. }) && unread.to_string().contains("runs.db"),
        "{unread:?}"
    );
    assert!(!file.exists(), "no empty file is in its place");
    std::fs::rename(&elsewhere, &file).unwrap();
    store.queue("two", 1).await.unwrap();
    assert_eq!(store.query().queues().await.unwrap().len(), 2);
}

#[tokio::test]
async fn file_that_another_one_replaces_is_not_written_and_the_other_is_used_after_a_restart() {
    // Given a store, and the file of another one in its place
    let directory = Directory::new("replaced");
    let (file, other) = (directory.file("runs.db"), directory.file("other.db"));
    SqliteStore::open(&other).await.unwrap().queue("other", 1).await.unwrap();
    let store = SqliteStore::open(&file).await.unwrap();
    store.queue("one", 1).await.unwrap();
    // The file alone has all that was committed once it is closed, because its log is gone.
    let closed = async {
        while directory.file("other.db-wal").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), closed).await.unwrap();
    for suffix in ["-wal", "-shm"] {
        std::fs::rename(directory.file(format!("runs.db{suffix}")), directory.file(format!("old{suffix}")))
            .unwrap();
    }
    std::fs::rename(&other, &file).unwrap();

    // Then the store writes no more, and one that is opened afterwards does
    expect_refused(store.queue("two", 1).await);
    let again = SqliteStore::open(&file).await.unwrap();
    again.queue("two", 1).await.unwrap();
    let queues = again.query().queues().await.unwrap();
    assert!(queues.iter().map(|queue| queue.name.as_str()).eq(["other", "two"]), "{queues:?}");
}

#[track_caller]
fn expect_gone<T: std::fmt::Debug>(answer: Result<T, StoreError>, file: &str) {
    match answer {
        Err(StoreError::Misconfigured { reason }) => {
            for part in [file, "was deleted or replaced", "start them again"] {
                assert!(reason.contains(part), "no `{part}` in: {reason}");
            }
        }
        other => panic!("it was not refused: {other:?}"),
    }
}

#[tokio::test]
async fn log_that_is_deleted_takes_nothing_with_it_that_was_acknowledged() {
    // Given a store whose commits are in the log beside the file, and that this is deleted
    let directory = Directory::new("log-deleted");
    let (file, log) = (directory.file("runs.db"), directory.file("runs.db-wal"));
    let store = SqliteStore::open(&file).await.unwrap();
    store.queue("one", 1).await.unwrap();
    std::fs::remove_file(&log).unwrap();
    // Then it writes no more
    for _ in 0..2 {
        expect_gone(store.queue("two", 1).await, "runs.db-wal");
    }
    // And a copy of the file alone has what was acknowledged
    let elsewhere = directory.file("elsewhere.db");
    std::fs::copy(&file, &elsewhere).unwrap();
    let queues = SqliteStore::open(&elsewhere).await.unwrap().query().queues().await.unwrap();
    assert!(queues.iter().map(|queue| queue.name.as_str()).eq(["one"]), "{queues:?}");
}

#[tokio::test]
async fn index_of_the_log_that_is_deleted_is_not_written_by_those_who_had_it() {
    let directory = Directory::new("index-deleted");
    let (file, index) = (directory.file("runs.db"), directory.file("runs.db-shm"));
    let store = SqliteStore::open(&file).await.unwrap();
    store.queue("one", 1).await.unwrap();
    std::fs::remove_file(&index).unwrap();
    // Then it writes no more, also after another program has made a new one. In this process, SQLite would share the old one.
    expect_gone(store.queue("two", 1).await, "runs.db-shm");
    std::fs::write(&index, "").unwrap();
    expect_gone(store.queue("two", 1).await, "runs.db-shm");
}
