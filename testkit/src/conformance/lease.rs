//! Queues, claims, heartbeats, takeovers and releases: at any time one owner at most.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::{AppendNo, LeaseId, Position};
use pgworkflows_core::store::{Claim, LeaseHeartbeat, Release, StoreError};

use super::fixture::Fixture;
use super::writer::{LONG, QUEUE, SHARDS, WORKER, Writer, assert_fenced, busy, claim};

pub async fn queue_keeps_its_first_number_of_shards(fixture: &Fixture) {
    let again = fixture.store.queue(QUEUE, 64).await.unwrap();
    assert_eq!((again.first_shard, again.shard_count), (fixture.queue.first_shard, SHARDS));
}

pub async fn queues_share_no_shard(fixture: &Fixture) {
    let other = fixture.store.queue("other", 8).await.unwrap();
    assert_eq!(other.shard_count, 8);
    let (first, second) = (fixture.queue.first_shard.get(), other.first_shard.get());
    assert!(first + SHARDS <= second || second + 8 <= first);
}

pub async fn queue_without_shards_or_beyond_all_shards_is_refused(fixture: &Fixture) {
    for (name, shards) in [("none", 0), ("vast", 4096)] {
        let answer = fixture.store.queue(name, shards).await;
        assert!(matches!(answer, Err(StoreError::Misconfigured { .. })), "{answer:?}");
    }
}

pub async fn claim_from_an_unknown_queue_is_refused(fixture: &Fixture) {
    let mut session = fixture.store.session().await.unwrap();
    let claim = Claim { queue: "unknown".to_owned(), ..claim(None, SHARDS, LONG) };
    let answer = session.claim(&claim).await;
    assert!(matches!(answer, Err(StoreError::Misconfigured { .. })), "{answer:?}");
    assert_eq!(fixture.claim(SHARDS, LONG).await.shards, fixture.shards());
}

pub async fn claim_takes_the_free_shards_of_its_queue_ascending_from_position_one(fixture: &Fixture) {
    fixture.store.queue("other", 8).await.unwrap();
    let writer = fixture.claim(100, LONG).await;
    assert_eq!(writer.shards, fixture.shards());
    assert!(writer.positions.values().all(|position| *position == Position::FIRST));
    assert_eq!(writer.deaths, [0; SHARDS as usize]);
}

pub async fn claim_limit_includes_the_shards_owned_already(fixture: &Fixture) {
    let mut writer = fixture.claim(1, LONG).await;
    assert_eq!(writer.shards.len(), 1);
    let more = writer.claim_again(3).await.unwrap();
    assert_eq!((more.lease, more.shards.len()), (writer.lease, 3));
    let no_more = writer.claim_again(2).await.unwrap();
    assert_eq!(no_more.shards, more.shards);
}

pub async fn answer_to_a_claim_that_was_lost_is_given_again(fixture: &Fixture) {
    let mut writer = fixture.claim(2, LONG).await;
    // The heartbeat tells the caller that its lease owns more shards than it serves.
    let answer = writer.heartbeat(None).await;
    assert_eq!(answer.leases[0].shards, 2);
    let again = writer.claim_again(2).await.unwrap();
    let shards: Vec<_> = again.shards.iter().map(|shard| shard.shard).collect();
    assert_eq!(shards, writer.shards);
}

pub async fn claim_renews_the_lease_that_it_is_made_under(fixture: &Fixture) {
    let mut writer = fixture.expiring_writer().await;
    writer.claim_again(SHARDS).await.unwrap();
    fixture.harness.let_lease_expire().await;
    assert_eq!(fixture.claim(SHARDS, LONG).await.shards, []);
}

pub async fn shards_have_one_owner_at_most(fixture: &Fixture) {
    let one = fixture.claim(3, LONG).await;
    let other = fixture.claim(3, LONG).await;
    assert_ne!(one.lease, other.lease);
    assert_eq!((one.shards.len(), other.shards.len()), (3, 1));
    assert!(!one.shards.contains(&other.shards[0]));
}

pub async fn claim_of_nothing_is_an_answer(fixture: &Fixture) {
    let _owner = fixture.writer().await;
    let mut idle = fixture.claim(1, LONG).await;
    assert_eq!(idle.shards, []);
    assert!(idle.renews_lease().await);
}

pub async fn takeover_does_not_happen_before_the_ttl(fixture: &Fixture) {
    let mut owner = fixture.claim(SHARDS, LONG).await;
    fixture.harness.let_lease_expire().await;
    let other = fixture.claim(SHARDS, LONG).await;
    assert_eq!(other.shards, []);
    assert!(owner.holds_lease().await);
}

pub async fn takeover_happens_after_the_ttl_with_the_next_positions(fixture: &Fixture) {
    let mut owner = fixture.expiring_writer().await;
    write_three(fixture, &mut owner).await;
    fixture.harness.let_lease_expire().await;
    let mut next = fixture.writer().await;
    assert_ne!(owner.lease, next.lease);
    assert!(!owner.holds_lease().await);
    assert_eq!(next.positions[&fixture.shard(0)], Position::new(4));
    assert_eq!(next.positions[&fixture.shard(1)], Position::FIRST);
    write_three(fixture, &mut next).await;
}

pub async fn takeover_fences_the_whole_lease_even_if_only_one_shard_is_taken(fixture: &Fixture) {
    let mut late = fixture.expired_writer().await;
    fixture.claim(1, LONG).await;

    let run = fixture.run(3);
    late.expect_fenced(late.draft().open(run, busy()).event(run)).await;
}

pub async fn renewed_lease_is_kept(fixture: &Fixture) {
    let mut owner = fixture.expiring_writer().await;
    assert!(owner.renews_lease().await);
    fixture.harness.let_lease_expire().await;
    assert_eq!(fixture.claim(SHARDS, LONG).await.shards, []);
}

pub async fn heartbeat_without_renewal_keeps_no_lease_and_a_fenced_lease_cannot_be_renewed(
    fixture: &Fixture,
) {
    let mut owner = fixture.expiring_writer().await;
    assert!(owner.holds_lease().await);
    fixture.harness.let_lease_expire().await;
    let mut other = fixture.writer().await;
    assert!(!owner.holds_lease().await);
    assert!(!owner.renews_lease().await);
    assert!(other.holds_lease().await, "the renewal took nothing back");
}

pub async fn expired_lease_that_was_not_fenced_can_be_renewed(fixture: &Fixture) {
    let mut owner = fixture.expired_writer().await;
    assert!(owner.renews_lease().await);
    assert_eq!(fixture.claim(SHARDS, LONG).await.shards, []);
}

pub async fn heartbeat_of_another_fences_expired_leases_with_shards_or_without(fixture: &Fixture) {
    let mut owner = fixture.expiring_writer().await;
    let mut standby = fixture.claim(SHARDS, fixture.harness.lease_ttl()).await;
    let mut other = fixture.claim(0, LONG).await;
    fixture.harness.let_lease_expire().await;
    assert_eq!(other.heartbeat(Some(LONG)).await.leases[0].standing.claimable, SHARDS);
    assert!(!owner.renews_lease().await);
    assert!(!standby.renews_lease().await);
}

pub async fn owner_that_a_heartbeat_fenced_died_once_and_is_named(fixture: &Fixture) {
    // Given an owner whose lease expired, and heartbeats of another that fenced it
    let mut late = fixture.store.session().await.unwrap();
    let claim = Claim { worker: "late".to_owned(), ..claim(None, SHARDS, fixture.harness.lease_ttl()) };
    let lease = late.claim(&claim).await.unwrap().lease;
    let mut other = fixture.claim(0, LONG).await;
    fixture.harness.let_lease_expire().await;
    for _ in 0..2 {
        assert_eq!(other.heartbeat(Some(LONG)).await.leases[0].standing.claimable, SHARDS);
    }

    // When it releases the lease too late
    late.release(&Release { lease, at_fault: None }).await.unwrap();

    // Then the next owner of a shard learns of one death, and who died
    for limit in [1, SHARDS] {
        let claimed = other.claim_again(limit).await.unwrap();
        assert_eq!(claimed.shards.len(), usize::from(limit));
        for shard in claimed.shards {
            assert_eq!((shard.deaths, shard.former.as_deref()), (1, Some("late")));
        }
    }
}

pub async fn lease_whose_last_append_is_lost_is_not_held(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    write_three(fixture, &mut owner).await;
    write_three(fixture, &mut owner).await;
    for (committed, held) in [(0, true), (1, true), (2, true), (3, false)] {
        // A store that was restored to the state before append 3 does not know that append.
        let heartbeat = LeaseHeartbeat { committed: AppendNo::new(committed), ..owner.lease_heartbeat() };
        assert_eq!(owner.look(heartbeat).await.held, held, "append {committed} of 2");
    }
}

pub async fn fenced_lease_cannot_claim(fixture: &Fixture) {
    let mut owner = fixture.expired_writer().await;
    let mut next = fixture.claim(1, LONG).await;
    assert_fenced(owner.claim_again(SHARDS).await);
    let all = next.claim_again(SHARDS).await.unwrap();
    assert_eq!(all.shards.len(), usize::from(SHARDS), "the refused claim took nothing");
}

pub async fn unknown_lease_is_not_held_and_cannot_claim(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    writer.lease = LeaseId::new(1 << 40);
    assert!(!writer.renews_lease().await);
    assert_fenced(writer.claim_again(SHARDS).await);
}

pub async fn release_hands_over_at_once_with_the_next_positions(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    write_three(fixture, &mut owner).await;
    owner.release().await;
    let next = fixture.claim(SHARDS, LONG).await;
    assert_eq!((next.positions[&fixture.shard(0)], &next.shards), (Position::new(4), &fixture.shards()));
}

pub async fn released_lease_is_fenced(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    owner.release().await;

    let run = fixture.run(0);
    owner.expect_fenced(owner.draft().open(run, busy()).event(run)).await;
    assert!(!owner.renews_lease().await);
    assert_fenced(owner.claim_again(SHARDS).await);
}

pub async fn release_of_a_lease_that_is_over_does_nothing(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    let unknown = Release { lease: LeaseId::new(1 << 40), at_fault: None };
    owner.session.release(&unknown).await.unwrap();
    owner.release().await;
    let mut next = fixture.writer().await;
    owner.release().await;
    assert!(next.holds_lease().await);
    assert_eq!(fixture.claim(SHARDS, LONG).await.shards, []);
}

pub async fn deaths_count_owners_that_ended_without_a_release(fixture: &Fixture) {
    for deaths in 0..3 {
        assert_eq!(fixture.expired_writer().await.deaths, [deaths; SHARDS as usize]);
    }
}

pub async fn neither_a_release_nor_a_renewal_takes_a_death_away(fixture: &Fixture) {
    fixture.expired_writer().await;
    let mut owner = fixture.expired_writer().await;
    assert!(owner.renews_lease().await);
    owner.release().await;
    assert_eq!(fixture.writer().await.deaths, [1; SHARDS as usize]);
}

pub async fn owner_that_served_long_enough_pays_deaths_off(fixture: &Fixture) {
    // Given shards whose owners died twice
    for _ in 0..2 {
        fixture.expired_writer().await;
    }
    let mut owner = fixture.writer().await;
    assert_eq!(owner.deaths, [2; SHARDS as usize]);

    // When an owner lowers the count, and raises it afterwards
    for deaths_max in [1, 5] {
        owner.look(LeaseHeartbeat { deaths_max, ..owner.lease_heartbeat() }).await;
    }

    // Then the lowest count stands
    owner.release().await;
    assert_eq!(fixture.writer().await.deaths, [1; SHARDS as usize]);
}

pub async fn owner_that_lost_its_lease_pays_nothing_off(fixture: &Fixture) {
    let mut late = fixture.expired_writer().await;
    let mut owner = fixture.writer().await;
    assert!(!late.look(LeaseHeartbeat { deaths_max: 0, ..late.lease_heartbeat() }).await.held);
    owner.release().await;
    assert_eq!(fixture.writer().await.deaths, [1; SHARDS as usize]);
}

pub async fn owner_learns_whose_lease_ran_out_before_its_own(fixture: &Fixture) {
    // Given one free shard, and others whose lease expired
    assert_eq!(fixture.claim(SHARDS - 1, fixture.harness.lease_ttl()).await.formers, [const { None }; 3]);
    fixture.harness.let_lease_expire().await;

    // When they are claimed
    let mut owner = fixture.writer().await;

    // Then their owner learns who lost them, whenever it asks
    let dead = Some(WORKER.to_owned());
    assert_eq!(owner.formers, [dead.clone(), dead.clone(), dead.clone(), None]);
    let again = owner.claim_again(SHARDS).await.unwrap();
    let formers: Vec<_> = again.shards.into_iter().map(|shard| shard.former).collect();
    assert_eq!(formers, owner.formers);

    // And an owner that gets them from a release learns of nobody
    owner.release().await;
    assert_eq!(fixture.writer().await.formers, [const { None }; SHARDS as usize]);
}

/// Writes three events of a run, of which two are in one frame.
async fn write_three(fixture: &Fixture, writer: &mut Writer) {
    let run = fixture.run(0);
    writer.write(writer.draft().open(run, busy()).event(run).frame(run, 2)).await;
}

pub async fn new_lease_counts_its_appends_from_one(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    for _ in 0..5 {
        write_three(fixture, &mut owner).await;
    }
    owner.release().await;
    let mut next = fixture.writer().await;
    write_three(fixture, &mut next).await;
}

pub async fn heartbeat_counts_claimable_shards(fixture: &Fixture) {
    let mut writer = fixture.claim(1, LONG).await;
    assert_eq!(writer.standing().await.claimable, 3);
    let _mortal = fixture.claim(2, fixture.harness.lease_ttl()).await;
    assert_eq!(writer.standing().await.claimable, 1);
    fixture.harness.let_lease_expire().await;
    assert_eq!(writer.standing().await.claimable, 3);
}

pub async fn one_heartbeat_answers_for_each_lease_in_the_order_asked(fixture: &Fixture) {
    let mut one = fixture.claim(2, LONG).await;
    let mut other = fixture.claim(2, LONG).await;
    other.release().await;
    let leases = vec![other.lease_heartbeat(), one.lease_heartbeat()];
    let heartbeat = pgworkflows_core::store::Heartbeat { queue: QUEUE.to_owned(), leases };
    let answer = one.session.heartbeat(&heartbeat).await.unwrap();
    let held: Vec<_> = answer.leases.iter().map(|lease| (lease.lease, lease.held)).collect();
    assert_eq!(held, [(other.lease, false), (one.lease, true)]);
}
