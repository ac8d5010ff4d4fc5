//! Descriptions, lists and histories: the store's rows as public types.

use futures::TryStreamExt;

use super::fake::{FIRST_SHARD, NOW, settle};
use super::{Greeting, fixture};
use crate::client::info::RunStatus;
use crate::data::id::{CommandId, EventSeq, RunId, ShardId};
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::log::event::Event;
use crate::log::message::Message;
use crate::log::wire;
use crate::store::Hint;
use crate::store::append::{ClosedRun, ClosedStatus, OpenRow, OpenState};
use crate::store::frame::Frame;
use crate::store::query::{FoundView, RunDescription, RunFilter, RunPage, Undelivered};
use crate::testing::frame;
use crate::workflow::view::View;

fn some_run(random: u64) -> RunId {
    RunId::new(NOW, ShardId::new(FIRST_SHARD).unwrap(), random)
}

#[tokio::test]
async fn description_says_what_an_open_run_waits_for() {
    let fixture = fixture();
    let run = fixture.client.handle::<Greeting>(some_run(1));
    assert!(run.describe().await.unwrap_err().is_unknown_run());
    for (state, status) in [
        (OpenState::Pending, RunStatus::Pending),
        (OpenState::Busy, RunStatus::Running),
        (OpenState::Parked, RunStatus::Waiting),
        (OpenState::Stalled, RunStatus::Stalled),
    ] {
        let row =
            OpenRow { state, wake_at: Some(NOW), waiting_on: Some("signal `wave`".to_owned()), waits: None };
        fixture.store.describe_as(run.run_id(), "greeting", row);
        let info = run.describe().await.unwrap();
        assert_eq!(info.status, status);
        assert_eq!(info.waiting_on.as_deref(), Some("signal `wave`"));
        assert_eq!((info.created_at, info.wake_at), (NOW.into(), Some(NOW.into())));
        assert_eq!(info.outcome().unwrap(), None);
    }
}

#[tokio::test]
async fn description_of_a_finished_run_has_its_outcome_and_undelivered_messages() {
    let fixture = fixture();
    let run = some_run(1);
    let completed = Event::RunCompleted { result: Payload::encode("hello").unwrap() };
    let late = Message::Signal {
        signal: Name::from_static("wave"),
        payload: Payload::encode(&7).unwrap(),
        key: Some("k".to_owned()),
        trace: None,
    };
    let closed = ClosedRun {
        run,
        workflow: "greeting".into(),
        key: None,
        parent: None,
        status: ClosedStatus::Completed,
        closed_at: NOW,
        outcome: wire::encode_event(&completed),
    };
    let found = RunDescription {
        run,
        workflow: "greeting".to_owned(),
        key: Some("ada".to_owned()),
        parent: Some(some_run(2)),
        open: None,
        closed: Some(closed),
        link: None,
        current: None,
        undelivered: vec![
            Undelivered { body: wire::encode_message(&late), at: NOW },
            Undelivered { body: bytes::Bytes::from_static(b"?"), at: NOW },
        ],
    };
    fixture.store.state().described.insert(run, found);
    let info = fixture.client.describe(run).await.unwrap();
    assert!(info.status.is_over());
    assert_eq!(info.parent, Some(some_run(2)));
    assert_eq!((info.key.as_deref(), info.closed_at), (Some("ada"), Some(NOW.into())));
    assert_eq!(info.outcome().unwrap(), Some(completed));
    assert_eq!(info.undelivered[0].what, "signal `wave` with key `k`");
    assert_eq!(info.undelivered[0].payload, Some(Payload::encode(&7).unwrap()));
    assert!(info.undelivered[1].what.contains("cannot be read"), "{:?}", info.undelivered[1]);
}

#[tokio::test]
async fn run_is_found_by_its_key() {
    let fixture = fixture();
    fixture.store.state().keys.insert(("greeting".to_owned(), "ada".to_owned()), some_run(1));
    let found = fixture.client.find::<Greeting>("ada").await.unwrap().unwrap();
    assert_eq!((found.run_id(), found.is_existing()), (some_run(1), true));
    assert!(fixture.client.find::<Greeting>("bob").await.unwrap().is_none());
}

#[tokio::test]
async fn history_is_read_to_its_end_and_decoded() {
    let fixture = fixture();
    let fired = Event::TimerFired { id: CommandId::new(1) };
    let of = |seq| frame(some_run(1), EventSeq::new(seq), NOW, &vec![fired.clone(); 250]);
    fixture.store.state().frames = (0..10).map(|number| of(250 * number + 1)).collect();
    let history = fixture.client.history(some_run(1)).await.unwrap();
    assert_eq!(history.len(), 2500);
    assert!(history.iter().zip(1..).all(|(event, seq)| event.seq.get() == seq && event.event == fired));
}

#[tokio::test]
async fn pages_of_a_history_follow_each_other_and_the_last_one_says_so() {
    let fixture = fixture();
    let fired = Event::TimerFired { id: CommandId::new(1) };
    let of = |seq| frame(some_run(1), EventSeq::new(seq), NOW, &vec![fired.clone(); 10]);
    fixture.store.state().frames = (0..7).map(|number| of(10 * number + 1)).collect();
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = fixture.client.history_page(some_run(1), after).await.unwrap();
        seen.extend(page.events.iter().map(|event| event.seq.get()));
        after = page.end().or(after);
        pages += 1;
        if page.is_last {
            break;
        }
    }
    assert_eq!((seen, pages), ((1..=70).collect::<Vec<_>>(), 3));
    // Behind the end there is nothing yet, which is no error.
    let page = fixture.client.history_page(some_run(1), after).await.unwrap();
    assert_eq!((page.end(), page.is_last), (None, true));
    // A run without events exists, or is unknown.
    fixture.store.state().frames.clear();
    let unknown = fixture.client.history_page(some_run(2), None).await.unwrap_err();
    assert!(unknown.is_unknown_run(), "{unknown}");
}

#[tokio::test]
async fn history_that_cannot_be_read_names_the_event() {
    let fixture = fixture();
    let fired = Event::TimerFired { id: CommandId::new(1) };
    let frame = frame(some_run(1), EventSeq::FIRST, NOW, &[fired]);
    // A kind of a newer build
    let mut newer = frame.body.to_vec();
    newer.splice(1..2, [0x18, 77]);
    fixture.store.state().frames = vec![Frame { body: newer.into(), ..frame.clone() }];
    let message = fixture.client.history(some_run(1)).await.unwrap_err().to_string();
    assert!(message.contains("event 1 of run") && message.contains("`kind-77`"), "{message}");
    // A frame that should have another event
    fixture.store.state().frames = vec![Frame { count: 2, ..frame }];
    let message = fixture.client.history(some_run(1)).await.unwrap_err().to_string();
    assert!(message.contains("the frame of 2 events at event 1") && message.contains("3 items"), "{message}");
}

#[tokio::test]
async fn view_that_cannot_be_read_names_the_event() {
    const STAGE: View<u32> = View::new("stage");
    let fixture = fixture();
    let run = fixture.client.handle::<Greeting>(some_run(1));
    let fired = Event::TimerFired { id: CommandId::new(1) };
    let published = Event::ViewPublished { view: "stage".into(), value: Payload::encode(&7).unwrap() };
    let frame = frame(some_run(1), EventSeq::new(4), NOW, &[fired, published]);
    let found = |seq, frame: &Frame| FoundView { seq: EventSeq::new(seq), frame: frame.clone() };
    let set = |found| fixture.store.state().views.insert("stage".to_owned(), found);

    // The event with the value
    set(found(5, &frame));
    assert_eq!(run.view(STAGE).await.unwrap(), Some(7));
    assert_eq!(run.view_named("stage").await.unwrap(), Some(Payload::encode(&7).unwrap()));
    assert!(run.view_named("").await.unwrap_err().is_invalid());
    // Another event, one that the frame does not have, and a kind of a newer build
    let newer = [&frame.body[..7], &[0x18, 77], &frame.body[9..]].concat();
    for (found, problem) in [
        (found(4, &frame), "event 4 is timer.fired"),
        (found(6, &frame), "event 6 is not in the frame"),
        (found(5, &Frame { body: newer.into(), ..frame.clone() }), "event 5, `kind-77`, cannot be read"),
        (found(5, &Frame { count: 3, ..frame.clone() }), "the frame of 3 events at event 4"),
    ] {
        set(found);
        let message = run.view(STAGE).await.unwrap_err().to_string();
        assert!(message.contains("view `stage` of run") && message.contains(problem), "{message}");
    }
}

#[tokio::test]
async fn watch_asks_for_the_end_of_its_run_once_however_often_the_view_changes() {
    const STAGE: View<u32> = View::new("stage");
    let fixture = fixture();
    let publish = |seq: u32| {
        let published = Event::ViewPublished { view: "stage".into(), value: Payload::encode(&seq).unwrap() };
        let frame = frame(some_run(1), EventSeq::new(seq), NOW, &[published]);
        let found = FoundView { seq: EventSeq::new(seq), frame };
        fixture.store.state().views.insert("stage".to_owned(), found);
        fixture.store.hint(Hint::Published(some_run(1).shard()));
    };
    // Given somebody who watches a view
    publish(2);
    let mut changes = fixture.client.handle::<Greeting>(some_run(1)).watch(STAGE);
    assert_eq!(changes.next().await.unwrap().unwrap(), 2);
    // When it changes again and again
    for seq in 3..20 {
        let change = async {
            settle().await;
            publish(seq);
        };
        let (value, ()) = futures::join!(changes.next(), change);
        assert_eq!(value.unwrap().unwrap(), seq);
    }
    // Then the store was asked once whether the run is over
    assert_eq!(fixture.store.closed_reads(), 1);
    // And the watch still ends with the run
    let end = async {
        settle().await;
        fixture.store.close(some_run(1), &Event::RunCompleted { result: Payload::encode("hello").unwrap() });
        fixture.store.hint(Hint::Notice(some_run(1).shard()));
    };
    let (value, ()) = futures::join!(changes.next(), end);
    assert!(value.is_none());
}

#[tokio::test]
async fn empty_history_of_a_pending_run_differs_from_that_of_no_run() {
    let fixture = fixture();
    assert!(fixture.client.history(some_run(1)).await.unwrap_err().is_unknown_run());
    fixture.store.describe_as(some_run(1), "greeting", OpenRow::default());
    assert!(fixture.client.history(some_run(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn list_is_filtered_and_paged_by_the_store() {
    let fixture = fixture();
    for number in 0..7 {
        fixture.store.describe_as(some_run(number), "greeting", OpenRow::default());
    }
    let list = fixture.client.list().of::<Greeting>().parent(some_run(9)).status(RunStatus::Stalled).limit(3);
    assert_eq!(list.clone().await.unwrap().len(), 3);
    let filter = RunFilter {
        workflow: Some("greeting".to_owned()),
        parent: Some(some_run(9)),
        open: Some(true),
        state: Some(OpenState::Stalled),
        status: None,
        since: None,
    };
    assert_eq!(fixture.store.state().listed[0].0, filter);
    let all: Vec<_> = list.stream().map_ok(|info| info.run_id).try_collect().await.unwrap();
    assert_eq!(all, (0..7).rev().map(some_run).collect::<Vec<_>>());
    let last_page = fixture.store.state().listed.last().unwrap().1.clone();
    assert_eq!((last_page.before, last_page.limit), (Some(some_run(1)), 3));
}

#[tokio::test]
async fn list_filters_replace_one_another() {
    let fixture = fixture();
    let list = fixture.client.list();
    list.clone().status(RunStatus::Failed).open().await.unwrap();
    list.status(RunStatus::Waiting).status(RunStatus::Failed).await.unwrap();
    let state = fixture.store.state();
    assert_eq!(state.listed[0].0, RunFilter { open: Some(true), ..RunFilter::default() });
    let failed = RunFilter { open: Some(false), status: Some(ClosedStatus::Failed), ..RunFilter::default() };
    assert_eq!(state.listed[1].0, failed);
}

#[tokio::test]
async fn search_that_no_index_serves_ends_at_the_horizon() {
    let fixture = fixture();
    for number in 0..3 {
        fixture.store.describe_as(some_run(number), "greeting", OpenRow::default());
    }
    fixture.store.state().horizon = Some(some_run(7));
    let list = fixture.client.list().before(some_run(9)).limit(5);
    // Given lists that an index serves, then no horizon is asked for, and the list ends at the oldest run
    for indexed in [
        list.clone(),
        list.clone().open(),
        list.clone().workflow("rare").parent(some_run(8)),
        list.clone().status(RunStatus::Failed).workflow("rare"),
        list.clone().status(RunStatus::Running),
    ] {
        let found = indexed.search(1000).await.unwrap();
        assert_eq!((found.runs.len(), found.next), (3, None));
    }
    assert_eq!(fixture.store.state().horizons, []);
    // Given others, then the list is as long as that, and goes on there, or after a full page
    for searched in [
        list.clone().workflow("rare"),
        list.clone().workflow("rare").closed(),
        list.clone().status(RunStatus::Waiting),
        list.clone().status(RunStatus::Completed),
    ] {
        assert_eq!(searched.search(1000).await.unwrap().next, Some(some_run(7)));
        let state = fixture.store.state();
        assert_eq!(state.horizons.last(), Some(&RunPage { before: Some(some_run(9)), limit: 1000 }));
        let (filter, page) = state.listed.last().unwrap();
        assert_eq!((filter.since, page.limit), (Some(some_run(7)), 5));
    }
    let full = fixture.client.list().workflow("rare").limit(3).search(1000).await.unwrap();
    assert_eq!(full.next, full.runs.last().map(|last| last.run_id));
    let refused = fixture.client.list().workflow("").search(1).await.unwrap_err();
    assert!(refused.is_invalid(), "{refused}");
}

#[tokio::test]
async fn page_of_no_runs_or_too_many_is_refused() {
    let fixture = fixture();
    assert!(fixture.client.list().limit(0).await.unwrap_err().is_invalid());
    assert!(fixture.client.list().limit(1001).await.unwrap_err().is_invalid());
    assert!(fixture.client.list().workflow("").await.unwrap_err().is_invalid());
    assert!(fixture.store.state().listed.is_empty());
}
