//! Queues, claims, heartbeats, takeovers and releases.

use pgworkflows_core::store::{LeaseHeartbeat, OpenState, Store, Suspect, SuspectStage};

use crate::support::*;

fn shards(writer: &Writer) -> Vec<u16> {
    writer.positions.keys().map(|shard| shard.get()).collect()
}

#[tokio::test]
async fn queue_without_a_name_is_refused() {
    let world = World::new().await;
    assert_misconfigured(world.store.queue("", 1).await, &["queue ``", "a name that is not empty"]);
}

#[tokio::test]
async fn queues_created_simultaneously_do_not_overlap() {
    let world = World::new().await;
    let queues = futures::future::join_all(
        (0..8).map(|n| world.store.queue(["a", "b"][n % 2], 7)).collect::<Vec<_>>(),
    )
    .await;
    let mut firsts: Vec<_> = queues.into_iter().map(|queue| queue.unwrap().first_shard.get()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts, [4, 11]);
}

#[tokio::test]
async fn simultaneous_claims_share_all_shards() {
    let world = World::new().await;
    for round in 0..50 {
        let mut writers = futures::future::join_all((0..4).map(|_| world.writer_for(TTL, 1))).await;
        let mut claimed: Vec<u16> = writers.iter().flat_map(shards).collect();
        claimed.sort_unstable();
        assert_eq!(claimed, [0, 1, 2, 3], "in round {round}: some shard stayed free until a heartbeat");
        for writer in &mut writers {
            writer.release().await;
        }
    }
}

#[tokio::test]
async fn lease_of_a_killed_standby_leaves_no_append_row() {
    let world = World::new().await;
    let mut owner = world.writer().await;
    for _ in 0..3 {
        world.writer_for(SHORT_TTL, 4).await;
    }
    assert_eq!(world.count("appends").await, 4);
    tokio::time::sleep(SHORT_TTL).await;
    assert!(heartbeat(&mut owner, Some(TTL)).await.leases[0].held);
    assert_eq!(world.count("appends").await, 1);
    assert_eq!(world.count("leases where not fenced").await, 1);
}

#[tokio::test]
async fn a_heartbeat_does_not_wait_for_an_expired_lease() {
    let world = World::new().await;
    let mut owner = world.writer_for(TTL, 2).await;
    let late = world.writer_for(SHORT_TTL, 2).await;
    tokio::time::sleep(SHORT_TTL).await;
    // An append under the expired lease is in flight.
    let mut append = world.begin().await;
    let lock = sqlx::query("select from pgworkflows.leases where lease = $1 for update");
    lock.bind(late.lease.get().cast_signed()).execute(&mut *append).await.unwrap();
    assert_eq!(heartbeat(&mut owner, Some(TTL)).await.leases[0].standing.claimable, 2);
    assert_eq!(world.count("leases where fenced").await, 0);
    append.rollback().await.unwrap();
    heartbeat(&mut owner, Some(TTL)).await;
    assert_eq!(world.count("leases where fenced").await, 1);
}

#[tokio::test]
async fn a_takeover_waits_for_an_append_in_flight() {
    let world = World::new().await;
    let writer = world.writer_for(SHORT_TTL, 4).await;
    tokio::time::sleep(SHORT_TTL).await;
    // An append locks its lease's row until it commits.
    let append = world.lock_leases().await;
    let mut session = world.session().await;
    assert_not_written(session.claim(&claim(None, TTL, 4)).await);
    append.rollback().await.unwrap();
    let claimed = session.claim(&claim(None, TTL, 4)).await.unwrap();
    assert_eq!(claimed.shards.len(), 4);
    assert_ne!(claimed.lease, writer.lease);
}

#[tokio::test]
async fn positions_of_a_released_shard_are_not_used_again_after_its_events_were_deleted() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(1);
    writer.append_event(run, 1).await.unwrap();
    writer.append_event(run, 2).await.unwrap();
    writer.release().await;
    // As after a partition was dropped.
    world.execute("delete from pgworkflows.frames").await;
    let next = world.session().await.claim(&claim(None, TTL, 4)).await.unwrap();
    let positions: Vec<_> = next.shards.iter().map(|shard| shard.next_position.get()).collect();
    assert_eq!(positions, [1, 3, 1, 1]);
}

#[tokio::test]
async fn heartbeat_that_reduces_no_deaths_writes_no_shard() {
    // Given shards whose owners died three times
    let world = World::new().await;
    for _ in 0..3 {
        world.writer_for(SHORT_TTL, 4).await;
        tokio::time::sleep(SHORT_TTL).await;
    }
    let mut owner = world.writer().await;
    let rows = "select (deaths, xmin)::text from pgworkflows.shards order by shard";
    let mut connection = world.connection().await;
    let mut rows = async || sqlx::query_scalar::<_, String>(rows).fetch_all(&mut connection).await.unwrap();
    let before = rows().await;
    assert!(before.iter().all(|row| row.starts_with("(3,")), "{before:?}");
    // When a heartbeat asks for no reduction, then no row changes
    for deaths_max in [u32::MAX, 3] {
        let lease = LeaseHeartbeat { deaths_max, ..lease_heartbeat(&owner, Some(TTL)) };
        heartbeat_for(&mut owner, vec![lease]).await;
        assert_eq!(rows().await, before);
    }
    // And when it asks for one, the deaths are reduced
    let lease = LeaseHeartbeat { deaths_max: 1, ..lease_heartbeat(&owner, None) };
    heartbeat_for(&mut owner, vec![lease]).await;
    assert!(rows().await.iter().all(|row| row.starts_with("(1,")));
}

#[tokio::test]
async fn suspects_that_are_over_or_never_existed_are_removed_by_the_next_claim() {
    // Given suspects: an open run, a run that ended unnoticed, and three unknown runs
    let world = World::new().await;
    let mut writer = world.writer().await;
    let suspect = |run| Suspect { run, stage: SuspectStage::Tried, strikes: 0 };
    let [busy, ended, young, old, foreign] = [0, 0, 0, 0, 1].map(|shard| world.run(shard));
    let mut batch = writer.batch().event(busy, 1).opened(busy, OpenState::Busy, None);
    batch = batch.event(ended, 1).opened(ended, OpenState::Busy, None);
    batch.append.suspects = [busy, ended, young, old, foreign].map(suspect).to_vec();
    writer.append(batch).await.unwrap();
    let batch = writer.batch().event(ended, 2).closed(ended);
    writer.append(batch).await.unwrap();
    for run in [busy, old] {
        world
            .execute(format!(
                "update pgworkflows.suspects set since = since - interval '2 days' where run_id = '{run}'"
            ))
            .await;
    }
    writer.release().await;

    // When shard 0 is claimed
    let claimed = world.session().await.claim(&claim(None, TTL, 1)).await.unwrap();

    // Then the open run stays a suspect, and so does the run that may still start
    let held = |run| Suspect { stage: SuspectStage::Held, ..suspect(run) };
    let mut expected = [held(busy), held(young)];
    expected.sort_by_key(|suspect| suspect.run);
    assert_eq!(claimed.suspects, expected);
    // And suspects of another shard stay for its owner
    assert_eq!(world.count("suspects").await, 3);
}

#[tokio::test]
async fn a_stage_that_only_a_newer_version_knows_is_left_alone() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    let mut batch = writer.batch();
    batch.append.suspects.push(Suspect { run, stage: SuspectStage::Held, strikes: 2 });
    writer.append(batch).await.unwrap();
    world.execute("update pgworkflows.suspects set stage = 9").await;
    writer.release().await;
    let claimed = world.session().await.claim(&claim(None, TTL, 4)).await.unwrap();
    assert_eq!(claimed.suspects, [Suspect { run, stage: SuspectStage::SetAside, strikes: 2 }]);
}
