//! Single shards that an append releases: the next owner continues after it, and nothing late can release them again.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::Position;
use pgworkflows_core::store::Release;

use super::fixture::Fixture;
use super::writer::{LONG, SHARDS, busy};

pub async fn released_shard_is_free_at_once_and_continues_after_its_last_append(fixture: &Fixture) {
    // Given an append that writes three events to a shard and releases it
    let mut owner = fixture.writer().await;
    let run = fixture.run(0);
    owner.write(owner.draft().open(run, busy()).frame(run, 3).release(fixture.shard(0))).await;

    // When another claims what is free
    let mut next = fixture.claim(SHARDS, LONG).await;

    // Then it gets that shard alone, and continues after those events
    assert_eq!(next.shards, [fixture.shard(0)]);
    assert_eq!(next.positions[&fixture.shard(0)], Position::new(4));
    next.continues(&owner, run);
    next.write(next.draft().event(run)).await;
    assert_eq!(fixture.history_len(run).await, 4);
}

pub async fn shard_is_released_although_nothing_is_written_to_it(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    owner.write(owner.draft().release(fixture.shard(1)).release(fixture.shard(3))).await;
    let next = fixture.claim(SHARDS, LONG).await;
    assert_eq!(next.shards, [fixture.shard(1), fixture.shard(3)]);
    assert_eq!(next.positions[&fixture.shard(1)], Position::FIRST);
}

pub async fn former_owner_writes_nothing_more_to_a_released_shard_and_keeps_the_others(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    owner.write(owner.draft().release(fixture.shard(0))).await;
    let answer = owner.heartbeat(None).await;
    assert_eq!(
        (answer.leases[0].held, answer.leases[0].shards, answer.leases[0].standing.claimable),
        (true, SHARDS - 1, 1)
    );

    let (gone, kept) = (fixture.run(0), fixture.run(1));
    owner.write(owner.draft().open(kept, busy()).event(kept)).await;
    owner.expect_fenced(owner.draft().open(gone, busy()).event(gone)).await;
}

pub async fn release_in_an_append_counts_no_death_and_names_nobody(fixture: &Fixture) {
    // Given a shard whose owner died, and whose next owner released it
    fixture.expired_writer().await;
    let mut owner = fixture.writer().await;
    assert!(owner.formers[0].is_some());
    owner.write(owner.draft().release(fixture.shard(0))).await;

    // Then its owner after that learns of the one death, and of nobody who just died
    let next = fixture.claim(SHARDS, LONG).await;
    assert_eq!((&next.deaths[..], &next.formers[..]), (&[1][..], &[None][..]));
}

pub async fn repeated_append_does_not_release_a_shard_that_was_claimed_again(fixture: &Fixture) {
    // Given a shard that was released, and claimed again under the same lease
    let mut owner = fixture.writer().await;
    let released = owner.write(owner.draft().release(fixture.shard(2))).await;
    assert_eq!(owner.claim_again(SHARDS).await.unwrap().shards.len(), usize::from(SHARDS));

    // When the append arrives once more
    owner.session.append(&released).await.unwrap();

    // Then nothing happens
    assert_eq!(owner.heartbeat(None).await.leases[0].shards, SHARDS);
    let run = fixture.run(2);
    owner.write(owner.draft().open(run, busy()).event(run)).await;
}

pub async fn append_under_an_earlier_claim_of_a_shard_is_fenced(fixture: &Fixture) {
    // Given a shard that was released, written to by another owner, and claimed again under the same lease
    let mut owner = fixture.writer().await;
    let (run, late, kept) = (fixture.run(2), fixture.run(2), fixture.run(1));
    owner.write(owner.draft().release(fixture.shard(2))).await;
    let earlier = owner.claims.clone();
    let mut other = fixture.claim(SHARDS, LONG).await;
    other.write(other.draft().open(run, busy()).event(run).release(fixture.shard(2))).await;
    owner.claim_again(SHARDS).await.unwrap();
    let later = std::mem::replace(&mut owner.claims, earlier);

    // When a process that knows of none of this writes to the shard, then it is fenced, and its other shards are its own
    owner.expect_fenced(owner.draft().open(late, busy()).event(late)).await;
    owner.write(owner.draft().open(kept, busy()).event(kept)).await;

    // And the claim that took it last may write
    owner.claims = later;
    owner.positions.insert(fixture.shard(2), Position::new(2));
    owner.continues(&other, run);
    owner.write(owner.draft().event(run)).await;
    assert_eq!(fixture.history_len(run).await, 2);
}

pub async fn repeated_append_does_not_release_a_shard_of_another_owner(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    let released = owner.write(owner.draft().release(fixture.shard(2))).await;
    let mut next = fixture.claim(SHARDS, LONG).await;
    owner.session.append(&released).await.unwrap();
    assert_eq!(next.heartbeat(None).await.leases[0].shards, 1);
}

pub async fn append_that_releases_a_foreign_or_a_free_shard_is_fenced_and_writes_nothing(fixture: &Fixture) {
    let mut owner = fixture.claim(2, LONG).await;
    let mut other = fixture.claim(1, LONG).await;
    let run = fixture.run(0);
    for shard in [fixture.shard(2), fixture.shard(3)] {
        owner.expect_fenced(owner.draft().open(run, busy()).event(run).release(shard)).await;
    }
    assert_eq!(fixture.history_len(run).await, 0);
    assert_eq!(other.heartbeat(None).await.leases[0].shards, 1);
}

pub async fn release_at_another_position_is_a_conflict_and_releases_nothing(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    let (run, shard) = (fixture.run(0), fixture.shard(0));
    for position in [1, 2, 4].map(Position::new) {
        let draft = owner.draft().open(run, busy()).frame(run, 2).release(shard);
        owner.expect_conflict(draft.change(|append| append.released[0].next_position = position)).await;
    }
    owner.expect_conflict(owner.draft().release(shard).release(shard)).await;
    assert_eq!(owner.heartbeat(None).await.leases[0].shards, SHARDS);
}

pub async fn other_releases_with_the_same_number_are_fenced(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    let number = owner.number;
    owner.write(owner.draft().release(fixture.shard(0))).await;
    owner.expect_fenced(owner.draft().release(fixture.shard(1)).numbered(number)).await;
    owner.expect_fenced(owner.draft().numbered(number)).await;
    assert_eq!(owner.heartbeat(None).await.leases[0].shards, SHARDS - 1);
}

pub async fn release_of_the_whole_lease_frees_the_shards_that_are_left(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    owner.write(owner.draft().release(fixture.shard(0))).await;
    let mut next = fixture.claim(SHARDS, LONG).await;
    owner.session.release(&Release { lease: owner.lease, at_fault: None }).await.unwrap();
    let all = next.claim_again(SHARDS).await.unwrap();
    assert!(all.shards.iter().all(|shard| shard.deaths == 0 && shard.former.is_none()));
    assert_eq!(all.shards.len(), usize::from(SHARDS));
}
