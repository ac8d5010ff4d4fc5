//! The harness with real servers: what tests rely on when they crash, restore and abandon one.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use pgworkflows_pg_harness::{Database, PgBouncer, PoolMode, Postgres};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};

/// Set for the process that a test starts in order to kill it.
const VICTIM: &str = "PGWORKFLOWS_HARNESS_VICTIM";

async fn run(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn ask(url: &str, question: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(&mut connection).await.unwrap()
}

async fn count(url: &str, table: &str) -> String {
    ask(url, &format!("SELECT count(*)::text FROM {table}")).await
}

#[tokio::test]
async fn databases_of_a_shared_server_are_isolated_and_dropped() {
    let first = Postgres::shared().create_database().unwrap();
    let second = Postgres::shared().create_database().unwrap();
    run(first.url(), "CREATE TABLE t (n int)").await;

    run(second.url(), "CREATE TABLE t (n int)").await;
    assert_eq!(ask(second.url(), "SELECT current_database()::text").await, second.name());

    let name = first.name().to_owned();
    // A client is still connected, as after a failed test.
    let _connection = PgConnection::connect(first.url()).await.unwrap();
    drop(first);
    let left = format!("SELECT count(*)::text FROM pg_database WHERE datname = '{name}'");
    assert_eq!(ask(Postgres::shared().url(), &left).await, "0");
}

#[tokio::test]
async fn dumped_database_is_restored_on_another_server() {
    let (old, new) = (Postgres::start().unwrap(), Postgres::start().unwrap());
    let file = old.scratch_dir().join("dump");
    let (dumped, restored) = (old.create_database().unwrap(), new.create_database().unwrap());
    run(dumped.url(), "CREATE TABLE t (n int)").await;
    run(dumped.url(), "INSERT INTO t VALUES (1)").await;

    old.dump(&dumped, &["--table=t"], &file).unwrap();
    new.restore_dump(&file, &restored).unwrap();
    assert_eq!(count(restored.url(), "t").await, "1");

    let missing = new.restore_dump(&old.scratch_dir().join("nothing"), &restored).unwrap_err();
    assert!(missing.to_string().contains("pg_restore"), "{missing}");
}

#[tokio::test]
async fn killed_server_restarts_at_its_url_with_what_was_committed() {
    let server = Postgres::start().unwrap();
    let database = server.create_database().unwrap();
    run(database.url(), "CREATE TABLE t (n int)").await;
    run(database.url(), "INSERT INTO t VALUES (1)").await;

    server.kill().unwrap();
    assert!(!server.is_running());
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());

    server.restart().unwrap();
    assert_eq!(count(database.url(), "t").await, "1");
    assert!(server.log().contains("was not properly shut down"), "{}", server.log());
}

#[tokio::test]
async fn restored_server_lacks_what_was_committed_after_the_copy() {
    let server = Postgres::start().unwrap();
    let database: Database = server.create_database().unwrap();
    let copy = server.scratch_dir().join("copy");
    run(database.url(), "CREATE TABLE t (n int)").await;
    run(database.url(), "INSERT INTO t VALUES (1)").await;

    server.copy_data_dir_to(&copy).unwrap();
    run(database.url(), "INSERT INTO t VALUES (2)").await;
    assert_eq!(count(database.url(), "t").await, "2");

    server.restore_from(&copy).unwrap();
    assert_eq!(count(database.url(), "t").await, "1");
    // A copy is never overwritten, and a missing copy loses no data.
    let error = server.copy_data_dir_to(&copy).unwrap_err().to_string();
    assert!(error.contains(&*copy.to_string_lossy()), "{error}");
    let error = server.restore_from(Path::new("nowhere")).unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
    server.restart().unwrap();
    assert_eq!(count(database.url(), "t").await, "1");
}

#[tokio::test]
async fn settings_are_applied_and_durable_servers_wait_for_the_disk() {
    let server = Postgres::builder()
        .durable()
        .setting("default_transaction_isolation", "serializable")
        .setting("application_name", "it's quoted")
        .start()
        .unwrap();

    for (name, expected) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("default_transaction_isolation", "serializable"),
        ("unix_socket_directories", ""),
    ] {
        assert_eq!(ask(&server.url(), &format!("SHOW {name}")).await, expected, "{name}");
    }
    let mode = std::fs::metadata(server.data_dir());
    assert!(mode.is_ok_and(|data| data.is_dir()));
}

#[tokio::test]
async fn dropped_server_leaves_nothing() {
    let server = Postgres::start().unwrap();
    let (directory, port) = (server.scratch_dir().to_owned(), server.port());

    drop(server);

    assert!(!directory.exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn unknown_setting_is_reported_with_the_message_of_the_server() {
    let error = Postgres::builder().setting("fsinc", "off").start().unwrap_err();

    assert!(error.to_string().contains("unrecognized configuration parameter \"fsinc\""), "{error}");
}

#[test]
fn killed_process_leaves_nothing() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim_starts_a_server_and_waits", "--nocapture"])
        .env(VICTIM, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let line = output.lines().map_while(Result::ok).find_map(|line| {
        let (_, found) = line.split_once("victim: ")?;
        Some(found.to_owned())
    });
    let line = line.expect("the victim says where its server is");
    let (port, directory) = line.split_once(' ').unwrap();
    let (port, directory) = (port.parse::<u16>().unwrap(), Path::new(directory));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok() && directory.exists());

    victim.kill().unwrap();
    victim.wait().unwrap();

    let deadline = Instant::now() + Duration::from_secs(20);
    while directory.exists() || TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < deadline, "{line} is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// No test by itself: it runs in the process that the test above kills.
#[test]
fn victim_starts_a_server_and_waits() {
    if std::env::var_os(VICTIM).is_some() {
        let server = Postgres::start().unwrap();
        #[expect(clippy::print_stdout, reason = "the parent reads it")]
        {
            println!("victim: {} {}", server.port(), server.scratch_dir().display());
        }
        std::thread::sleep(Duration::from_secs(120));
    }
}

#[tokio::test]
async fn pgbouncer_shares_one_connection_among_its_clients() {
    // Given a pooler with one connection, in transaction mode
    if !PgBouncer::is_here() {
        return;
    }
    let server = Postgres::start().unwrap();
    let pooler = PgBouncer::start(&server, PoolMode::Transaction, 1).unwrap();
    // PgBouncer refuses a parameter that the driver sends by default.
    let options = PgConnectOptions::from_str(&pooler.url("postgres")).unwrap().extra_float_digits(None);
    let question = "SELECT pg_backend_pid()";
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(options.connect().await.unwrap());
    }
    // When three clients ask for their server process
    let mut backends = std::collections::BTreeSet::new();
    for client in &mut clients {
        let row = sqlx::raw_sql(question).fetch_one(client).await.unwrap();
        backends.insert(row.get::<i32, _>(0));
    }
    // Then the same process answers all of them
    assert_eq!(backends.len(), 1);
    // And the pooler ends with its value
    drop(pooler);
    options.connect().await.unwrap_err();
}

#[tokio::test]
async fn promoted_standby_has_every_acknowledged_commit_and_accepts_writes() {
    let server = Postgres::start().unwrap();
    run(&server.url(), "CREATE TABLE t (n int)").await;
    let standby = server.start_standby(Duration::from_secs(3600)).unwrap();
    run(&server.url(), "INSERT INTO t SELECT generate_series(1, 7)").await;
    assert_eq!(count(&standby.url(), "t").await, "0", "it lags");

    server.kill().unwrap();
    standby.promote().unwrap();

    assert_eq!(count(&standby.url(), "t").await, "7");
    run(&standby.url(), "INSERT INTO t VALUES (8)").await;
    let next = standby.start_standby(Duration::ZERO).unwrap();
    standby.kill().unwrap();
    next.promote().unwrap();
    run(&next.url(), "INSERT INTO t VALUES (9)").await;
    assert_eq!(count(&next.url(), "t").await, "9");
}
