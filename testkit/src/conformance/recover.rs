//! What a processor reads again: the histories of its runs, and its parked runs by their deadlines.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use std::collections::BTreeMap;

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{EventSeq, RunId};
use pgworkflows_core::store::{
    Append, Due, DueMark, Frame, LeaseHeartbeat, Loaded, OpenRow, OpenState, RunHistory,
};

use super::fixture::Fixture;
use super::writer::{LONG, MANY_BYTES, SHARDS, Writer, all_pages, busy, parked, paused, stalled};

/// A deadline far from now.
const DEADLINE: i64 = 2_000_000_000_000_000;

async fn load(writer: &mut Writer, runs: &[RunId]) -> Vec<RunHistory> {
    let Loaded { histories, cut } = writer.load(runs, None, MANY_BYTES).await;
    assert_eq!(cut, None);
    histories
}

/// A writer that wrote three runs in one append, with two, one and three frames. The first frame of each run has one event,
/// the second one two, and the third one three.
async fn three_runs(fixture: &Fixture) -> (Writer, [RunId; 3], Append) {
    let mut writer = fixture.writer().await;
    let mut runs = [fixture.run(2), fixture.run(0), fixture.run(1)];
    runs.sort_unstable();
    let mut draft = writer.draft();
    for (run, frames) in runs.into_iter().zip([2, 1, 3]) {
        draft = (1..=frames).fold(draft.open(run, busy()), |draft, count| draft.frame(run, count));
    }
    let append = writer.write(draft).await;
    (writer, runs, append)
}

/// How many bytes these histories count as.
fn bytes(histories: &[RunHistory]) -> usize {
    histories.iter().flat_map(|history| &history.frames).map(Frame::bytes).sum()
}

async fn due(writer: &mut Writer, after: Option<DueMark>, until: i64, limit: u32) -> Vec<DueMark> {
    let shards = writer.shards.clone();
    let due = Due { shards, after, until: Timestamp::from_micros(until), limit };
    writer.session.due_runs(&due).await.unwrap().runs
}

fn mark(wake_at: i64, run: RunId) -> DueMark {
    DueMark { wake_at: Timestamp::from_micros(wake_at), run }
}

pub async fn histories_are_whole_and_ascending_by_run(fixture: &Fixture) {
    let (mut writer, runs, append) = three_runs(fixture).await;
    let histories = load(&mut writer, &runs).await;
    assert_eq!(histories.iter().map(|history| history.run).collect::<Vec<_>>(), runs);
    for history in histories {
        let expected = append.frames.iter().filter(|frame| frame.run == history.run).cloned();
        assert_eq!(history.frames, expected.collect::<Vec<_>>());
    }
}

pub async fn load_holds_open_ended_and_pending_runs_and_no_unknown_ones(fixture: &Fixture) {
    let (mut writer, open) = fixture.open_run().await;
    writer.write(writer.draft().event(open).event(open)).await;
    let (ended, pending, unknown) = (fixture.run(0), fixture.run(0), fixture.run(0));
    writer.open_and_close(ended).await;
    fixture.accept(&fixture.start(pending)).await;
    let histories = load(&mut writer, &[open, ended, pending, unknown]).await;
    let lens: Vec<_> = histories.iter().map(|history| (history.run, history.frames.len())).collect();
    assert_eq!(lens, [(open, 3), (ended, 2), (pending, 0)]);
}

pub async fn load_is_cut_before_the_frame_that_exceeds_its_bytes(fixture: &Fixture) {
    let (mut writer, runs, _) = three_runs(fixture).await;
    let whole = load(&mut writer, &runs).await;

    // All of it fits exactly
    let loaded = writer.load(&runs, None, bytes(&whole)).await;
    assert_eq!((loaded.histories, loaded.cut), (whole.clone(), None));
    // Without the last frame
    let loaded = writer.load(&runs, None, bytes(&whole) - 1).await;
    assert_eq!((&loaded.histories[..2], loaded.cut), (&whole[..2], Some(runs[2])));
    assert_eq!(loaded.histories[2].frames, whole[2].frames[..2]);
    // Up to the border of two runs: nothing of the second run
    let loaded = writer.load(&runs, None, bytes(&whole[..1])).await;
    assert_eq!((&loaded.histories[..], loaded.cut), (&whole[..1], Some(runs[1])));
}

pub async fn one_frame_is_loaded_however_large(fixture: &Fixture) {
    let (mut writer, runs, _) = three_runs(fixture).await;
    let loaded = writer.load(&runs, None, 0).await;
    assert_eq!((loaded.histories.len(), loaded.cut), (1, Some(runs[0])));
    assert_eq!(loaded.histories[0].frames.len(), 1);
}

pub async fn empty_history_counts_no_bytes(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let (begun, pending) = (fixture.run(0), fixture.run(0));
    writer.open(begun, busy()).await;
    fixture.accept(&fixture.start(pending)).await;
    let loaded = writer.load(&[begun, pending], None, 0).await;
    let lens: Vec<_> = loaded.histories.iter().map(|history| (history.run, history.frames.len())).collect();
    assert_eq!((lens, loaded.cut), (vec![(begun, 1), (pending, 0)], None));
}

pub async fn histories_in_parts_are_the_whole_ones(fixture: &Fixture) {
    let (mut writer, runs, _) = three_runs(fixture).await;
    let whole = load(&mut writer, &runs).await;
    for limit in (0..bytes(&whole)).step_by(40) {
        let mut parts: BTreeMap<RunId, Vec<Frame>> = BTreeMap::new();
        let (mut from, mut after) = (runs[0], None);
        loop {
            let rest: Vec<RunId> = runs.into_iter().filter(|run| *run >= from).collect();
            let loaded = writer.load(&rest, after, limit).await;
            assert!(bytes(&loaded.histories) <= limit || loaded.histories[0].frames.len() == 1);
            let first = loaded.histories.first().and_then(|history| history.frames.first());
            assert!(
                first.is_none_or(|frame| Some(frame.seq) > after),
                "{first:?} does not begin after {after:?}"
            );
            for history in loaded.histories {
                parts.entry(history.run).or_default().extend(history.frames);
            }
            let Some(cut) = loaded.cut else { break };
            (from, after) = (cut, parts.get(&cut).and_then(|frames| frames.last()).map(|frame| frame.seq));
        }
        let parts: Vec<_> = parts.into_iter().map(|(run, frames)| RunHistory { run, frames }).collect();
        assert_eq!(parts, whole, "{limit} bytes at a time");
    }
}

pub async fn rest_of_a_history_is_that_of_the_first_run_alone(fixture: &Fixture) {
    let (mut writer, runs, _) = three_runs(fixture).await;
    let whole = load(&mut writer, &runs).await;
    let loaded = writer.load(&runs, Some(EventSeq::FIRST), MANY_BYTES).await;
    assert_eq!(loaded.histories[0].frames, whole[0].frames[1..]);
    assert_eq!(loaded.histories[1..], whole[1..]);
    // Nothing is left of the history
    let loaded = writer.load(&runs[..1], Some(EventSeq::new(2)), MANY_BYTES).await;
    assert_eq!(loaded.histories, [RunHistory { run: runs[0], frames: Vec::new() }]);
}

pub async fn rest_of_a_history_begins_with_the_first_frame_after_an_event(fixture: &Fixture) {
    // Given a run whose frames begin at its events 1, 2 and 4, and that has six events
    let (mut writer, runs, _) = three_runs(fixture).await;
    let run = &runs[2..];
    for (after, expected) in
        [(1, &[2, 4][..]), (2, &[4]), (3, &[4]), (4, &[]), (5, &[]), (6, &[]), (i32::MAX as u32, &[])]
    {
        let loaded = writer.load(run, Some(EventSeq::new(after)), MANY_BYTES).await;
        let seqs = loaded.histories[0].frames.iter().map(|frame| frame.seq.get());
        assert_eq!((seqs.collect::<Vec<_>>().as_slice(), loaded.cut), (expected, None), "after {after}");
    }
}

pub async fn recovery_lists_busy_and_stalled_runs_only(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let (one, other) = (fixture.run(0), fixture.run(1));
    writer.open(one, busy()).await;
    writer.open(other, stalled()).await;
    writer.open(fixture.run(0), parked(None)).await;
    writer.open(fixture.run(0), parked(Some(DEADLINE))).await;
    writer.open(fixture.run(0), paused(Some(DEADLINE))).await;
    writer.open_and_close(fixture.run(0)).await;
    fixture.accept(&fixture.start(fixture.run(0))).await;

    assert_eq!(writer.unparked().await, [one, other]);
}

pub async fn recovery_lists_runs_of_the_shards_asked_for_only(fixture: &Fixture) {
    let mut one = fixture.claim(2, LONG).await;
    let mut other = fixture.claim(2, LONG).await;
    let (run, foreign) = (fixture.run(0), fixture.run(3));
    one.open(run, busy()).await;
    other.open(foreign, busy()).await;
    assert_eq!(one.unparked().await, [run]);
    assert_eq!(other.unparked().await, [foreign]);
}

pub async fn recovery_is_paged_through_all_shards(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    // Given busy runs and, between them, runs that have not begun
    let mut runs = Vec::new();
    for number in 0..7 {
        let (pending, busy_run) = (fixture.run(number % SHARDS), fixture.run(number % SHARDS));
        fixture.accept(&fixture.start(pending)).await;
        writer.open(busy_run, busy()).await;
        runs.push(busy_run);
    }
    let place = |run: &RunId| (run.shard(), *run);
    runs.sort_unstable_by_key(place);

    // Then pages of any size, of which some may be empty, hold each busy run once
    for limit in 1..=15 {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = writer.unparked_page(after, limit).await;
            assert!(page.runs.len() <= limit as usize);
            found.extend(page.runs);
            let Some(cut) = page.cut else { break };
            assert!(Some(place(&cut)) > after.as_ref().map(place), "the next page begins later");
            after = Some(cut);
        }
        assert_eq!(found, runs, "{limit} at a time");
    }
}

pub async fn run_that_began_is_busy_without_another_row(fixture: &Fixture) {
    // Given a pending run whose row says what it waits for
    let (mut writer, run, start) = fixture.submitted_run().await;
    let waiting_on = Some("a worker that has its workflow".to_owned());
    let pending = OpenRow { state: OpenState::Pending, wake_at: None, waiting_on, waits: None };
    writer.write(writer.draft().update(run, pending.clone())).await;
    assert_eq!((fixture.open_row(run).await, writer.unparked().await), (Some(pending), vec![]));

    // When its start is consumed, by an append without a row for it
    writer.write(writer.draft().frame(run, 2).consume(&start)).await;

    // Then it is busy until a row says otherwise
    assert_eq!((fixture.open_row(run).await, writer.unparked().await), (Some(busy()), vec![run]));
    writer.write(writer.draft().event(run).update(run, parked(None))).await;
    assert_eq!((fixture.open_row(run).await, writer.unparked().await), (Some(parked(None)), vec![]));
}

pub async fn run_that_parked_is_not_recovered(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    writer.write(writer.draft().event(run).update(run, parked(None))).await;
    assert_eq!(writer.unparked().await, []);
    writer.write(writer.draft().event(run).update(run, stalled())).await;
    assert_eq!(writer.unparked().await, [run]);
    writer.write(writer.draft().event(run).close(run)).await;
    assert_eq!(writer.unparked().await, []);
}

pub async fn due_runs_are_ordered_by_deadline_after_a_mark_and_up_to_a_time(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let mut marks = [4, 2, 3, 1].map(|offset| mark(DEADLINE + offset, fixture.run(offset as u16 % SHARDS)));
    for (mark, row) in marks.iter().zip([parked, paused].into_iter().cycle()) {
        writer.open(mark.run, row(Some(mark.wake_at.as_micros()))).await;
    }
    marks.sort_by_key(|mark| mark.wake_at);
    assert_eq!(due(&mut writer, None, DEADLINE + 10, 10).await, marks);
    assert_eq!(due(&mut writer, Some(marks[0]), DEADLINE + 3, 10).await, marks[1..3]);
}

pub async fn due_runs_with_one_deadline_are_paged_without_loss(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let mut runs: Vec<_> = (0..7).map(|n| fixture.run(n % SHARDS)).collect();
    for run in &runs {
        writer.open(*run, parked(Some(DEADLINE))).await;
    }
    runs.sort_unstable();

    let marks = all_pages(2, async |after| due(&mut writer, after, DEADLINE, 2).await).await;
    assert_eq!(marks, runs.into_iter().map(|run| mark(DEADLINE, run)).collect::<Vec<_>>());
}

pub async fn run_without_a_deadline_is_never_due(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    writer.open(fixture.run(0), parked(None)).await;
    let until = Timestamp::MAX_DEADLINE.as_micros();
    assert_eq!(due(&mut writer, None, until, 10).await, []);
}

pub async fn run_is_due_only_while_it_is_parked_and_at_its_last_deadline(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    writer.open(run, parked(Some(DEADLINE))).await;
    assert_eq!(due(&mut writer, None, DEADLINE, 10).await, [mark(DEADLINE, run)]);
    writer.write(writer.draft().event(run).update(run, busy())).await;
    assert_eq!(due(&mut writer, None, DEADLINE, 10).await, []);
    writer.write(writer.draft().event(run).update(run, parked(Some(DEADLINE + 5)))).await;
    assert_eq!(due(&mut writer, None, DEADLINE + 4, 10).await, []);
    assert_eq!(due(&mut writer, None, DEADLINE + 5, 10).await, [mark(DEADLINE + 5, run)]);
    writer.write(writer.draft().event(run).close(run)).await;
    assert_eq!(due(&mut writer, None, DEADLINE + 5, 10).await, []);
}

pub async fn due_runs_are_of_the_shards_asked_for_only(fixture: &Fixture) {
    let mut writer = fixture.claim(2, LONG).await;
    let mut other = fixture.claim(2, LONG).await;
    other.open(fixture.run(3), parked(Some(DEADLINE))).await;
    assert_eq!(due(&mut writer, None, DEADLINE, 10).await, []);
}

pub async fn heartbeat_tells_of_deadlines_in_its_window(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    writer.open(run, parked(Some(DEADLINE))).await;
    let passed = Some(mark(DEADLINE, run));
    for (due_after, until, is_due) in
        [(None, DEADLINE - 1, false), (None, DEADLINE, true), (passed, DEADLINE + 1, false)]
    {
        let due_until = Timestamp::from_micros(until);
        let heartbeat = LeaseHeartbeat { due_after, due_until, ..writer.lease_heartbeat() };
        assert_eq!(writer.look(heartbeat).await.due, is_due, "after {due_after:?} until {due_until}");
    }
}
