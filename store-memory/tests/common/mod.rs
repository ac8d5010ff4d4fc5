//! Fixtures of the memory store's tests: short ways to make a store, a run and a batch.
#![expect(dead_code, reason = "each test file uses only some of them")]

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{AppendNo, ClaimId, EventSeq, LeaseId, MessageId, Position, RunId, ShardId};
use pgworkflows_core::store::{
    Append, Build, Claim, Claimed, Frame, InboxCursor, InboxMessage, InboxRead, Load, MessageRef, NewRun,
    OpenRow, OpenedRun, Session, Store, StoreError, Submission,
};
use pgworkflows_memory::MemoryStore;

pub(crate) const SHARDS: u16 = 3;

pub(crate) fn shards() -> Vec<ShardId> {
    (0..SHARDS).map(|shard| ShardId::new(shard).unwrap()).collect()
}

pub(crate) fn run(number: u64) -> RunId {
    let shard = ShardId::new((number % u64::from(SHARDS)) as u16).unwrap();
    RunId::new(Timestamp::from_micros(1_767_225_600_000_000), shard, number)
}

pub(crate) fn start(number: u64) -> Submission {
    start_with_key(number, None)
}

pub(crate) fn keyed(number: u64, key: &str) -> Submission {
    start_with_key(number, Some(key.to_owned()))
}

fn start_with_key(number: u64, key: Option<String>) -> Submission {
    let opens = NewRun { key, ..NewRun::of("order") };
    Submission { opens: Some(opens), ..signal(number, number) }
}

pub(crate) fn signal(to: u64, message: u64) -> Submission {
    let body = Bytes::from(format!("message {message}"));
    Submission { message: MessageId::from_u128(message.into()), run: run(to), body, opens: None }
}

pub(crate) fn claim(ttl: std::time::Duration) -> Claim {
    let (queue, worker) = ("default".to_owned(), "test".to_owned());
    Claim { queue, lease: None, worker, build: Build::default(), ttl, limit: SHARDS }
}

/// Creates the queue and claims all of its shards for a day.
pub(crate) async fn owner(store: &MemoryStore) -> (Box<dyn Session>, Claimed) {
    store.queue("default", SHARDS).await.unwrap();
    let mut session = store.session().await.unwrap();
    let claimed = session.claim(&claim(std::time::Duration::from_secs(24 * 3600))).await.unwrap();
    (session, claimed)
}

/// A read of up to 1,000 messages from the beginning.
pub(crate) fn inbox_read() -> InboxRead {
    InboxRead {
        shards: shards(),
        cursor: InboxCursor::default(),
        limit: 1000,
        bytes: usize::MAX,
        starts: true,
    }
}

pub(crate) async fn inbox(session: &mut dyn Session) -> Vec<InboxMessage> {
    session.read_inbox(&inbox_read()).await.unwrap().messages
}

pub(crate) fn empty_append(lease: LeaseId, number: u64) -> Append {
    Append::new(lease, AppendNo::new(number))
}

/// Completes an append under a lease that claimed once: claims are numbered as leases are.
pub(crate) fn seal(append: &mut Append) {
    let claim = ClaimId::new(append.lease.get());
    append.seal(|_| Some(claim));
}

/// An append that opens a run with its first event, the first one in its shard.
pub(crate) fn opening(lease: LeaseId, number: u64, id: u64) -> Append {
    let mut append = empty_append(lease, number);
    append.opened.push(OpenedRun {
        run: run(id),
        workflow: "order".into(),
        key: None,
        parent: None,
        row: OpenRow::default(),
    });
    append.frames.push(frame(run(id), EventSeq::FIRST, Position::FIRST, Bytes::new()));
    seal(&mut append);
    append
}

/// A frame of one event.
pub(crate) fn frame(run: RunId, seq: EventSeq, position: Position, body: Bytes) -> Frame {
    Frame { run, seq, count: 1, position, at: Timestamp::from_micros(0), body }
}

pub(crate) fn reference(message: &InboxMessage) -> MessageRef {
    MessageRef { shard: message.run.shard(), number: message.number, message: message.message }
}

/// How many frames the run has.
pub(crate) async fn history_len(store: &MemoryStore, id: u64) -> usize {
    let load = Load { runs: vec![run(id)], after: None, bytes: usize::MAX };
    let histories = store.query().load(&load).await.unwrap().histories;
    histories.iter().map(|history| history.frames.len()).sum()
}

#[track_caller]
pub(crate) fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "expected Unavailable, got {answer:?}");
}

#[track_caller]
pub(crate) fn assert_fenced<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Fenced { .. })), "expected Fenced, got {answer:?}");
}
