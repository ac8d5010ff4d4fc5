//! Queues, claims, heartbeats, takeovers and releases: at any time one owner at most.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::{AppendNo, LeaseId, Position};
use pgworkflows_core::store::{Claim, LeaseHeartbeat, Release, StoreError};

use super::Harness;
use super::fixture::{Ground, LONG, QUEUE, SHARDS, WORKER, Writer, assert_fenced, busy, claim};

pub async fn queue_keeps_the_number_of_shards_that_it_was_made_with(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let again = ground.store.queue(QUEUE, 64).await.unwrap();
    assert_eq!((again.first_shard, again.shard_count), (ground.queue.first_shard, SHARDS));
}

pub async fn queues_share_no_shard(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let other = ground.store.queue("other", 8).await.unwrap();
    assert_eq!(other.shard_count, 8);
    let (first, second) = (ground.queue.first_shard.get(), other.first_shard.get());
    assert!(first + SHARDS <= second || second + 8 <= first);
}

pub async fn queue_without_shards_is_refused(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let answer = ground.store.queue("none", 0).await;
    assert!(matches!(answer, Err(StoreError::Misconfigured { .. })), "{answer:?}");
}

pub async fn queue_beyond_all_shards_is_refused(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let answer = ground.store.queue("vast", 4096).await;
    assert!(matches!(answer, Err(StoreError::Misconfigured { .. })), "{answer:?}");
}

pub async fn claim_from_an_unknown_queue_is_refused(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut session = ground.store.session().await.unwrap();
    let claim = Claim { queue: "unknown".to_owned(), ..claim(None, SHARDS, LONG) };
    let answer = session.claim(&claim).await;
    assert!(matches!(answer, Err(StoreError::Misconfigured { .. })), "{answer:?}");
    assert_eq!(ground.claim(SHARDS, LONG).await.shards, ground.shards());
}

pub async fn claim_takes_free_shards_ascending_from_position_one(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let writer = ground.claim(100, LONG).await;
    assert_eq!(writer.shards, ground.shards());
    assert!(writer.positions.values().all(|position| *position == Position::FIRST));
    assert_eq!(writer.deaths, [0; SHARDS as usize]);
}

pub async fn claim_takes_shards_of_its_own_queue_only(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    ground.store.queue("other", 8).await.unwrap();
    let writer = ground.claim(100, LONG).await;
    assert_eq!(writer.shards, ground.shards());
}

pub async fn claim_limit_includes_the_shards_owned_already(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(1, LONG).await;
    assert_eq!(writer.shards.len(), 1);
    let more = writer.session.claim(&claim(Some(writer.lease), 3, LONG)).await.unwrap();
    assert_eq!((more.lease, more.shards.len()), (writer.lease, 3));
    let no_more = writer.session.claim(&claim(Some(writer.lease), 2, LONG)).await.unwrap();
    assert_eq!(no_more.shards, more.shards);
}

pub async fn answer_to_a_claim_that_was_lost_is_given_again(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(2, LONG).await;
    // The caller knows by the heartbeat that its lease owns more than it serves.
    let answer = writer.heartbeat(None).await;
    assert_eq!(answer.leases[0].shards, 2);
    let again = writer.session.claim(&claim(Some(writer.lease), 2, LONG)).await.unwrap();
    let shards: Vec<_> = again.shards.iter().map(|shard| shard.shard).collect();
    assert_eq!(shards, writer.shards);
}

pub async fn claim_renews_the_lease_that_it_is_made_under(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.mortal_writer().await;
    writer.session.claim(&claim(Some(writer.lease), SHARDS, LONG)).await.unwrap();
    harness.let_lease_expire().await;
    assert_eq!(ground.claim(SHARDS, LONG).await.shards, []);
}

pub async fn shards_have_one_owner_at_most(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let one = ground.claim(3, LONG).await;
    let other = ground.claim(3, LONG).await;
    assert_ne!(one.lease, other.lease);
    assert_eq!((one.shards.len(), other.shards.len()), (3, 1));
    assert!(!one.shards.contains(&other.shards[0]));
}

pub async fn claim_of_nothing_is_an_answer(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let _owner = ground.writer().await;
    let mut idle = ground.claim(1, LONG).await;
    assert_eq!(idle.shards, []);
    assert!(idle.heartbeat(Some(LONG)).await.leases[0].held);
}

pub async fn takeover_does_not_happen_before_the_ttl(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.claim(SHARDS, LONG).await;
    harness.let_lease_expire().await;
    let other = ground.claim(SHARDS, LONG).await;
    assert_eq!(other.shards, []);
    assert!(owner.heartbeat(None).await.leases[0].held);
}

pub async fn takeover_happens_after_the_ttl(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.mortal_writer().await;
    harness.let_lease_expire().await;
    let other = ground.writer().await;
    assert_ne!(owner.lease, other.lease);
    assert!(!owner.heartbeat(None).await.leases[0].held);
}

pub async fn takeover_fences_the_whole_lease_even_if_only_one_shard_is_taken(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut late = ground.mortal_writer().await;
    harness.let_lease_expire().await;
    ground.claim(1, LONG).await;

    let run = ground.run(3);
    let append = late.draft().open(run, busy()).event(run).seal();
    assert_fenced(late.append(&append).await);
}

pub async fn renewed_lease_is_kept(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.mortal_writer().await;
    assert!(owner.heartbeat(Some(LONG)).await.leases[0].held);
    harness.let_lease_expire().await;
    assert_eq!(ground.claim(SHARDS, LONG).await.shards, []);
}

pub async fn heartbeat_that_renews_nothing_keeps_no_lease(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.mortal_writer().await;
    assert!(owner.heartbeat(None).await.leases[0].held);
    harness.let_lease_expire().await;
    ground.writer().await;
    assert!(!owner.heartbeat(None).await.leases[0].held);
}

pub async fn expired_lease_that_nobody_fenced_can_be_renewed(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.mortal_writer().await;
    harness.let_lease_expire().await;
    assert!(owner.heartbeat(Some(LONG)).await.leases[0].held);
    assert_eq!(ground.claim(SHARDS, LONG).await.shards, []);
}

pub async fn fenced_lease_cannot_be_renewed(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.mortal_writer().await;
    harness.let_lease_expire().await;
    let mut other = ground.writer().await;
    assert!(!owner.heartbeat(Some(LONG)).await.leases[0].held);
    assert!(other.heartbeat(None).await.leases[0].held, "the renewal took nothing back");
}

pub async fn heartbeat_of_another_fences_whoever_has_run_out_of_time_with_shards_or_without(
    harness: &dyn Harness,
) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.mortal_writer().await;
    let mut standby = ground.claim(SHARDS, harness.lease_ttl()).await;
    let mut other = ground.claim(0, LONG).await;
    harness.let_lease_expire().await;
    assert_eq!(other.heartbeat(Some(LONG)).await.claimable, SHARDS);
    assert!(!owner.heartbeat(Some(LONG)).await.leases[0].held);
    assert!(!standby.heartbeat(Some(LONG)).await.leases[0].held);
}

pub async fn owner_that_a_heartbeat_fenced_died_once_and_is_named(harness: &dyn Harness) {
    // Given an owner whose lease ran out, and heartbeats of another that fenced it
    let ground = Ground::new(harness).await;
    let mut late = ground.store.session().await.unwrap();
    let its = Claim { worker: "late".to_owned(), ..claim(None, SHARDS, harness.lease_ttl()) };
    let lease = late.claim(&its).await.unwrap().lease;
    let mut other = ground.claim(0, LONG).await;
    harness.let_lease_expire().await;
    for _ in 0..2 {
        assert_eq!(other.heartbeat(Some(LONG)).await.claimable, SHARDS);
    }

    // When it lets go, too late
    late.release(&Release { lease, at_fault: None }).await.unwrap();

    // Then whoever takes a shard over learns of one death, and whose it was
    for limit in [1, SHARDS] {
        let claimed = other.session.claim(&claim(Some(other.lease), limit, LONG)).await.unwrap();
        assert_eq!(claimed.shards.len(), usize::from(limit));
        for shard in claimed.shards {
            assert_eq!((shard.deaths, shard.former.as_deref()), (1, Some("late")));
        }
    }
}

pub async fn lease_whose_last_append_is_lost_is_not_held(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.writer().await;
    write_two(&ground, &mut owner).await;
    write_two(&ground, &mut owner).await;
    for (committed, held) in [(0, true), (1, true), (2, true), (3, false)] {
        // A store that was put back to the state before append 3 is one that has never seen it.
        let heartbeat = LeaseHeartbeat { committed: AppendNo::new(committed), ..owner.lease_heartbeat() };
        assert_eq!(owner.look(heartbeat).await.held, held, "append {committed} of 2");
    }
}

pub async fn fenced_lease_cannot_claim(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.mortal_writer().await;
    harness.let_lease_expire().await;
    ground.claim(1, LONG).await;
    assert_fenced(owner.session.claim(&claim(Some(owner.lease), SHARDS, LONG)).await);
    assert_eq!(ground.claim(SHARDS, LONG).await.shards.len(), 3, "the refused claim took nothing");
}

pub async fn unknown_lease_cannot_claim(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut session = ground.store.session().await.unwrap();
    assert_fenced(session.claim(&claim(Some(LeaseId::new(1 << 40)), SHARDS, LONG)).await);
}

pub async fn unknown_lease_is_not_held(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    writer.lease = LeaseId::new(1 << 40);
    assert!(!writer.heartbeat(Some(LONG)).await.leases[0].held);
}

pub async fn release_hands_over_at_once(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.writer().await;
    owner.release().await;
    assert_eq!(ground.claim(SHARDS, LONG).await.shards, ground.shards());
}

pub async fn released_lease_is_fenced(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.writer().await;
    owner.release().await;

    let run = ground.run(0);
    let append = owner.draft().open(run, busy()).event(run).seal();
    assert_fenced(owner.append(&append).await);
    assert!(!owner.heartbeat(Some(LONG)).await.leases[0].held);
    assert_fenced(owner.session.claim(&claim(Some(owner.lease), SHARDS, LONG)).await);
}

pub async fn release_of_a_lease_that_is_gone_does_nothing(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.writer().await;
    let unknown = Release { lease: LeaseId::new(1 << 40), at_fault: None };
    owner.session.release(&unknown).await.unwrap();
    owner.release().await;
    let mut next = ground.writer().await;
    owner.release().await;
    assert!(next.heartbeat(None).await.leases[0].held);
    assert_eq!(ground.claim(SHARDS, LONG).await.shards, []);
}

pub async fn deaths_count_owners_that_ended_without_a_release(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    for deaths in 0..3 {
        assert_eq!(ground.mortal_writer().await.deaths, [deaths; SHARDS as usize]);
        harness.let_lease_expire().await;
    }
}

pub async fn neither_a_release_nor_a_renewal_takes_a_death_away(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    ground.mortal_writer().await;
    harness.let_lease_expire().await;
    let mut owner = ground.mortal_writer().await;
    harness.let_lease_expire().await;
    assert!(owner.heartbeat(Some(LONG)).await.leases[0].held);
    owner.release().await;
    assert_eq!(ground.writer().await.deaths, [1; SHARDS as usize]);
}

pub async fn owner_that_served_long_enough_pays_deaths_off(harness: &dyn Harness) {
    // Given shards whose owners died twice
    let ground = Ground::new(harness).await;
    for _ in 0..2 {
        ground.mortal_writer().await;
        harness.let_lease_expire().await;
    }
    let mut owner = ground.writer().await;
    assert_eq!(owner.deaths, [2; SHARDS as usize]);

    // When an owner wants fewer to count, and more afterwards
    for deaths_max in [1, 5] {
        owner.look(LeaseHeartbeat { deaths_max, ..owner.lease_heartbeat() }).await;
    }

    // Then so many count as the least that it asked for
    owner.release().await;
    assert_eq!(ground.writer().await.deaths, [1; SHARDS as usize]);
}

pub async fn owner_that_lost_its_lease_pays_nothing_off(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut late = ground.mortal_writer().await;
    harness.let_lease_expire().await;
    let mut owner = ground.writer().await;
    assert!(!late.look(LeaseHeartbeat { deaths_max: 0, ..late.lease_heartbeat() }).await.held);
    owner.release().await;
    assert_eq!(ground.writer().await.deaths, [1; SHARDS as usize]);
}

pub async fn owner_learns_whose_lease_ran_out_before_its_own(harness: &dyn Harness) {
    // Given a shard that was free, and others that a lease ran out on
    let ground = Ground::new(harness).await;
    assert_eq!(ground.claim(SHARDS - 1, harness.lease_ttl()).await.formers, [const { None }; 3]);
    harness.let_lease_expire().await;

    // When they are claimed
    let mut owner = ground.writer().await;

    // Then their owner learns from whom they came, as often as it asks
    let dead = Some(WORKER.to_owned());
    assert_eq!(owner.formers, [dead.clone(), dead.clone(), dead.clone(), None]);
    let again = owner.session.claim(&claim(Some(owner.lease), SHARDS, LONG)).await.unwrap();
    let formers: Vec<_> = again.shards.into_iter().map(|shard| shard.former).collect();
    assert_eq!(formers, owner.formers);

    // And whoever gets them from a release learns of nobody
    owner.release().await;
    assert_eq!(ground.writer().await.formers, [const { None }; SHARDS as usize]);
}

async fn write_two(ground: &Ground<'_>, writer: &mut Writer) {
    let run = ground.run(0);
    writer.write(writer.draft().open(run, busy()).event(run).event(run)).await;
}

pub async fn positions_go_on_after_a_takeover(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.mortal_writer().await;
    write_two(&ground, &mut owner).await;
    harness.let_lease_expire().await;
    let mut next = ground.writer().await;
    assert_eq!(next.positions[&ground.shard(0)], Position::new(3));
    assert_eq!(next.positions[&ground.shard(1)], Position::FIRST);
    write_two(&ground, &mut next).await;
}

pub async fn positions_go_on_after_a_release(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.writer().await;
    write_two(&ground, &mut owner).await;
    owner.release().await;
    assert_eq!(ground.writer().await.positions[&ground.shard(0)], Position::new(3));
}

pub async fn new_lease_begins_its_appends_anew(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut owner = ground.writer().await;
    for _ in 0..5 {
        write_two(&ground, &mut owner).await;
    }
    owner.release().await;
    let mut next = ground.writer().await;
    write_two(&ground, &mut next).await;
}

pub async fn heartbeat_counts_what_could_be_claimed(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(1, LONG).await;
    assert_eq!(writer.heartbeat(None).await.claimable, 3);
    let _mortal = ground.claim(2, harness.lease_ttl()).await;
    assert_eq!(writer.heartbeat(None).await.claimable, 1);
    harness.let_lease_expire().await;
    assert_eq!(writer.heartbeat(None).await.claimable, 3);
}

pub async fn one_heartbeat_answers_for_each_lease_in_the_order_asked(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut one = ground.claim(2, LONG).await;
    let mut other = ground.claim(2, LONG).await;
    other.release().await;
    let leases = vec![other.lease_heartbeat(), one.lease_heartbeat()];
    let heartbeat = pgworkflows_core::store::Heartbeat { queue: QUEUE.to_owned(), leases };
    let answer = one.session.heartbeat(&heartbeat).await.unwrap();
    let held: Vec<_> = answer.leases.iter().map(|lease| (lease.lease, lease.held)).collect();
    assert_eq!(held, [(other.lease, false), (one.lease, true)]);
}
