//! Descriptions of runs that go on while they are read: what is said of one moment belongs together.

use super::fake::{NOW, State};
use super::{Fixture, fixture};
use crate::client::RunInfo;
use crate::client::info::RunStatus;
use crate::data::attributes::Attributes;
use crate::data::id::{CommandId, EventSeq, RunId, ShardId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::wait::Wait;
use crate::log::event::Event;
use crate::log::wire;
use crate::store::append::{ClosedRun, ClosedStatus, OpenRow, OpenState};
use crate::testing::{LEASE, frame, payload};

fn run() -> RunId {
    RunId::new(NOW, ShardId::new(128).unwrap(), 1)
}

fn started() -> Event {
    Event::RunStarted {
        workflow: Name::from_static("greeting"),
        input: payload(&0),
        key: None,
        start_at: None,
        lease: LEASE,
        parent: None,
        parent_call: None,
        chain: None,
        run_retry: None,
        deadline: None,
        grace_until: None,
        trace: None,
        carried: None,
        attributes: Attributes::default(),
    }
}

fn timer(number: u32) -> Event {
    Event::TimerStarted { id: CommandId::new(number), fire_at: NOW }
}

/// Appends an event to the run's history.
fn append(state: &mut State, event: &Event) {
    let seq = EventSeq::new(u32::try_from(state.frames.len()).unwrap() + 1);
    state.frames.push(frame(run(), seq, NOW, std::slice::from_ref(event)));
}

/// A run that is busy, and whose row says no more.
fn busy() -> Fixture {
    let fixture = fixture();
    fixture.store.describe_as(run(), "greeting", OpenRow { state: OpenState::Busy, ..OpenRow::default() });
    let mut state = fixture.store.state();
    append(&mut state, &started());
    append(&mut state, &timer(1));
    drop(state);
    fixture
}

async fn describe(fixture: &Fixture) -> RunInfo {
    fixture.client.describe(run()).await.unwrap()
}

#[tokio::test]
async fn history_of_a_run_that_stays_says_what_it_waits_for() {
    let info = describe(&busy()).await;
    assert!(matches!(info.waits[..], [Wait::Timer { .. }]), "{info:?}");
}

#[tokio::test]
async fn run_that_ends_while_it_is_described_is_described_as_over() {
    let fixture = busy();
    fixture.store.state().happens.push_back(Box::new(|state| {
        let completed = Event::RunCompleted { result: payload(&7) };
        append(state, &completed);
        let found = state.described.get_mut(&run()).unwrap();
        found.open = None;
        found.closed = Some(ClosedRun {
            run: run(),
            workflow: "greeting".into(),
            key: None,
            parent: None,
            status: ClosedStatus::Completed,
            closed_at: NOW,
            outcome: wire::encode_event(&completed),
        });
    }));
    let info = describe(&fixture).await;
    assert_eq!((info.status, info.waits), (RunStatus::Completed, Vec::new()));
}

#[tokio::test]
async fn run_that_parks_while_it_is_described_is_described_by_its_new_row() {
    let fixture = busy();
    fixture.store.state().happens.push_back(Box::new(|state| {
        append(state, &timer(2));
        let waiting_on = Some("signal `wave`".to_owned());
        let row = OpenRow { state: OpenState::Parked, waiting_on, ..OpenRow::default() };
        state.described.get_mut(&run()).unwrap().open = Some(row);
    }));
    let info = describe(&fixture).await;
    assert_eq!((info.status, info.waits), (RunStatus::Waiting, Vec::new()));
    assert_eq!(info.waiting_on.as_deref(), Some("signal `wave`"));
}

#[tokio::test]
async fn run_that_never_stays_is_described_without_its_waits_after_some_reads() {
    let fixture = busy();
    for number in 0..10 {
        fixture.store.state().happens.push_back(Box::new(move |state| append(state, &timer(number + 2))));
    }
    let info = describe(&fixture).await;
    assert_eq!((info.status, info.waits), (RunStatus::Running, Vec::new()));
    let left = fixture.store.state().happens.len();
    assert_eq!(left, 10 - limits::WAITS_READS_MAX - 2);

    // And if it stays at last, with them
    fixture.store.state().happens.clear();
    fixture.store.state().happens.push_back(Box::new(|state| append(state, &timer(20))));
    fixture.store.state().frames.truncate(2);
    assert_eq!(describe(&fixture).await.waits.len(), 2);
}
