//! Several calls in one commit, and several users of one file.

mod common;

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use pgworkflows_core::RunId;
use pgworkflows_core::id::{AppendNo, EventSeq, LeaseId, MessageId};
use pgworkflows_core::store::{
    Append, Build, Claim, ClaimTasks, Frame, Hint, HintKind, NewRun, OpenRow, OpenState, OpenedRun, Queue,
    RunFilter, RunPage, Store, StoreError, Submission, Submitted, UpdatedRun,
};
use pgworkflows_sqlite::SqliteStore;
use sqlx::{Connection, SqliteConnection};

use self::common::Directory;

/// Longer than a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A start of a run in the first shard.
fn start(queue: &Queue, number: u64) -> Submission {
    let run = RunId::new(queue.now, queue.first_shard, number);
    Submission {
        message: MessageId::from_u128(run.as_u128()),
        run,
        body: Bytes::new(),
        opens: Some(NewRun::of("w")),
    }
}

/// How many commits gave hints to other processes so far.
async fn commits(file: &Path) -> i64 {
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    sqlx::query_scalar("select count(*) from hints").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn calls_that_wait_share_a_commit_and_a_refusal_undoes_no_neighbour() {
    // Given calls that wait because another process has its turn: starts, appends under no lease, and a queue without shards
    let directory = Directory::new("shared");
    let file = directory.file("runs.db");
    let store = SqliteStore::open(&file).await.unwrap();
    let queue = store.queue("default", 1).await.unwrap();
    let other = std::fs::OpenOptions::new().write(true).open(directory.file("runs.db-now")).unwrap();
    other.lock().unwrap();
    let starts: Vec<_> = (0..20).map(|number| [start(&queue, number)]).collect();
    let starts = join_all(starts.iter().map(|start| store.submit(start)));
    let mut session = store.session().await.unwrap();
    let mut unknown = Append::new(LeaseId::new(7), AppendNo::FIRST);
    unknown.seal(|_| None);
    let calls = async { futures::join!(starts, session.append(&unknown), store.queue("empty", 0)) };
    let mut calls = pin!(calls);
    assert!(futures::poll!(calls.as_mut()).is_pending());

    // When the turn comes
    other.unlock().unwrap();
    let (started, appended, opened) = calls.await;

    // Then each has its own answer
    assert!(started.into_iter().all(|answer| answer.unwrap() == [Submitted::Accepted]));
    assert!(matches!(appended, Err(StoreError::Fenced { .. })), "{appended:?}");
    assert!(matches!(opened, Err(StoreError::Misconfigured { .. })), "{opened:?}");
    // Usually in one commit: a machine so slow that a call takes longer than a transaction may makes more of them.
    assert!(commits(&file).await < 20);
    let page = RunPage { before: None, limit: 99 };
    assert_eq!(store.query().list(&RunFilter::default(), &page).await.unwrap().len(), 20);
}

#[tokio::test]
async fn append_that_is_refused_for_what_it_writes_leaves_nothing_and_undoes_no_neighbour() {
    // Given a store that writes without comparing with the log first, and an append that updates a run which is not there
    let directory = Directory::new("refused");
    let file = directory.file("runs.db");
    let store = SqliteStore::builder(&file).verify_appends(false).open().await.unwrap();
    let queue = store.queue("default", 1).await.unwrap();
    let claim = Claim {
        queue: "default".to_owned(),
        lease: None,
        worker: "worker".to_owned(),
        build: Build::default(),
        ttl: PATIENCE,
        limit: 1,
    };
    let mut session = store.session().await.unwrap();
    let claimed = session.claim(&claim).await.unwrap();
    let [shard] = &claimed.shards[..] else { panic!("{claimed:?}") };
    let run = RunId::new(queue.now, queue.first_shard, 0);
    let frame = |run| Frame {
        run,
        seq: EventSeq::FIRST,
        count: 1,
        position: shard.next_position,
        at: queue.now,
        body: Bytes::new(),
    };
    let row = OpenRow { state: OpenState::Busy, wake_at: None, waiting_on: None, waits: None };
    let append = || Append { frames: vec![frame(run)], ..Append::new(claimed.lease, AppendNo::FIRST) };
    let sealed = |mut append: Append| {
        append.seal(|_| Some(shard.claim));
        append
    };
    let refused = sealed(Append { updated: vec![UpdatedRun { run, row: row.clone() }], ..append() });

    // When it is the only call, and when it has neighbours
    let alone = session.append(&refused).await;
    let other = std::fs::OpenOptions::new().write(true).open(directory.file("runs.db-now")).unwrap();
    other.lock().unwrap();
    let starts: Vec<_> = (1..4).map(|number| [start(&queue, number)]).collect();
    let (before, after) = starts.split_at(1);
    let before = join_all(before.iter().map(|start| store.submit(start)));
    let after = join_all(after.iter().map(|start| store.submit(start)));
    let mut calls = Box::pin(async { futures::join!(before, session.append(&refused), after) });
    assert!(futures::poll!(calls.as_mut()).is_pending());
    other.unlock().unwrap();
    let (before, among, after) = calls.await;

    // Then it is refused, and the others are not
    for refused in [alone, among] {
        let why = "runs to be updated are not open, or are named twice";
        assert!(
            matches!(&refused, Err(StoreError::Conflict { reason }) if reason.contains(why)),
            "{refused:?}"
        );
    }
    assert!(before.into_iter().chain(after).all(|answer| answer.unwrap() == [Submitted::Accepted]));
    // And the next append has its number and its position
    let opened = OpenedRun { run, workflow: "w".into(), key: None, parent: None, row };
    session.append(&sealed(Append { opened: vec![opened], ..append() })).await.unwrap();
    let page = RunPage { before: None, limit: 99 };
    assert_eq!(store.query().list(&RunFilter::default(), &page).await.unwrap().len(), 4);
}

#[tokio::test]
async fn hints_of_another_user_of_the_file_arrive() {
    let directory = Directory::new("hints");
    let file = directory.file("runs.db");
    let (one, other) = (SqliteStore::open(&file).await.unwrap(), SqliteStore::open(&file).await.unwrap());
    let queue = one.queue("default", 4).await.unwrap();
    one.submit(&[start(&queue, 0)]).await.unwrap();
    // Whoever begins to listen looks at everything, and is told of what comes later.
    let mut hints = other.hints(HintKind::Mail);
    let hint = tokio::time::timeout(PATIENCE, hints.recv()).await.unwrap().unwrap();
    assert_eq!(hint, Hint::Missed);
    one.submit(&[start(&queue, 1)]).await.unwrap();
    let hint = tokio::time::timeout(PATIENCE, hints.recv()).await.unwrap().unwrap();
    assert_eq!(hint, Hint::Mail(queue.first_shard));
    // And its own hints arrive once.
    other.submit(&[start(&queue, 2)]).await.unwrap();
    assert_eq!(hints.recv().await.unwrap(), Hint::Mail(queue.first_shard));
    one.submit(&[start(&queue, 3)]).await.unwrap();
    assert_eq!(hints.recv().await.unwrap(), Hint::Mail(queue.first_shard));
    assert!(hints.try_recv().is_err());
}

#[tokio::test]
async fn users_of_a_file_share_its_queues_and_no_shard() {
    let directory = Directory::new("leases");
    let file = directory.file("runs.db");
    let stores = [SqliteStore::open(&file).await.unwrap(), SqliteStore::open(&file).await.unwrap()];
    let mut owned = Vec::new();
    for store in &stores {
        assert_eq!(store.queue("default", 4).await.unwrap().shard_count, 4);
        let claim = Claim {
            queue: "default".to_owned(),
            lease: None,
            worker: "worker".to_owned(),
            build: Build::default(),
            ttl: PATIENCE,
            limit: 2,
        };
        let claimed = store.session().await.unwrap().claim(&claim).await.unwrap();
        owned.extend(claimed.shards.iter().map(|shard| shard.shard.get()));
    }
    assert_eq!(owned, [0, 1, 2, 3]);
}

/// Makes all leases as old and as long as they would be if the clock had been an hour ahead when they were renewed.
async fn set_clock_back(file: &Path) {
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    for table in ["leases", "executors"] {
        let hour = "3600000000";
        let ahead =
            format!("update {table} set renewed_at = renewed_at + {hour}, expires_at = expires_at + {hour}");
        sqlx::query(sqlx::AssertSqlSafe(ahead)).execute(&mut connection).await.unwrap();
    }
}

#[tokio::test]
async fn clock_that_is_set_back_keeps_no_dead_lease_alive() {
    // Given an owner of a shard and an executor, with short leases, and a clock that is set back then
    let directory = Directory::new("set-back");
    let file = directory.file("runs.db");
    let store = SqliteStore::open(&file).await.unwrap();
    store.queue("default", 1).await.unwrap();
    let claim = |ttl| Claim {
        queue: "default".to_owned(),
        lease: None,
        worker: "worker".to_owned(),
        build: Build::default(),
        ttl,
        limit: 1,
    };
    let tasks = |ttl| ClaimTasks {
        executor: None,
        worker: "worker".to_owned(),
        renew: Some(ttl),
        renewals: 0,
        queues: Vec::new(),
        activities: Vec::new(),
        bytes: usize::MAX,
    };
    let mut session = store.session().await.unwrap();
    let short = Duration::from_millis(1);
    assert_eq!(session.claim(&claim(short)).await.unwrap().shards.len(), 1);
    let executor = session.claim_tasks(&tasks(short)).await.unwrap().executor;
    set_clock_back(&file).await;
    // When others claim, then they soon get what is not renewed
    let taken = async {
        while session.claim(&claim(PATIENCE)).await.unwrap().shards.is_empty() {}
        let again = ClaimTasks { executor: Some(executor), renew: None, ..tasks(short) };
        while session.claim_tasks(&again).await.is_ok() {
            session.claim_tasks(&tasks(PATIENCE)).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();
}

#[tokio::test]
async fn file_is_opened_by_many_at_the_same_time() {
    let directory = Directory::new("many");
    let file = directory.file("runs.db");
    let opened = join_all((0..8).map(|_| SqliteStore::open(&file))).await;
    for store in opened {
        assert_eq!(store.unwrap().queue("default", 4).await.unwrap().shard_count, 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn file_is_its_own_while_another_process_creates_it() {
    let directory = Directory::new("being-created");
    for round in 0..20 {
        // Given a file that one process creates, and others that see it as soon as there is one
        let file = directory.file(format!("{round}.db"));
        let late = [(); 3].map(|()| {
            let file = file.clone();
            tokio::spawn(async move {
                while !file.exists() {
                    tokio::task::yield_now().await;
                }
                SqliteStore::open(&file).await.map(drop)
            })
        });
        // When all of them open it
        let created = SqliteStore::open(&file).await;
        // Then none takes it for the file of another program
        created.unwrap();
        for opened in late {
            opened.await.unwrap().unwrap();
        }
    }
}
