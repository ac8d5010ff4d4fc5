//! Files that cannot be a store: each is refused with an error that names the file, the value and what to do, and is left as it
//! was.

mod common;

use std::path::Path;

use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::store::{InboxCursor, InboxRead, NewRun, Queue, Store, StoreError, Submission};
use pgworkflows_sqlite::SqliteStore;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use self::common::Directory;

/// Opens a file that is to be refused as misconfigured. The error names the file, and says these.
async fn expect_refused(file: &Path, parts: &[&str]) {
    match SqliteStore::open(file).await {
        Err(StoreError::Misconfigured { reason }) => {
            let shown = file.display().to_string();
            for part in parts.iter().copied().chain([shown.as_str()]) {
                assert!(reason.contains(part), "no `{part}` in: {reason}");
            }
        }
        other => panic!("it was not refused: {other:?}"),
    }
}

async fn connect(file: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", file.display())).await.unwrap()
}

async fn execute(file: &Path, sql: &str) {
    let mut connection = connect(file).await;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn file_that_is_no_database_is_refused_and_left_alone() {
    let directory = Directory::new("text");
    let file = directory.file("notes.txt");
    let text = "These are notes, and no database.\n".repeat(100);
    std::fs::write(&file, &text).unwrap();
    expect_refused(&file, &["is not a SQLite database", "another file"]).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn database_of_another_program_is_refused_and_left_alone() {
    let directory = Directory::new("foreign");
    let file = directory.file("browser.db");
    execute(&file, "create table bookmarks (url text)").await;
    expect_refused(&file, &["another program", "1 tables", "another file"]).await;
    execute(&file, "drop table bookmarks; pragma application_id = 77").await;
    expect_refused(&file, &["another program", "application_id 0x4d"]).await;
    let mode: String =
        sqlx::query_scalar("pragma journal_mode").fetch_one(&mut connect(&file).await).await.unwrap();
    assert_eq!(mode, "delete", "nothing about the file was changed");
}

#[tokio::test]
async fn newer_schema_is_refused() {
    let directory = Directory::new("newer");
    let file = directory.file("runs.db");
    drop(SqliteStore::open(&file).await.unwrap());
    execute(&file, "pragma user_version = 99").await;
    expect_refused(&file, &["version 99", "up to 1", "newer version of PgWorkflows"]).await;
}

#[tokio::test]
async fn file_without_tables_stays_as_it_is_if_no_migration_is_wanted() {
    let directory = Directory::new("unmigrated");
    let file = directory.file("runs.db");
    let look = async || SqliteStore::builder(&file).migrate(false).open().await;
    for _ in ["no file", "an empty one"] {
        let refused = look().await.unwrap_err().to_string();
        assert!(refused.contains("runs.db` lacks 1 of 1 migrations"), "{refused}");
        assert!(!file.exists() || file.metadata().unwrap().len() == 0);
        std::fs::write(&file, "").unwrap();
    }
    assert!(!directory.file("runs.db-now").exists());
    drop(SqliteStore::open(&file).await.unwrap());
    look().await.unwrap().queue("default", 4).await.unwrap();
}

#[tokio::test]
async fn path_where_no_file_can_be_is_refused() {
    let directory = Directory::new("path");
    expect_refused(&directory.file("missing/runs.db"), &["does not exist", "create it"]).await;
    expect_refused(&directory.file(""), &["is a directory", "runs.db"]).await;
    std::fs::write(directory.file("file"), "").unwrap();
    let beside_a_file = directory.file("file/runs.db");
    assert!(matches!(SqliteStore::open(&beside_a_file).await, Err(StoreError::Misconfigured { .. })));
    assert!(matches!(SqliteStore::open("").await, Err(StoreError::Misconfigured { .. })));
    expect_refused(Path::new("/dev/null"), &["a device", "plain file"]).await;
    let small = SqliteStore::builder(directory.file("small.db")).size_max(1000).open().await;
    assert!(small.unwrap_err().to_string().contains("1048576"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn path_that_sqlite_cannot_have_is_refused() {
    use std::os::unix::ffi::OsStrExt;

    let directory = Directory::new("bytes");
    let file = directory.file(std::ffi::OsStr::from_bytes(b"runs\xff.db"));
    expect_refused(&file, &["not UTF-8", "another path"]).await;
}

#[cfg(unix)]
#[tokio::test]
async fn file_behind_a_link_has_one_queue_of_processes() {
    let directory = Directory::new("link");
    let (file, link) = (directory.file("runs.db"), directory.file("link.db"));
    drop(SqliteStore::open(&file).await.unwrap());
    std::os::unix::fs::symlink(&file, &link).unwrap();
    SqliteStore::open(&link).await.unwrap().queue("default", 4).await.unwrap();
    assert!(directory.file("runs.db-now").exists() && !directory.file("link.db-now").exists());
}

#[tokio::test]
async fn read_only_file_is_refused() {
    let directory = Directory::new("read-only");
    let file = directory.file("runs.db");
    drop(SqliteStore::open(&file).await.unwrap());
    let mut permissions = file.metadata().unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&file, permissions).unwrap();
    expect_refused(&file, &["read-only", "allow this user to write it"]).await;
}

/// Not even root creates a file there, as on a disk that is mounted for reading only.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn directory_where_no_file_can_be_created_is_refused() {
    expect_refused(Path::new("/proc/self/runs.db"), &["lock files beside", "right to create files there"])
        .await;
}

#[tokio::test]
async fn file_that_another_program_has_locked_is_unavailable() {
    let directory = Directory::new("locked");
    let file = directory.file("runs.db");
    let store = SqliteStore::open(&file).await.unwrap();
    let mut shell = connect(&file).await;
    sqlx::raw_sql("begin immediate").execute(&mut shell).await.unwrap();
    let error = store.queue("default", 4).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("runs.db") && text.contains("SQLite shell"), "{text}");
    // It goes on as soon as the other transaction ends.
    sqlx::raw_sql("rollback").execute(&mut shell).await.unwrap();
    assert_eq!(store.queue("default", 4).await.unwrap().shard_count, 4);
}

/// A start with a body of 100 kB.
fn start(queue: &Queue, number: u64) -> Submission {
    let run = RunId::new(queue.now, queue.first_shard, number);
    let body = Bytes::from(vec![7; 100_000]);
    Submission { message: MessageId::from_u128(u128::from(number)), run, body, opens: Some(NewRun::of("w")) }
}

#[tokio::test]
async fn full_disk_is_an_error_and_loses_nothing() {
    // Given a file that may not grow beyond a limit, which SQLite treats as a full disk
    let directory = Directory::new("full");
    let file = directory.file("runs.db");
    let store = SqliteStore::builder(&file).size_max(2 << 20).open().await.unwrap();
    let queue = store.queue("default", 1).await.unwrap();
    let mut accepted = 0;
    let error = loop {
        match store.submit(&[start(&queue, accepted)]).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    let text = error.to_string();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(text.contains("no room") && text.contains("runs.db") && text.contains("free space"), "{text}");
    assert!(accepted > 5, "{accepted} were accepted");

    // When there is room again, then the same request succeeds, and what was accepted is there
    drop(store);
    let store = SqliteStore::open(&file).await.unwrap();
    store.submit(&[start(&queue, accepted)]).await.unwrap();
    let read = InboxRead {
        shards: vec![queue.first_shard],
        cursor: InboxCursor::default(),
        limit: 1000,
        bytes: usize::MAX,
        starts: true,
    };
    let page = store.session().await.unwrap().read_inbox(&read).await.unwrap();
    let numbers = page.messages.iter().map(|message| message.message.as_u128());
    assert!(numbers.eq(0..=u128::from(accepted)));
}
