//! What a heartbeat tells a lease about the others of its queue, by which all of them share its shards.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use std::time::Duration;

use pgworkflows_core::store::{Claim, Heartbeat, HeartbeatAnswer, Standing};

use super::fixture::Fixture;
use super::writer::{LONG, QUEUE, SHARDS, Writer, claim};

/// One heartbeat for these writers.
async fn heartbeat_of(writers: &mut [Writer]) -> HeartbeatAnswer {
    let leases = writers.iter().map(Writer::lease_heartbeat).collect();
    let heartbeat = Heartbeat { queue: QUEUE.to_owned(), leases };
    writers[0].session.heartbeat(&heartbeat).await.expect("the store answers")
}

fn places(answer: &HeartbeatAnswer) -> Vec<u32> {
    answer.leases.iter().map(|lease| lease.standing.place).collect()
}

pub async fn heartbeat_counts_the_live_leases_of_its_queue(fixture: &Fixture) {
    // Given two leases of the queue, one of another queue, one that was released and one that expired
    let mut one = fixture.claim(1, LONG).await;
    let _other = fixture.claim(0, LONG).await;
    fixture.store.queue("other", 2).await.unwrap();
    let mut session = fixture.store.session().await.unwrap();
    let elsewhere = Claim { queue: "other".to_owned(), ..claim(None, 2, LONG) };
    session.claim(&elsewhere).await.unwrap();
    fixture.claim(0, LONG).await.release().await;
    assert_eq!(one.standing().await.members, 2);
    let _expiring = fixture.claim(0, fixture.harness.lease_ttl()).await;
    assert_eq!(one.standing().await.members, 3);

    // When it has expired, it does not count any more
    fixture.harness.let_lease_expire().await;
    assert_eq!(one.standing().await.members, 2);
}

pub async fn lease_that_was_just_renewed_counts_although_it_had_expired(fixture: &Fixture) {
    let mut owner = fixture.expired_writer().await;
    let answer = owner.heartbeat(Some(LONG)).await;
    let Standing { members, place, claimable, .. } = answer.leases[0].standing;
    assert_eq!((members, place, claimable), (1, 0, 0));
}

pub async fn leases_above_the_mean_come_first_and_then_the_oldest(fixture: &Fixture) {
    // Given four shards and three leases, so that the mean is one and one lease gets two
    let mut writers = Vec::new();
    for limit in [1, 0, 1] {
        writers.push(fixture.claim(limit, LONG).await);
    }
    assert_eq!(places(&heartbeat_of(&mut writers).await), [0, 1, 2], "nobody owns more than the mean");

    // When the youngest owns two, it comes first: it need not give one away
    writers[2].claim_again(2).await.unwrap();
    assert_eq!(places(&heartbeat_of(&mut writers).await), [1, 2, 0]);

    // And among those that own more than the mean, the oldest
    writers[0].claim_again(2).await.unwrap();
    assert_eq!(places(&heartbeat_of(&mut writers).await), [0, 2, 1]);
}

pub async fn heartbeat_tells_when_the_next_lease_of_others_expires(fixture: &Fixture) {
    let mut owner = fixture.claim(1, LONG).await;
    assert_eq!(
        owner.heartbeat(None).await.next_expiry,
        None,
        "it is alone, and its own lease does not count"
    );
    let _later = fixture.claim(1, LONG / 2).await;
    let _sooner = fixture.claim(1, LONG / 4).await;
    let left = owner.heartbeat(None).await.next_expiry.expect("there are others");
    assert!(left <= LONG / 4 && left > LONG / 4 - Duration::from_secs(60), "{left:?}");
}

pub async fn new_lease_takes_no_more_than_the_mean(fixture: &Fixture) {
    // Given three leases without shards
    let mut standby = fixture.claim(0, LONG).await;
    let _other = fixture.claim(0, LONG).await;

    // When a third claims all, it gets the mean, rounded up, while one that knows its share gets as many as it asks for
    let third = fixture.claim(SHARDS, LONG).await;
    assert_eq!(third.shards.len(), 2);
    assert_eq!(standby.claim_again(SHARDS).await.unwrap().shards.len(), 2);
}
