//! A store that is restored to an older state, as from a backup, and transactions that wait for each other.

mod common;

use std::sync::Arc;

use common::{
    assert_fenced, assert_unavailable, empty_append, history_len, inbox, keyed, opening, owner, start,
};
use futures::FutureExt;
use pgworkflows_core::store::{Hint, HintKind, Store, Submitted};
use pgworkflows_memory::{ManualClock, MemoryStore};

fn store() -> MemoryStore {
    MemoryStore::with_clock(Arc::new(ManualClock::default()))
}

#[tokio::test]
async fn restored_store_fences_the_next_append() {
    let store = store();
    let (mut session, claimed) = owner(&store).await;
    session.append(&opening(claimed.lease, 1, 0)).await.unwrap();
    let backup = store.snapshot();
    session.append(&opening(claimed.lease, 2, 1)).await.unwrap();
    store.restore(&backup);

    assert_eq!(history_len(&store, 1).await, 0, "it was lost");
    assert_fenced(session.append(&opening(claimed.lease, 3, 2)).await);
    assert_eq!(history_len(&store, 0).await, 1);
}

#[tokio::test]
async fn restored_store_without_a_lost_append_takes_the_next_one() {
    let store = store();
    let (mut session, claimed) = owner(&store).await;
    session.append(&opening(claimed.lease, 1, 0)).await.unwrap();
    store.restore(&store.snapshot());
    session.append(&opening(claimed.lease, 2, 1)).await.unwrap();
}

#[tokio::test]
async fn lost_claim_fences_its_owner() {
    let store = store();
    store.queue("default", common::SHARDS).await.unwrap();
    let backup = store.snapshot();
    let (mut session, claimed) = owner(&store).await;
    store.restore(&backup);
    let (_, next) = owner(&store).await;
    assert_ne!(next.lease, claimed.lease, "a lease's id is never reused");
    assert_fenced(session.append(&opening(claimed.lease, 1, 0)).await);
}

#[tokio::test]
async fn inbox_cursor_from_before_a_restore_is_fenced() {
    let store = store();
    let (mut session, _) = owner(&store).await;
    let backup = store.snapshot();
    store.submit(&[start(0)]).await.unwrap();
    let mut read = common::inbox_read();
    read.cursor = session.read_inbox(&read).await.unwrap().cursor;
    store.restore(&backup);
    // As many commits as were lost, so a cursor that is compared only with the number of commits would skip this message.
    store.submit(&[start(1)]).await.unwrap();

    assert_fenced(session.read_inbox(&read).await);
    assert_eq!(inbox(&mut *session).await.len(), 1);
}

#[tokio::test]
async fn snapshot_is_not_changed_by_later_operations() {
    let store = store();
    let (mut session, claimed) = owner(&store).await;
    let backup = store.snapshot();
    for _ in 0..2 {
        session.append(&opening(claimed.lease, 1, 0)).await.unwrap();
        assert_eq!(history_len(&store, 0).await, 1);
        store.restore(&backup);
        assert_eq!(history_len(&store, 0).await, 0);
    }
}

#[tokio::test]
async fn restore_notifies_every_listener_of_missed_hints() {
    let store = store();
    owner(&store).await;
    let mut listeners = [HintKind::Mail, HintKind::Notice, HintKind::Released].map(|kind| store.hints(kind));
    store.restore(&store.snapshot());
    for hints in &mut listeners {
        assert_eq!(hints.try_recv().unwrap(), Hint::Missed);
    }
}

#[tokio::test]
async fn transaction_that_was_open_at_a_restore_is_lost() {
    let store = store();
    let (mut session, _) = owner(&store).await;
    let mut transaction = store.begin();
    transaction.submit(&[start(0)]).await.unwrap();
    store.restore(&store.snapshot());
    assert_unavailable(transaction.commit());
    assert_eq!(inbox(&mut *session).await, []);
}

#[tokio::test]
async fn start_under_a_key_that_an_open_transaction_holds_waits_for_its_end() {
    for commits in [true, false] {
        let store = store();
        owner(&store).await;
        let mut transaction = store.begin();
        transaction.submit(&[keyed(0, "k")]).await.unwrap();
        let other = [keyed(1, "k")];
        let mut call = store.submit(&other);
        assert!((&mut call).now_or_never().is_none());
        if commits {
            transaction.commit().unwrap();
            assert_eq!(call.await.unwrap(), [Submitted::Existing(common::run(0))]);
        } else {
            transaction.rollback();
            assert_eq!(call.await.unwrap(), [Submitted::Accepted]);
        }
    }
}

#[tokio::test]
async fn number_of_a_rolled_back_message_is_not_reused() {
    let store = store();
    let (mut session, _) = owner(&store).await;
    store.submit(&[start(0)]).await.unwrap();
    let mut transaction = store.begin();
    transaction.submit(&[start(1)]).await.unwrap();
    drop(transaction);
    store.submit(&[start(2)]).await.unwrap();
    let numbers: Vec<_> = inbox(&mut *session).await.iter().map(|message| message.number.get()).collect();
    assert_eq!(numbers, [1, 3]);
}

#[tokio::test]
async fn appends_are_trimmed_but_never_the_last_two() {
    let store = store();
    let (mut session, claimed) = owner(&store).await;
    for number in 1..=10 {
        session.append(&empty_append(claimed.lease, number)).await.unwrap();
    }
    session.append(&empty_append(claimed.lease, 10)).await.expect("the last one is remembered");
    session.append(&empty_append(claimed.lease, 9)).await.expect("and the one before it");
    assert_fenced(session.append(&empty_append(claimed.lease, 8)).await);
}

#[tokio::test]
async fn expired_leases_are_fenced_by_the_next_claim() {
    let store = store();
    let (mut session, claimed) = owner(&store).await;
    store.expire_leases();
    session.append(&opening(claimed.lease, 1, 0)).await.expect("it is not fenced yet");
    let (_, next) = owner(&store).await;
    assert_eq!(next.shards.len(), usize::from(common::SHARDS));
    assert_fenced(session.append(&opening(claimed.lease, 2, 1)).await);
}
