//! Costs that must not grow with the number of runs. No test here reads a clock.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{empty_append, frame, run, shards};
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{EventSeq, Position};
use pgworkflows_core::store::{
    Due, DueMark, Heartbeat, InboxCursor, LeaseHeartbeat, OpenRow, OpenState, OpenedRun, Unparked,
};
use pgworkflows_memory::{ManualClock, MemoryStore};

const TTL: Duration = Duration::from_secs(10);

/// Parked runs must not slow other operations down. The test reads no clock, but it would take minutes if each append
/// or heartbeat looked at every parked run.
#[tokio::test]
async fn hundred_thousand_parked_runs_do_not_slow_appends_and_heartbeats() {
    let store = MemoryStore::with_clock(Arc::new(ManualClock::default()));
    let (mut session, claimed) = common::owner(&store).await;
    let mut positions = [Position::FIRST; common::SHARDS as usize];
    let parked = 100_000_u64;
    for number in 1..=parked / 20 {
        let mut append = empty_append(claimed.lease, number);
        for id in (number - 1) * 20..number * 20 {
            let run = run(id);
            let position = &mut positions[usize::from(run.shard().get())];
            let wake_at = Some(Timestamp::from_micros(id as i64));
            let row = OpenRow { state: OpenState::Parked, wake_at, waiting_on: None, waits: None };
            append.opened.push(OpenedRun { run, workflow: "order".into(), key: None, parent: None, row });
            append.frames.push(frame(run, EventSeq::FIRST, *position, Bytes::new()));
            *position = position.next();
        }
        common::seal(&mut append);
        session.append(&append).await.unwrap();
        let lease = LeaseHeartbeat {
            lease: claimed.lease,
            renew: Some(TTL),
            committed: append.number,
            deaths_max: u32::MAX,
            cursor: InboxCursor::default(),
            due_after: None,
            due_until: Timestamp::from_micros(-1),
            live_runs: 0,
        };
        let heartbeat = Heartbeat { queue: "default".to_owned(), leases: vec![lease] };
        assert!(!session.heartbeat(&heartbeat).await.unwrap().leases[0].due);
    }
    let due = Due { shards: shards(), after: None, until: Timestamp::from_micros(4), limit: 100 };
    let marks: Vec<_> =
        (0..5).map(|id| DueMark { wake_at: Timestamp::from_micros(id), run: run(id as u64) }).collect();
    assert_eq!(session.due_runs(&due).await.unwrap().runs, marks);
    let unparked = Unparked { shards: shards(), after: None, limit: 100 };
    assert_eq!(session.unparked(&unparked).await.unwrap().runs, []);
}
