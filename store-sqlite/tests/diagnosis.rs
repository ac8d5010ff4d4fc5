//! What an examination of a file finds: one test for each check that can be made to fail here. The limits of the others are tested
//! beside them.

mod common;

use std::path::Path;

use pgworkflows_sqlite::SqliteStore;
use pgworkflows_sqlite::diagnosis::{Check, Finding, Verdict};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use self::common::Directory;

async fn examine(file: &Path) -> Vec<Finding> {
    SqliteStore::builder(file).diagnose().await
}

/// Examines the file, and expects this of a check.
async fn expect(file: &Path, check: Check, verdict: Verdict, words: &[&str]) {
    let findings = examine(file).await;
    let found = findings.iter().find(|finding| finding.check == check);
    let finding = found.unwrap_or_else(|| panic!("{check} is not in {findings:#?}"));
    assert_eq!(finding.verdict, verdict, "{finding:?}");
    for word in words {
        let said = format!("{} {}", finding.found, finding.advice.as_deref().unwrap_or_default());
        assert!(said.contains(word), "`{word}` is not in {finding:?}");
    }
}

async fn execute(file: &Path, sql: &str) {
    let url = format!("sqlite:{}?mode=rwc", file.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn healthy_file_has_one_good_finding_for_each_check() {
    let directory = Directory::new("healthy");
    let file = directory.file("runs.db");
    let _store = SqliteStore::open(&file).await.unwrap();
    let findings = examine(&file).await;
    assert_eq!(findings.iter().map(|finding| finding.check).collect::<Vec<_>>(), Check::ALL);
    for finding in findings {
        assert_eq!((finding.verdict, &finding.advice), (Verdict::Ok, &None), "{finding:?}");
    }
}

#[tokio::test]
async fn file_that_cannot_be_a_store_is_wrong_and_left_alone() {
    let directory = Directory::new("unfit");
    let file = directory.file("runs.db");
    expect(&file, Check::File, Verdict::Wrong, &["there is no file", "pgworkflows migrate"]).await;
    assert!(!file.exists());
    std::fs::write(&file, "notes, and no database\n".repeat(100)).unwrap();
    expect(&file, Check::File, Verdict::Wrong, &["is not a SQLite database"]).await;
    assert_eq!(examine(&file).await.len(), 1);
    // A file without tables, and one of another program
    let empty = directory.file("empty.db");
    execute(&empty, "pragma user_version = 0").await;
    expect(&empty, Check::Schema, Verdict::Wrong, &["lacks 1 of 1 migrations", "pgworkflows migrate"]).await;
    let other = directory.file("browser.db");
    execute(&other, "create table bookmarks (url text)").await;
    expect(&other, Check::Schema, Verdict::Wrong, &["of another program"]).await;
    // What needs the tables is left out
    assert_eq!(examine(&other).await.last().unwrap().check, Check::Integrity);
}

#[tokio::test]
async fn journal_mode_of_a_copy_is_told_until_a_store_opens_it() {
    let directory = Directory::new("copy");
    let (file, copy) = (directory.file("runs.db"), directory.file("copy.db"));
    drop(SqliteStore::open(&file).await.unwrap());
    execute(&file, &format!("vacuum into '{}'", copy.display())).await;
    expect(&copy, Check::Journal, Verdict::Warning, &["`delete`", "sets `wal`"]).await;
    let _store = SqliteStore::open(&copy).await.unwrap();
    expect(&copy, Check::Journal, Verdict::Ok, &[]).await;
}

#[tokio::test]
async fn damaged_page_is_wrong() {
    let directory = Directory::new("damaged");
    let (file, damaged) = (directory.file("runs.db"), directory.file("damaged.db"));
    drop(SqliteStore::open(&file).await.unwrap());
    // A copy is one whole file.
    execute(&file, &format!("vacuum into '{}'", damaged.display())).await;
    let mut bytes = std::fs::read(&damaged).unwrap();
    let last = bytes.len() - 4096;
    bytes[last..].fill(0xff);
    std::fs::write(&damaged, bytes).unwrap();
    expect(&damaged, Check::Integrity, Verdict::Wrong, &["restore a backup"]).await;
}

#[tokio::test]
async fn leases_that_expired_with_shards_are_wrong_if_runs_need_them() {
    let directory = Directory::new("leases");
    let file = directory.file("runs.db");
    let _store = SqliteStore::open(&file).await.unwrap();
    let lease = "
        insert into leases (lease, queue, worker, generation, workflows, claimed_at, renewed_at, expires_at)
        values (7, 'default', 'clerk', 0, '', 0, 0, 0);
        insert into shards (shard, queue, lease) values (0, 'default', 7), (1, 'default', 7)";
    execute(&file, lease).await;
    let words = ["worker `clerk` of queue `default` died", "with 2 shards, 0 of which", "start a worker"];
    expect(&file, Check::Leases, Verdict::Warning, &words).await;
    execute(&file, "insert into shard_needs (shard, workflow) values (1, 'order')").await;
    expect(&file, Check::Leases, Verdict::Wrong, &["1 of which have or had open runs"]).await;
}
