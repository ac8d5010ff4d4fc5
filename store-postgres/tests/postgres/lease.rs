//! Queues, claims, heartbeats, takeovers and releases.

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{LeaseId, Position};
use pgworkflows_core::store::{
    Claim, DueMark, Heartbeat, InboxCursor, LeaseAnswer, LeaseHeartbeat, OpenState, Store, StoreError,
    Suspect, SuspectStage,
};

use crate::support::*;

fn shards(writer: &Writer) -> Vec<u16> {
    writer.positions.keys().map(|shard| shard.get()).collect()
}

#[tokio::test]
async fn a_queue_keeps_the_shards_it_was_created_with() {
    let world = World::new().await;
    let other = world.store.queue("other", 10).await.unwrap();
    assert_eq!((other.first_shard.get(), other.shard_count), (4, 10));
    let again = world.store.queue("default", 64).await.unwrap();
    assert_eq!((again.first_shard.get(), again.shard_count), (0, 4));
    for (name, shards) in [("none", 0), ("too many", 4097), ("too many left", 4090), ("", 1)] {
        let refused = world.store.queue(name, shards).await;
        assert!(matches!(refused, Err(StoreError::Misconfigured { .. })), "{refused:?}");
    }
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
async fn claiming_from_an_unknown_queue_is_refused_by_name() {
    let world = World::new().await;
    let claim = Claim { queue: "nobody".to_owned(), ..claim(None, TTL, 1) };
    let refused = world.session().await.claim(&claim).await.unwrap_err();
    assert!(refused.to_string().contains("`nobody`"), "{refused}");
}

#[tokio::test]
async fn claims_share_the_shards_and_stop_at_their_limit() {
    let world = World::new().await;
    let mut one = world.writer_for(TTL, 3).await;
    let other = world.writer_for(TTL, 3).await;
    assert_eq!((shards(&one), shards(&other)), (vec![0, 1, 2], vec![3]));
    let again = one.session.claim(&claim(Some(one.lease), TTL, 3)).await.unwrap();
    assert_eq!(again.lease, one.lease);
    // The answer lists all shards of the lease, because an earlier answer may have been lost.
    assert_eq!(again.shards.len(), 3);
    assert_eq!(heartbeat(&mut one, None).await.claimable, 0);
}

#[tokio::test]
async fn simultaneous_claims_share_all_shards() {
    let world = World::new().await;
    for round in 0..50 {
        let mut writers = futures::future::join_all((0..4).map(|_| world.writer_for(TTL, 1))).await;
        let mut claimed: Vec<u16> = writers.iter().flat_map(shards).collect();
        claimed.sort_unstable();
        assert_eq!(claimed, [0, 1, 2, 3], "in round {round}: remaining shards wait for a heartbeat");
        for writer in &mut writers {
            writer.release().await;
        }
    }
}

#[tokio::test]
async fn shards_of_an_expired_lease_are_taken_over() {
    let world = World::new().await;
    let mut dead = world.writer_for(SHORT_TTL, 4).await;
    let run = world.run(2);
    dead.append_event(run, 1).await.unwrap();
    dead.append_event(run, 2).await.unwrap();
    assert!(world.writer().await.positions.is_empty());

    tokio::time::sleep(SHORT_TTL).await;
    let mut session = world.session().await;
    let claimed = session.claim(&claim(None, TTL, 4)).await.unwrap();
    assert_eq!(claimed.shards.len(), 4);
    assert!(claimed.shards.iter().all(|shard| shard.deaths == 1), "{claimed:?}");
    assert_eq!(claimed.shards[2].next_position, Position::new(3));
    assert_ne!(claimed.lease, dead.lease);
    let refused = dead.append_event(run, 3).await;
    assert!(is_fenced(&refused), "{refused:?}");
    Writer::new(session, &claimed).append_event(run, 3).await.unwrap();
}

#[tokio::test]
async fn an_expired_lease_stays_valid_until_its_shards_are_taken() {
    let world = World::new().await;
    let mut writer = world.writer_for(SHORT_TTL, 4).await;
    tokio::time::sleep(SHORT_TTL).await;
    writer.append_event(world.run(0), 1).await.unwrap();
    let answer = heartbeat(&mut writer, None).await;
    assert_eq!((answer.claimable, answer.leases[0].held), (4, true));
    let answer = heartbeat(&mut writer, Some(TTL)).await;
    assert_eq!((answer.claimable, answer.leases[0].held), (0, true));
    assert!(world.writer().await.positions.is_empty());
}

#[tokio::test]
async fn a_standby_process_that_was_killed_leaves_no_append_row() {
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
    use sqlx::Connection;
    let world = World::new().await;
    let mut owner = world.writer_for(TTL, 2).await;
    let late = world.writer_for(SHORT_TTL, 2).await;
    tokio::time::sleep(SHORT_TTL).await;
    // An append under the expired lease is in flight.
    let mut connection = world.connection().await;
    let mut append = connection.begin().await.unwrap();
    let lock = sqlx::query("select from pgworkflows.leases where lease = $1 for update");
    lock.bind(late.lease.get().cast_signed()).execute(&mut *append).await.unwrap();
    assert_eq!(heartbeat(&mut owner, Some(TTL)).await.claimable, 2);
    assert_eq!(world.count("leases where fenced").await, 0);
    append.rollback().await.unwrap();
    heartbeat(&mut owner, Some(TTL)).await;
    assert_eq!(world.count("leases where fenced").await, 1);
}

#[tokio::test]
async fn a_fenced_lease_can_neither_renew_nor_claim() {
    let world = World::new().await;
    let mut writer = world.writer_for(SHORT_TTL, 2).await;
    tokio::time::sleep(SHORT_TTL).await;
    let _heir = world.writer_for(TTL, 2).await;
    assert!(!heartbeat(&mut writer, Some(TTL)).await.leases[0].held);
    let refused = writer.session.claim(&claim(Some(writer.lease), TTL, 4)).await;
    assert!(is_fenced(&refused), "{refused:?}");
    let unknown = writer.session.claim(&claim(Some(LeaseId::new(999)), TTL, 4)).await;
    assert!(is_fenced(&unknown), "{unknown:?}");
}

#[tokio::test]
async fn a_takeover_waits_for_an_append_in_flight() {
    use sqlx::Connection;
    let world = World::new().await;
    let writer = world.writer_for(SHORT_TTL, 4).await;
    tokio::time::sleep(SHORT_TTL).await;
    // An append locks its lease's row until it commits.
    let mut connection = world.connection().await;
    let mut append = connection.begin().await.unwrap();
    sqlx::query("select from pgworkflows.leases for update").execute(&mut *append).await.unwrap();
    let mut session = world.session().await;
    let waited = session.claim(&claim(None, TTL, 4)).await;
    assert!(is_unavailable(&waited), "{waited:?}");
    append.rollback().await.unwrap();
    let claimed = session.claim(&claim(None, TTL, 4)).await.unwrap();
    assert_eq!(claimed.shards.len(), 4);
    assert_ne!(claimed.lease, writer.lease);
}

#[tokio::test]
async fn a_release_frees_its_shards_at_once_and_raises_the_floor() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(1);
    writer.append_event(run, 1).await.unwrap();
    writer.append_event(run, 2).await.unwrap();
    writer.release().await;
    writer.release().await;
    writer.session.release(&release(LeaseId::new(999))).await.unwrap();
    // No position is used again, even if the log no longer has it, as after a partition was dropped.
    sqlx::query("delete from pgworkflows.events").execute(&mut world.connection().await).await.unwrap();
    let heir = world.session().await.claim(&claim(None, TTL, 4)).await.unwrap();
    let positions: Vec<_> = heir.shards.iter().map(|shard| shard.next_position.get()).collect();
    assert_eq!(positions, [1, 3, 1, 1]);
    assert!(heir.shards.iter().all(|shard| shard.deaths == 0));
}

#[tokio::test]
async fn deaths_are_counted_and_reduced_only_as_asked() {
    let world = World::new().await;
    for expected in 0..3 {
        let mut session = world.session().await;
        let claimed = session.claim(&claim(None, SHORT_TTL, 4)).await.unwrap();
        assert!(claimed.shards.iter().all(|shard| shard.deaths == expected), "{claimed:?}");
        let former = (expected > 0).then(|| "test".to_owned());
        assert!(claimed.shards.iter().all(|shard| shard.former == former), "{claimed:?}");
        tokio::time::sleep(SHORT_TTL).await;
    }
    // Neither time nor a release reduces them
    let mut survivor = world.writer_for(SHORT_TTL, 4).await;
    tokio::time::sleep(SHORT_TTL).await;
    heartbeat(&mut survivor, Some(TTL)).await;
    survivor.release().await;
    let mut owner = world.writer().await;
    let rows = "select (deaths, former, xmin)::text from pgworkflows.shards order by shard";
    let mut connection = world.connection().await;
    let mut rows = async || sqlx::query_scalar::<_, String>(rows).fetch_all(&mut connection).await.unwrap();
    let before = rows().await;
    assert!(before.iter().all(|row| row.starts_with("(3,,")), "{before:?}");
    // A heartbeat that asks for no reduction writes nothing
    for deaths_max in [u32::MAX, 3] {
        let lease = LeaseHeartbeat { deaths_max, ..lease_heartbeat(&owner, Some(TTL)) };
        let heartbeat = Heartbeat { queue: "default".to_owned(), leases: vec![lease] };
        owner.session.heartbeat(&heartbeat).await.unwrap();
        assert_eq!(rows().await, before);
    }
    let lease = LeaseHeartbeat { deaths_max: 1, ..lease_heartbeat(&owner, None) };
    owner.session.heartbeat(&Heartbeat { queue: "default".to_owned(), leases: vec![lease] }).await.unwrap();
    assert!(rows().await.iter().all(|row| row.starts_with("(1,,")));
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
    let mut connection = world.connection().await;
    for run in [busy, old] {
        let aged = format!(
            "update pgworkflows.suspects set since = since - interval '2 days' where run_id = '{run}'"
        );
        sqlx::query(sqlx::AssertSqlSafe(aged)).execute(&mut connection).await.unwrap();
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
    sqlx::query("update pgworkflows.suspects set stage = 9")
        .execute(&mut world.connection().await)
        .await
        .unwrap();
    writer.release().await;
    let claimed = world.session().await.claim(&claim(None, TTL, 4)).await.unwrap();
    assert_eq!(claimed.suspects, [Suspect { run, stage: SuspectStage::SetAside, strikes: 2 }]);
}

#[tokio::test]
async fn a_heartbeat_reports_mail_after_the_cursor_and_deadlines_in_the_window() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let quiet = LeaseAnswer { lease: writer.lease, held: true, shards: 4, mail: false, due: false };
    assert_eq!(heartbeat(&mut writer, Some(TTL)).await.leases, [quiet]);

    let run = world.run(0);
    world.submit(start(run, None, "start")).await;
    assert!(heartbeat(&mut writer, None).await.leases[0].mail);
    let page = writer.read(10).await.unwrap();
    assert!(!heartbeat(&mut writer, None).await.leases[0].mail);
    world.submit(signal(run, "a")).await;
    world.submit(signal(run, "b")).await;
    assert!(heartbeat(&mut writer, None).await.leases[0].mail);
    // A read with further pages counts as mail.
    writer.read(1).await.unwrap();
    assert!(heartbeat(&mut writer, None).await.leases[0].mail);
    writer.read(1).await.unwrap();
    assert!(!heartbeat(&mut writer, None).await.leases[0].mail);

    let parked = world.run(3);
    let wake_at = Timestamp::from_micros(world.queue.now.as_micros() + 5_000_000);
    let batch = writer.batch().event(run, 1).consumed(&page).event(parked, 1);
    let batch = batch.opened(parked, OpenState::Parked, Some(wake_at));
    writer.append(batch).await.unwrap();
    let mut due = async |after: Option<DueMark>, until: i64| {
        let mut lease = lease_heartbeat(&writer, None);
        lease.due_after = after;
        lease.due_until = Timestamp::from_micros(wake_at.as_micros() + until);
        let heartbeat = Heartbeat { queue: "default".to_owned(), leases: vec![lease] };
        writer.session.heartbeat(&heartbeat).await.unwrap().leases[0].due
    };
    assert!(!due(None, -1).await);
    assert!(due(None, 0).await);
    assert!(!due(Some(DueMark { wake_at, run: parked }), 1).await);
}

#[tokio::test]
async fn a_heartbeat_answers_for_leases_in_the_order_asked() {
    let world = World::new().await;
    let mut one = world.writer_for(TTL, 2).await;
    let mut other = world.writer_for(TTL, 1).await;
    one.release().await;
    let unknown = LeaseHeartbeat { lease: LeaseId::new(77), ..lease_heartbeat(&one, Some(TTL)) };
    let leases = vec![unknown, lease_heartbeat(&other, Some(TTL)), lease_heartbeat(&one, None)];
    let answer = other
        .session
        .heartbeat(&Heartbeat { queue: "default".to_owned(), leases: leases.clone() })
        .await
        .unwrap();
    let answers: Vec<_> = answer.leases.iter().map(|lease| (lease.lease, lease.held)).collect();
    assert_eq!(answers, [(leases[0].lease, false), (other.lease, true), (one.lease, false)]);
    assert_eq!(answer.claimable, 3);
    let none =
        other.session.heartbeat(&Heartbeat { queue: "default".to_owned(), leases: vec![] }).await.unwrap();
    assert_eq!((none.leases.len(), none.claimable), (0, 3));
    assert!(none.now >= answer.now);
}

#[tokio::test]
async fn a_cursor_of_another_format_is_refused() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    writer.cursor = InboxCursor(bytes::Bytes::from_static(b"what?"));
    assert!(matches!(writer.read(1).await, Err(StoreError::Corrupt { .. })));
}
