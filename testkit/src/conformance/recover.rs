//! What a processor reads back: histories of the right runs, and parked runs by their deadlines.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use std::collections::BTreeMap;

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{EventSeq, RunId};
use pgworkflows_core::store::{Due, DueMark, EventRecord, LeaseHeartbeat, Loaded, RunHistory};

use super::Harness;
use super::fixture::{Ground, LONG, MANY_BYTES, SHARDS, Writer, busy, parked, stalled};

/// A deadline far from now.
const DEADLINE: i64 = 2_000_000_000_000_000;

async fn load(writer: &mut Writer, runs: &[RunId]) -> Vec<RunHistory> {
    let Loaded { histories, cut } = writer.load(runs, None, MANY_BYTES).await;
    assert_eq!(cut, None);
    histories
}

/// Three runs, with two, one and three events.
async fn three_runs(ground: &Ground<'_>, writer: &mut Writer) -> [RunId; 3] {
    let mut runs = [ground.run(2), ground.run(0), ground.run(1)];
    runs.sort_unstable();
    let mut draft = writer.draft();
    for (run, events) in runs.into_iter().zip([2, 1, 3]) {
        draft = draft.open(run, busy());
        for _ in 0..events {
            draft = draft.event(run);
        }
    }
    writer.write(draft).await;
    runs
}

/// How many bytes these histories count.
fn bytes(histories: &[RunHistory]) -> usize {
    histories.iter().flat_map(|history| &history.events).map(EventRecord::bytes).sum()
}

async fn due(writer: &mut Writer, after: Option<DueMark>, until: i64, limit: u32) -> Vec<DueMark> {
    let shards = writer.shards.clone();
    let due = Due { shards, after, until: Timestamp::from_micros(until), limit };
    writer.session.due_runs(&due).await.unwrap().runs
}

fn mark(wake_at: i64, run: RunId) -> DueMark {
    DueMark { wake_at: Timestamp::from_micros(wake_at), run }
}

pub async fn histories_are_whole_and_ascending_by_run(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let mut runs = [ground.run(2), ground.run(0), ground.run(1)];
    let mut draft = writer.draft();
    for (run, events) in runs.into_iter().zip(1..) {
        draft = draft.open(run, busy());
        for _ in 0..events {
            draft = draft.event(run);
        }
    }
    let append = writer.write(draft).await;

    let histories = load(&mut writer, &runs).await;
    runs.sort_unstable();
    assert_eq!(histories.iter().map(|history| history.run).collect::<Vec<_>>(), runs);
    for history in histories {
        let expected = append.events.iter().filter(|event| event.run == history.run);
        let expected: Vec<_> = expected.map(|event| (event.seq, event.position, &event.body)).collect();
        let events = history.events.iter().map(|event| (event.seq, event.position, &event.body));
        assert_eq!(events.collect::<Vec<_>>(), expected);
    }
}

pub async fn unknown_runs_are_left_out_of_a_load(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, busy()).await;
    let histories = load(&mut writer, &[ground.run(0), run]).await;
    assert_eq!(histories.len(), 1);
    assert_eq!(histories[0].run, run);
}

pub async fn pending_run_has_an_empty_history(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    assert_eq!(load(&mut writer, &[run]).await, [RunHistory { run, events: Vec::new() }]);
}

pub async fn history_of_a_run_that_is_over_can_be_loaded(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open_and_close(run).await;
    assert_eq!(load(&mut writer, &[run]).await[0].events.len(), 2);
}

pub async fn load_is_cut_before_the_event_that_exceeds_its_bytes(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let runs = three_runs(&ground, &mut writer).await;
    let whole = load(&mut writer, &runs).await;

    // All of it fits exactly
    let loaded = writer.load(&runs, None, bytes(&whole)).await;
    assert_eq!((loaded.histories, loaded.cut), (whole.clone(), None));
    // Without the last event
    let loaded = writer.load(&runs, None, bytes(&whole) - 1).await;
    assert_eq!((&loaded.histories[..2], loaded.cut), (&whole[..2], Some(runs[2])));
    assert_eq!(loaded.histories[2].events, whole[2].events[..2]);
    // At the border of two runs: the one that comes next has nothing here
    let loaded = writer.load(&runs, None, bytes(&whole[..1])).await;
    assert_eq!((&loaded.histories[..], loaded.cut), (&whole[..1], Some(runs[1])));
}

pub async fn one_event_is_loaded_however_large(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let runs = three_runs(&ground, &mut writer).await;
    let loaded = writer.load(&runs, None, 0).await;
    assert_eq!((loaded.histories.len(), loaded.cut), (1, Some(runs[0])));
    assert_eq!(loaded.histories[0].events.len(), 1);
}

pub async fn history_without_events_costs_no_bytes(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (begun, pending) = (ground.run(0), ground.run(0));
    writer.open(begun, busy()).await;
    ground.accept(&ground.start(pending)).await;
    let loaded = writer.load(&[begun, pending], None, 0).await;
    let lens: Vec<_> = loaded.histories.iter().map(|history| (history.run, history.events.len())).collect();
    assert_eq!((lens, loaded.cut), (vec![(begun, 1), (pending, 0)], None));
}

pub async fn histories_in_parts_are_the_whole_ones(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let runs = three_runs(&ground, &mut writer).await;
    let whole = load(&mut writer, &runs).await;
    for limit in (0..bytes(&whole)).step_by(40) {
        let mut parts: BTreeMap<RunId, Vec<EventRecord>> = BTreeMap::new();
        let (mut from, mut after) = (runs[0], None);
        loop {
            let rest: Vec<RunId> = runs.into_iter().filter(|run| *run >= from).collect();
            let loaded = writer.load(&rest, after, limit).await;
            assert!(bytes(&loaded.histories) <= limit || loaded.histories[0].events.len() == 1);
            for history in loaded.histories {
                parts.entry(history.run).or_default().extend(history.events);
            }
            let Some(cut) = loaded.cut else { break };
            (from, after) = (cut, parts.get(&cut).and_then(|events| events.last()).map(|event| event.seq));
        }
        let parts: Vec<_> = parts.into_iter().map(|(run, events)| RunHistory { run, events }).collect();
        assert_eq!(parts, whole, "{limit} bytes at a time");
    }
}

pub async fn rest_of_a_history_is_that_of_the_first_run_alone(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let runs = three_runs(&ground, &mut writer).await;
    let whole = load(&mut writer, &runs).await;
    let loaded = writer.load(&runs, Some(EventSeq::FIRST), MANY_BYTES).await;
    assert_eq!(loaded.histories[0].events, whole[0].events[1..]);
    assert_eq!(loaded.histories[1..], whole[1..]);
    // Nothing is left of it
    let loaded = writer.load(&runs[..1], Some(EventSeq::new(2)), MANY_BYTES).await;
    assert_eq!(loaded.histories, [RunHistory { run: runs[0], events: Vec::new() }]);
}

pub async fn history_of_many_appends_is_whole(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, busy()).await;
    writer.write(writer.draft().event(run).event(run)).await;
    assert_eq!(load(&mut writer, &[run]).await[0].events.len(), 3);
}

pub async fn recovery_lists_busy_and_stalled_runs_only(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (one, other) = (ground.run(0), ground.run(1));
    writer.open(one, busy()).await;
    writer.open(other, stalled()).await;
    writer.open(ground.run(0), parked(None)).await;
    writer.open(ground.run(0), parked(Some(DEADLINE))).await;
    writer.open_and_close(ground.run(0)).await;
    ground.accept(&ground.start(ground.run(0))).await;

    let mut expected = vec![one, other];
    expected.sort_unstable();
    assert_eq!(writer.unparked(None, 100).await, expected);
}

pub async fn recovery_lists_runs_of_the_shards_asked_for_only(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut one = ground.claim(2, LONG).await;
    let mut other = ground.claim(2, LONG).await;
    let (run, foreign) = (ground.run(0), ground.run(3));
    one.open(run, busy()).await;
    other.open(foreign, busy()).await;
    assert_eq!(one.unparked(None, 10).await, [run]);
    assert_eq!(other.unparked(None, 10).await, [foreign]);
}

pub async fn recovery_goes_page_by_page_through_all_shards(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let mut runs: Vec<_> = (0..7).map(|n| ground.run(n % SHARDS)).collect();
    for run in &runs {
        writer.open(*run, busy()).await;
    }
    runs.sort_unstable();

    let mut loaded = Vec::new();
    loop {
        let page = writer.unparked(loaded.last().copied(), 3).await;
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        loaded.extend(page);
    }
    assert_eq!(loaded, runs);
}

pub async fn run_that_parked_is_not_recovered(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, busy()).await;
    writer.write(writer.draft().event(run).update(run, parked(None))).await;
    assert_eq!(writer.unparked(None, 10).await, []);
    writer.write(writer.draft().event(run).update(run, stalled())).await;
    assert_eq!(writer.unparked(None, 10).await, [run]);
    writer.write(writer.draft().event(run).close(run)).await;
    assert_eq!(writer.unparked(None, 10).await, []);
}

pub async fn due_runs_come_by_their_deadlines(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (late, early, middle) = (ground.run(0), ground.run(1), ground.run(2));
    writer.open(late, parked(Some(DEADLINE + 3))).await;
    writer.open(early, parked(Some(DEADLINE + 1))).await;
    writer.open(middle, parked(Some(DEADLINE + 2))).await;

    let expected = [mark(DEADLINE + 1, early), mark(DEADLINE + 2, middle), mark(DEADLINE + 3, late)];
    assert_eq!(due(&mut writer, None, DEADLINE + 10, 10).await, expected);
}

pub async fn due_window_begins_behind_its_mark_and_includes_its_end(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let runs: Vec<_> = (0..4).map(|_| ground.run(0)).collect();
    for (run, offset) in runs.iter().zip(1..) {
        writer.open(*run, parked(Some(DEADLINE + offset))).await;
    }
    let after = mark(DEADLINE + 1, runs[0]);
    let expected = [mark(DEADLINE + 2, runs[1]), mark(DEADLINE + 3, runs[2])];
    assert_eq!(due(&mut writer, Some(after), DEADLINE + 3, 10).await, expected);
}

pub async fn due_runs_with_one_deadline_are_paged_without_loss(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let mut runs: Vec<_> = (0..7).map(|n| ground.run(n % SHARDS)).collect();
    for run in &runs {
        writer.open(*run, parked(Some(DEADLINE))).await;
    }
    runs.sort_unstable();

    let mut marks: Vec<DueMark> = Vec::new();
    loop {
        let page = due(&mut writer, marks.last().copied(), DEADLINE, 2).await;
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        marks.extend(page);
    }
    assert_eq!(marks, runs.into_iter().map(|run| mark(DEADLINE, run)).collect::<Vec<_>>());
}

pub async fn run_without_a_deadline_is_never_due(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    writer.open(ground.run(0), parked(None)).await;
    let until = Timestamp::MAX_DEADLINE.as_micros();
    assert_eq!(due(&mut writer, None, until, 10).await, []);
}

pub async fn run_that_is_not_parked_is_not_due(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, parked(Some(DEADLINE))).await;
    assert_eq!(due(&mut writer, None, DEADLINE, 10).await.len(), 1);
    writer.write(writer.draft().event(run).update(run, busy())).await;
    assert_eq!(due(&mut writer, None, DEADLINE, 10).await, []);
}

pub async fn run_that_parked_again_is_due_at_its_new_deadline(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, parked(Some(DEADLINE))).await;
    writer.write(writer.draft().event(run).update(run, parked(Some(DEADLINE + 5)))).await;
    assert_eq!(due(&mut writer, None, DEADLINE + 4, 10).await, []);
    assert_eq!(due(&mut writer, None, DEADLINE + 5, 10).await, [mark(DEADLINE + 5, run)]);
}

pub async fn run_that_is_over_is_not_due(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, parked(Some(DEADLINE))).await;
    writer.write(writer.draft().event(run).close(run)).await;
    assert_eq!(due(&mut writer, None, DEADLINE, 10).await, []);
}

pub async fn due_runs_are_of_the_shards_asked_for_only(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(2, LONG).await;
    let mut other = ground.claim(2, LONG).await;
    other.open(ground.run(3), parked(Some(DEADLINE))).await;
    assert_eq!(due(&mut writer, None, DEADLINE, 10).await, []);
}

pub async fn heartbeat_tells_of_deadlines_in_its_window(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, parked(Some(DEADLINE))).await;

    let heartbeat = |due_after, until| {
        move |heartbeat: LeaseHeartbeat| LeaseHeartbeat {
            due_after,
            due_until: Timestamp::from_micros(until),
            ..heartbeat
        }
    };
    let before = heartbeat(None, DEADLINE - 1)(writer.lease_heartbeat());
    assert!(!writer.look(before).await.due);
    let within = heartbeat(None, DEADLINE)(writer.lease_heartbeat());
    assert!(writer.look(within).await.due);
    let behind = heartbeat(Some(mark(DEADLINE, run)), DEADLINE + 1)(writer.lease_heartbeat());
    assert!(!writer.look(behind).await.due);
}
