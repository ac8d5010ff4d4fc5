//! Each fault at each point of a call: what happened, and what the caller gets.

mod common;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{
    assert_fenced, assert_unavailable, claim, history_len, inbox, keyed, opening, owner, run, signal, start,
};
use futures::FutureExt;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::store::{Claim, Hint, HintKind, Release, SentMessage, Store, StoreError, Submitted};
use pgworkflows_memory::{Call, Fault, FaultPoint, Faults, ManualClock, MemoryStore, SessionNo, Stage};
use tokio::sync::oneshot;

/// Planned faults, in order. Each happens at the next call of its kind and stage.
#[derive(Default)]
struct ScriptedFaults {
    planned: Mutex<VecDeque<(&'static str, Stage, Fault)>>,
    hints: Mutex<VecDeque<u32>>,
    /// Whether a late duplicate follows every request that takes effect.
    duplicates: AtomicBool,
    /// The size of each answer in bytes.
    answer_bytes: Mutex<Vec<usize>>,
}

impl ScriptedFaults {
    fn plan(&self, call: &'static str, stage: Stage, fault: Fault) {
        self.planned.lock().unwrap().push_back((call, stage, fault));
    }
}

impl fmt::Debug for ScriptedFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScriptedFaults")
    }
}

impl Faults for ScriptedFaults {
    fn at(&self, point: &FaultPoint<'_>) -> Fault {
        let call = match point.call {
            Call::Append(_) => "append",
            Call::Submit(_) => "submit",
            Call::Claim(_) => "claim",
            Call::Release(_) => "release",
            Call::ReadInbox(_) => "read_inbox",
            _ => return Fault::Proceed,
        };
        let mut planned = self.planned.lock().unwrap();
        match planned.front() {
            Some((wanted, stage, _)) if (*wanted, *stage) == (call, point.stage) => {
                planned.pop_front().unwrap().2
            }
            _ => Fault::Proceed,
        }
    }

    fn arrives_again(&self, point: &FaultPoint<'_>) -> bool {
        self.answer_bytes.lock().unwrap().push(point.bytes);
        self.duplicates.load(Ordering::Relaxed)
    }

    fn hint(&self, _hint: Hint) -> u32 {
        self.hints.lock().unwrap().pop_front().unwrap_or(1)
    }
}

fn scripted() -> (MemoryStore, Arc<ScriptedFaults>, Arc<ManualClock>) {
    let (script, clock) = (Arc::new(ScriptedFaults::default()), Arc::new(ManualClock::default()));
    (MemoryStore::with_faults(clock.clone(), script.clone()), script, clock)
}

fn delay() -> (oneshot::Sender<()>, Fault) {
    let (end, ended) = oneshot::channel();
    (end, Fault::Delay(Box::pin(async { ended.await.unwrap() })))
}

#[tokio::test]
async fn append_whose_request_or_commit_is_lost_did_not_happen() {
    for stage in [Stage::Request, Stage::Commit] {
        let (store, script, _) = scripted();
        let (mut session, claimed) = owner(&store).await;
        script.plan("append", stage, Fault::Lose);
        let append = opening(claimed.lease, 1, 0);
        assert_unavailable(session.append(&append).await);
        assert_eq!(history_len(&store, 0).await, 0);

        session.append(&append).await.expect("it can be sent again");
        assert_eq!(history_len(&store, 0).await, 1);
    }
}

#[tokio::test]
async fn append_whose_acknowledgement_is_lost_happened_once() {
    let (store, script, _) = scripted();
    let (mut session, claimed) = owner(&store).await;
    script.plan("append", Stage::Acknowledgement, Fault::Lose);
    let append = opening(claimed.lease, 1, 0);
    assert_unavailable(session.append(&append).await);
    assert_eq!(history_len(&store, 0).await, 1);

    session.append(&append).await.expect("it is recognised");
    assert_eq!(history_len(&store, 0).await, 1);
}

#[tokio::test]
async fn append_that_is_delivered_twice_is_applied_once() {
    let (store, script, _) = scripted();
    let (mut session, claimed) = owner(&store).await;
    script.plan("append", Stage::Request, Fault::Repeat);
    session.append(&opening(claimed.lease, 1, 0)).await.expect("the first answer counts");
    assert_eq!(history_len(&store, 0).await, 1);
}

#[tokio::test]
async fn late_duplicates_of_what_was_acknowledged_change_nothing() {
    // Given an owner whose every request is duplicated
    let (store, script, _) = scripted();
    script.duplicates.store(true, Ordering::Relaxed);
    let (mut session, claimed) = owner(&store).await;
    store.submit(&[start(1)]).await.unwrap();
    session.append(&opening(claimed.lease, 1, 0)).await.unwrap();
    session.release(&Release { lease: claimed.lease, at_fault: None }).await.unwrap();

    // When all duplicates arrive after the next owner has claimed
    script.duplicates.store(false, Ordering::Relaxed);
    let mut next = store.session().await.unwrap();
    let taken = next.claim(&claim(Duration::from_secs(60))).await.unwrap();
    let before = (history_len(&store, 0).await, inbox(&mut *next).await.len());
    let mut duplicates = 0;
    while store.deliver_lingering() {
        duplicates += 1;
    }

    // Then nothing is doubled, and the next owner keeps its shards
    assert_eq!(duplicates, 5, "the queue, the claim, the start, the append and the release");
    assert_eq!((history_len(&store, 0).await, inbox(&mut *next).await.len()), before);
    let still =
        next.claim(&Claim { lease: Some(taken.lease), ..claim(Duration::from_secs(60)) }).await.unwrap();
    assert_eq!(still.shards, taken.shards);
}

#[tokio::test]
async fn fault_point_of_an_answer_has_its_size_in_bytes() {
    let (store, script, _) = scripted();
    let (mut session, _) = owner(&store).await;
    store.submit(&[start(1)]).await.unwrap();
    let messages = inbox(&mut *session).await;
    assert_eq!(script.answer_bytes.lock().unwrap().last(), Some(&messages[0].body.len()));
    assert!(!messages[0].body.is_empty());
}

#[tokio::test]
async fn delayed_append_happens_when_the_delay_is_over() {
    for (stage, during) in [(Stage::Request, 0), (Stage::Commit, 0), (Stage::Acknowledgement, 1)] {
        let (store, script, _) = scripted();
        let (mut session, claimed) = owner(&store).await;
        let (end, fault) = delay();
        script.plan("append", stage, fault);
        let append = opening(claimed.lease, 1, 0);
        let mut call = session.append(&append);
        assert!((&mut call).now_or_never().is_none());
        assert_eq!(history_len(&store, 0).await, during);
        end.send(()).unwrap();
        call.await.unwrap();
        assert_eq!(history_len(&store, 0).await, 1);
    }
}

#[tokio::test]
async fn append_delayed_until_after_a_takeover_is_fenced() {
    let (store, script, clock) = scripted();
    store.queue("default", common::SHARDS).await.unwrap();
    let mut session = store.session().await.unwrap();
    let claimed = session.claim(&claim(Duration::from_secs(1))).await.unwrap();
    let (end, fault) = delay();
    script.plan("append", Stage::Commit, fault);
    let append = opening(claimed.lease, 1, 0);
    let mut call = session.append(&append);
    assert!((&mut call).now_or_never().is_none());

    clock.advance(Duration::from_secs(2));
    let _next = owner(&store).await;
    end.send(()).unwrap();
    assert_fenced(call.await);
    assert_eq!(history_len(&store, 0).await, 0);
}

#[tokio::test]
async fn lingering_append_that_arrives_after_its_repetition_changes_nothing() {
    let (store, script, _) = scripted();
    let (mut session, claimed) = owner(&store).await;
    script.plan("append", Stage::Request, Fault::Linger);
    let append = opening(claimed.lease, 1, 0);
    assert_unavailable(session.append(&append).await);
    assert_eq!(history_len(&store, 0).await, 0);
    session.append(&append).await.unwrap();

    assert!(store.deliver_lingering());
    assert_eq!(history_len(&store, 0).await, 1);
    assert!(!store.deliver_lingering(), "it arrives once");
}

#[tokio::test]
async fn lingering_append_is_fenced_after_a_release() {
    let (store, script, _) = scripted();
    let (mut session, claimed) = owner(&store).await;
    script.plan("append", Stage::Request, Fault::Linger);
    assert_unavailable(session.append(&opening(claimed.lease, 1, 0)).await);
    session.release(&Release { lease: claimed.lease, at_fault: None }).await.unwrap();

    assert!(store.deliver_lingering());
    assert_eq!(history_len(&store, 0).await, 0);
}

#[tokio::test]
async fn refused_append_did_not_happen_and_its_number_is_free() {
    let (store, script, _) = scripted();
    let (mut session, claimed) = owner(&store).await;
    script.plan("append", Stage::Request, Fault::Refuse(StoreError::limit_exceeded("too much")));
    let answer = session.append(&opening(claimed.lease, 1, 0)).await;
    assert!(matches!(answer, Err(StoreError::LimitExceeded { .. })));
    session.append(&opening(claimed.lease, 1, 1)).await.expect("the number was not used");
}

#[tokio::test]
async fn submit_whose_request_or_commit_is_lost_did_not_happen() {
    for stage in [Stage::Request, Stage::Commit] {
        let (store, script, _) = scripted();
        let (mut session, _) = owner(&store).await;
        script.plan("submit", stage, Fault::Lose);
        assert_unavailable(store.submit(&[keyed(0, "k")]).await);
        assert_eq!(inbox(&mut *session).await, []);
        assert_eq!(store.query().describe(run(0)).await.unwrap(), None);
        assert_eq!(store.submit(&[keyed(1, "k")]).await.unwrap(), [Submitted::Accepted], "the key is free");
    }
}

#[tokio::test]
async fn submit_whose_acknowledgement_is_lost_is_recognised() {
    let (store, script, _) = scripted();
    let (mut session, _) = owner(&store).await;
    script.plan("submit", Stage::Acknowledgement, Fault::Lose);
    assert_unavailable(store.submit(&[start(0), signal(0, 9)]).await);
    assert_eq!(inbox(&mut *session).await.len(), 2);
    assert_eq!(store.submit(&[start(0), signal(0, 9)]).await.unwrap(), [Submitted::Accepted; 2]);
    assert_eq!(inbox(&mut *session).await.len(), 2);
}

#[tokio::test]
async fn submit_that_is_delivered_twice_inserts_each_message_once() {
    let (store, script, _) = scripted();
    let (mut session, _) = owner(&store).await;
    script.plan("submit", Stage::Request, Fault::Repeat);
    assert_eq!(store.submit(&[start(0), signal(0, 9)]).await.unwrap(), [Submitted::Accepted; 2]);
    assert_eq!(inbox(&mut *session).await.len(), 2);
}

#[tokio::test]
async fn submit_whose_commit_is_delayed_has_an_early_number() {
    let (store, script, _) = scripted();
    let (mut session, _) = owner(&store).await;
    let (end, fault) = delay();
    script.plan("submit", Stage::Commit, fault);
    let slow = [start(0)];
    let mut call = store.submit(&slow);
    assert!((&mut call).now_or_never().is_none());
    store.submit(&[start(1)]).await.unwrap();
    assert_eq!(inbox(&mut *session).await.len(), 1);

    end.send(()).unwrap();
    call.await.unwrap();
    let order: Vec<_> = inbox(&mut *session).await.iter().map(|message| message.run).collect();
    assert_eq!(order, [run(0), run(1)]);
}

#[tokio::test]
async fn submit_that_is_dropped_before_its_commit_never_happened() {
    let (store, script, _) = scripted();
    let (mut session, _) = owner(&store).await;
    let (_end, fault) = delay();
    script.plan("submit", Stage::Commit, fault);
    let slow = [keyed(0, "k")];
    assert!(store.submit(&slow).now_or_never().is_none());
    assert_eq!(store.submit(&[keyed(1, "k")]).await.unwrap(), [Submitted::Accepted], "the key is free");
    assert_eq!(inbox(&mut *session).await.len(), 1);
}

#[tokio::test]
async fn lingering_submit_takes_effect_late() {
    let (store, script, _) = scripted();
    let (mut session, _) = owner(&store).await;
    script.plan("submit", Stage::Request, Fault::Linger);
    assert_unavailable(store.submit(&[start(0)]).await);
    assert_eq!(inbox(&mut *session).await, []);
    assert!(store.deliver_lingering());
    assert_eq!(inbox(&mut *session).await.len(), 1);
}

#[tokio::test]
async fn claim_whose_acknowledgement_is_lost_holds_its_shards_until_it_expires() {
    let (store, script, clock) = scripted();
    store.queue("default", common::SHARDS).await.unwrap();
    let mut session = store.session().await.unwrap();
    script.plan("claim", Stage::Acknowledgement, Fault::Lose);
    assert_unavailable(session.claim(&claim(Duration::from_secs(1))).await);
    assert_eq!(session.claim(&claim(Duration::from_secs(1))).await.unwrap().shards, []);
    clock.advance(Duration::from_secs(2));
    let claimed = session.claim(&claim(Duration::from_secs(1))).await.unwrap();
    assert_eq!(claimed.shards.len(), usize::from(common::SHARDS));
}

#[tokio::test]
async fn release_whose_acknowledgement_is_lost_happened() {
    let (store, script, _) = scripted();
    let (mut session, claimed) = owner(&store).await;
    script.plan("release", Stage::Acknowledgement, Fault::Lose);
    assert_unavailable(session.release(&Release { lease: claimed.lease, at_fault: None }).await);
    assert_fenced(session.append(&opening(claimed.lease, 1, 0)).await);
}

#[tokio::test]
async fn read_whose_answer_is_lost_can_be_repeated() {
    let (store, script, _) = scripted();
    let (mut session, _) = owner(&store).await;
    store.submit(&[start(0)]).await.unwrap();
    script.plan("read_inbox", Stage::Acknowledgement, Fault::Lose);
    let read = common::inbox_read();
    assert_unavailable(session.read_inbox(&read).await);
    assert_eq!(session.read_inbox(&read).await.unwrap().messages.len(), 1);
}

#[tokio::test]
async fn sent_message_is_hinted_after_the_commit() {
    // Given an append that sends a message to a run of another shard
    let (store, script, _) = scripted();
    let (mut session, claimed) = owner(&store).await;
    let mut hints = store.hints(HintKind::Mail);
    let receiver = run(1);
    let mut append = opening(claimed.lease, 1, 0);
    append.sent.push(SentMessage {
        message: MessageId::from_u128(1),
        run: receiver,
        key: None,
        otherwise: None,
        body: Bytes::from_static(b"hello"),
        opens: None,
    });
    common::seal(&mut append);

    // When the append is lost, there is no hint; when it is applied, there is one for the receiver's shard
    script.plan("append", Stage::Commit, Fault::Lose);
    assert_unavailable(session.append(&append).await);
    assert!(hints.try_recv().is_err());
    session.append(&append).await.unwrap();
    assert_eq!(hints.try_recv().unwrap(), Hint::Mail(receiver.shard()));
}

#[tokio::test]
async fn hints_can_be_lost_and_repeated() {
    let (store, script, _) = scripted();
    owner(&store).await;
    let mut hints = store.hints(HintKind::Mail);
    script.hints.lock().unwrap().extend([0, 2]);
    store.submit(&[start(0)]).await.unwrap();
    store.submit(&[start(1)]).await.unwrap();
    let mail = Hint::Mail(run(1).shard());
    assert_eq!((hints.try_recv().unwrap(), hints.try_recv().unwrap()), (mail, mail));
    assert!(hints.try_recv().is_err());
}

#[tokio::test]
async fn faults_can_be_aimed_at_one_session() {
    #[derive(Debug)]
    struct CutOff(SessionNo);
    impl Faults for CutOff {
        fn at(&self, point: &FaultPoint<'_>) -> Fault {
            if point.session == Some(self.0) { Fault::Lose } else { Fault::Proceed }
        }
    }
    let store = MemoryStore::with_faults(Arc::new(ManualClock::default()), Arc::new(CutOff(SessionNo(2))));
    let (mut session, claimed) = owner(&store).await;
    assert_unavailable(store.session().await.map(|_| ()));
    session.append(&opening(claimed.lease, 1, 0)).await.unwrap();
}
