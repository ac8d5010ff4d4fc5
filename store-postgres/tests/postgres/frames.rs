//! Frames, whole and damaged, in the view `history` and in `changes`, which followers read.

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{EventSeq, Position};
use pgworkflows_core::store::Frame;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::bodies::*;
use crate::support::*;

#[derive(Clone, Debug)]
struct AnyFrame {
    seq: i32,
    count: i32,
    position: i64,
    at: &'static str,
    body: Vec<u8>,
}

impl AnyFrame {
    /// A frame from event 5 on, at positions from 10 on.
    fn new(count: i32, body: impl Into<Vec<u8>>) -> Self {
        let position = i64::from(count).saturating_add(9);
        Self { seq: 5, count, position, at: "2026-01-01 12:00:00.5 UTC", body: body.into() }
    }
}

/// An event of a frame: the frame's index, its number, position, name, time in microseconds since 1970, and data.
type Shown = (i64, i32, i64, Option<String>, Option<i64>, Value);

/// What the view makes of frames, whichever numbers they have.
const SHOW_FRAMES: &str = "
    select f.number - 1, e.seq, e.position, e.name,
           case when isfinite(e.at) and extract(year from e.at) < 20000 then (extract(epoch from e.at) * 1000000)::bigint end,
           coalesce(pgworkflows.event_data(e.name, e.body), e.problem)::text
    from unnest($1::int[], $2::int[], $3::bigint[], $4::text[], $5::bytea[])
         with ordinality f (seq, count, position, at, body, number)
    cross join lateral pgworkflows.frame_events(f.seq, f.count, f.position, f.at::timestamptz, f.body) e";

async fn shown(connection: &mut PgConnection, frames: &[AnyFrame]) -> Vec<Shown> {
    let query = sqlx::query(SHOW_FRAMES)
        .bind(frames.iter().map(|frame| frame.seq).collect::<Vec<_>>())
        .bind(frames.iter().map(|frame| frame.count).collect::<Vec<_>>())
        .bind(frames.iter().map(|frame| frame.position).collect::<Vec<_>>())
        .bind(frames.iter().map(|frame| frame.at).collect::<Vec<_>>())
        .bind(frames.iter().map(|frame| &frame.body[..]).collect::<Vec<_>>());
    let rows = query.fetch_all(connection).await.unwrap();
    let data = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), data(row.get(5))))
        .collect()
}

/// Three `timer.fired`, each in six bytes after the array's head: a code, no time, the head of a body, and the body.
const TIMERS: &str = "890d00438201010d00438201020d0043820103";

/// Counts and bodies of frames, how many events are shown, and the problem after them.
const DAMAGED_FRAMES: &[(i32, &str, usize, &str)] = &[
    (0, "80", 0, "it has no event, at byte 0"),
    (0, TIMERS, 0, "it has no event, at byte 0"),
    (-1, TIMERS, 0, "it has no event, at byte 0"),
    (i32::MIN, TIMERS, 0, "it has no event, at byte 0"),
    (i32::MAX, TIMERS, 0, "its last event has no number, at byte 0"),
    (1, "", 0, "cut short, at byte 0"),
    (i32::MAX - 5, TIMERS, 0, "not an array of three items for each event, at byte 0"),
    (i32::MAX - 5, "9b000000017fffffee0d0043820101", 1, "cut short, at byte 15"),
    (2, TIMERS, 0, "not an array of three items for each event, at byte 0"),
    (4, TIMERS, 0, "not an array of three items for each event, at byte 0"),
    (1, "430d0043820101", 0, "not an array of three items for each event, at byte 0"),
    (1, "9bffffffffffffffff", 0, "not an array of three items for each event, at byte 0"),
    (1, "9f0d0043820101ff", 0, "a reserved head, at byte 0"),
    (4, "8c0d00438201010d00438201020d0043820103", 3, "cut short, at byte 19"),
    (2, "860d00438201010d00438201020d0043820103", 1, "6 bytes too many, at byte 9"),
    (1, "830d004382010100", 0, "1 bytes too many, at byte 3"),
    (2, "860d0043820101200043820102", 1, "not a code, at byte 7"),
    (1, "831901000043820101", 0, "not a code, at byte 1"),
    (1, "831b80000000000000010043820101", 0, "not a code, at byte 1"),
    (1, "831c0043820101", 0, "a reserved head, at byte 1"),
    (1, "830d4043820101", 0, "not a difference of time, at byte 2"),
    (1, "830d1b800000000000000043820101", 0, "not a difference of time, at byte 2"),
    (1, "830d1bffff", 0, "cut short, at byte 2"),
    (1, "830d0063820101", 0, "not a body, at byte 3"),
    (1, "830d00438201", 0, "cut short, at byte 3"),
    (1, "830d005a7fffffff", 0, "cut short, at byte 3"),
    (1, "830d005bffffffffffffffff", 0, "cut short, at byte 3"),
    (1, "830d005bffffff", 0, "cut short, at byte 3"),
];

#[tokio::test]
async fn a_frame_that_cannot_be_read_is_an_error_with_its_place() {
    let world = World::new().await;
    let mut connection = world.connection().await;
    let frames: Vec<_> =
        DAMAGED_FRAMES.iter().map(|(count, hex, ..)| AnyFrame::new(*count, from_hex(hex))).collect();
    let all = shown(&mut connection, &frames).await;
    for (index, (count, hex, events, problem)) in (0..).zip(DAMAGED_FRAMES) {
        let rows: Vec<_> = all.iter().filter(|row| row.0 == index).collect();
        let (last, before) = rows.split_last().unwrap();
        assert_eq!(before.len(), *events, "{count} {hex}");
        for (number, row) in (0..).zip(before) {
            assert_eq!(
                (row.1, row.2, row.5["id"].as_i64()),
                (5 + number, 10 + i64::from(number), Some(i64::from(number) + 1))
            );
        }
        // The error has the frame's last position, so that a follower goes on after it.
        let error = format!("the frame of {count} events at event 5: {problem}");
        let position = frames[index as usize].position;
        let expected = (
            index,
            5 + *events as i32,
            position,
            None,
            last.4,
            json!({"error": error, "bytes": hex.len() / 2}),
        );
        assert_eq!(**last, expected, "{count} {hex}");
    }
}

#[tokio::test]
async fn numbers_and_times_that_overflow_fail_no_query() {
    let world = World::new().await;
    let mut connection = world.connection().await;
    let whole = AnyFrame::new(3, from_hex(TIMERS));
    // Numbers and positions that no frame has
    let mut frames: Vec<AnyFrame> =
        [i32::MIN, -1, 0, i32::MAX - 2, i32::MAX].map(|seq| AnyFrame { seq, ..whole.clone() }).into();
    frames.extend([i64::MIN, -1, 0, 2].map(|position| AnyFrame { position, ..whole.clone() }));
    let rows = shown(&mut connection, &frames).await;
    assert_eq!(rows.len(), frames.len());
    for (frame, row) in frames.iter().zip(&rows) {
        let error = row.5["error"].as_str().unwrap();
        assert!(error.ends_with(", at byte 0") && row.2 == frame.position, "{frame:?}: {row:?}");
    }
    // The greatest ones
    let greatest = AnyFrame { position: i64::MAX, seq: i32::MAX - 3, ..whole.clone() };
    let rows = shown(&mut connection, &[greatest]).await;
    let numbers: Vec<_> = rows.iter().map(|row| (row.1, row.2)).collect();
    assert_eq!(numbers, [3, 2, 1].map(|less| (i32::MAX - less, i64::MAX - i64::from(less - 1))));

    // Times that the server cannot have: the events are shown without them
    let since = |micros: i64| {
        frame_body(
            [0, micros, micros, 1]
                .iter()
                .map(|since| ("timer.fired", *since, &[0x82, 1, 7][..]))
                .collect::<Vec<_>>()
                .into_iter(),
        )
    };
    let mut frames = Vec::new();
    for at in [
        "infinity",
        "-infinity",
        "294276-12-31 23:59:59 UTC",
        "4713-01-01 00:00:00 UTC BC",
        "9999-12-31 UTC",
        "0001-01-01 UTC",
    ] {
        for micros in [0, i64::MAX, i64::MIN, 1 << 56, (1 << 56) - 1, -(1 << 56), 1 - (1 << 56)] {
            frames.push(AnyFrame { at, ..AnyFrame::new(4, since(micros)) });
        }
    }
    let rows = shown(&mut connection, &frames).await;
    assert_eq!(rows.len(), 4 * frames.len());
    for row in rows {
        assert_eq!((row.3.as_deref(), &row.5), (Some("timer.fired"), &json!({"id": 7})));
    }
}

#[tokio::test]
async fn a_damaged_frame_hides_no_other_event() {
    // Given a log with a frame that is cut at each of its bytes, each of another run, between whole ones
    let world = World::new().await;
    let mut writer = world.writer().await;
    let whole = timers(1..4);
    let mut batch = writer.batch().frame(world.run(0), 1, 3, whole.clone());
    for length in 0..whole.len() {
        batch = batch.frame(world.run(0), 1, 3, whole.slice(..length));
    }
    let last = world.run(0);
    // And one with an event of a newer release
    let mut newer = whole.to_vec();
    newer.splice(7..8, [0x18, 200]);
    batch = batch.frame(world.run(0), 1, 3, newer.into()).frame(last, 1, 3, whole.clone());
    writer.append(batch).await.unwrap();

    // When people read the history
    let mut connection = world.connection().await;
    let sql =
        "select run_id::text, seq, position, name, data::text from pgworkflows.history order by position";
    let parsed = |text: &str| serde_json::from_str(text).unwrap();
    let seen = |row: &PgRow| (row.get(0), row.get(1), row.get(2), row.get(3), parsed(row.get(4)));
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    let rows: Vec<(String, i32, i64, Option<String>, Value)> = rows.iter().map(seen).collect();
    let data = |from: i64| {
        rows.iter()
            .filter(|row| (from..from + 3).contains(&row.2))
            .map(|row| row.4.clone())
            .collect::<Vec<_>>()
    };
    // Then the events before each cut are shown, and what is wrong
    let ids = [1, 2, 3].map(|id| json!({"id": id}));
    for length in 0..whole.len() {
        let shown = data(4 + 3 * length as i64);
        let events = length.saturating_sub(1) / 6;
        let (error, before) = shown.split_last().unwrap();
        assert_eq!(before, &ids[..events], "{length}");
        assert!(
            error["error"].as_str().unwrap().starts_with("the frame of 3 events at event 1: "),
            "{error}"
        );
        assert_eq!(error["bytes"], length);
    }
    // And all of the others
    assert_eq!(data(1), ids);
    let newer = data(4 + 3 * whole.len() as i64);
    assert_eq!(newer[0], ids[0]);
    assert_eq!(newer[1]["error"], "an event that this schema does not know, at byte 0");
    assert_eq!((newer[1]["fields"].clone(), &newer[2]), (json!([1, 2]), &ids[2]));
    assert!(rows.iter().any(|row| row.3.as_deref() == Some("kind-200")));
    assert_eq!(rows.iter().filter(|row| row.0 == last.to_string()).count(), 3);

    // And a follower sees the same, whatever it asks for at once
    for limit in [1, 2, 5, 1000] {
        let mut followed: Vec<(String, i32, i64, Option<String>, Value)> = Vec::new();
        loop {
            let after = followed.last().map_or(0, |last| last.2);
            let sql = "select run_id::text, seq, position, name, data::text from pgworkflows.changes(0::smallint, $1, $2)";
            let query = sqlx::query(sql).bind(after).bind(limit);
            let next = query.fetch_all(&mut connection).await.unwrap();
            if next.is_empty() {
                break;
            }
            followed.extend(next.iter().map(seen));
        }
        assert_eq!(followed, rows, "{limit} at once");
    }
}

#[tokio::test]
async fn no_frame_fails_a_query_however_damaged() {
    let world = World::new().await;
    let mut runner = TestRunner::deterministic();
    let golden = golden();
    let mut frames = Vec::new();
    for round in 0..400 {
        let events: Vec<_> =
            (0..round % 5 + 1).map(|index| &golden[(7 * round + index) % golden.len()]).collect();
        let events = events.iter().map(|(_, name, body)| (*name, [0, 3, -4000][round % 3], &body[..]));
        let whole = frame_body(events.collect::<Vec<_>>().into_iter());
        let count = (round % 5 + 1) as i32;
        // Every third is damaged in its first bytes: the head, a code, a time, the head of a body.
        let body = match round % 4 {
            0 => whole,
            1 => {
                let (heads, rest) = whole.split_at(whole.len().min(8));
                [damaged(heads, &mut runner), rest.to_vec()].concat()
            }
            _ => damaged(&whole, &mut runner),
        };
        frames.push(AnyFrame::new(count, body));
    }
    let all = shown(&mut world.connection().await, &frames).await;
    let run = world.run(0);
    let mut read = 0;
    for (index, frame) in (0..).zip(&frames) {
        let rows: Vec<_> = all.iter().filter(|row| row.0 == index).collect();
        let is_whole = rows.last().unwrap().3.is_some();
        assert!(rows.len() == frame.count as usize || !is_whole && !rows.is_empty(), "{frame:?}");
        assert!(rows[..rows.len() - 1].iter().all(|row| row.3.is_some()), "{frame:?}");
        // What the library can read has the same names and times. The library does not look into payloads.
        let at = Timestamp::from_micros(1_767_268_800_500_000);
        let (seq, position) = (EventSeq::new(5), Position::new(frame.position as u64));
        let stored =
            Frame { run, seq, count: frame.count as u32, position, at, body: frame.body.clone().into() };
        let Ok(events) = stored.events() else { continue };
        read += 1;
        assert_eq!(rows.len(), events.len());
        for (row, event) in rows.iter().zip(events) {
            assert_eq!((row.1 as u32, row.3.as_deref()), (event.seq.get(), Some(event.event.name())));
            assert!(row.4.is_none_or(|at| at == event.at.timestamp_micros()), "{frame:?}");
        }
    }
    assert!((100..300).contains(&read), "{read} of {} could be read", frames.len());
}

#[tokio::test]
async fn settings_of_a_session_change_nothing() {
    let world = World::new().await;
    let mut connection = world.connection().await;
    let float = ("", "activity.completed", completed(&byte_string(&from_hex("fb3fb999999999999a"))));
    let events: Vec<_> = golden().into_iter().chain([float]).collect();
    let frame = frame_body(events.iter().map(|(_, name, body)| (*name, 86_400_000_001, &body[..])));
    let frames = DAMAGED_FRAMES.iter().map(|(count, hex, ..)| AnyFrame::new(*count, from_hex(hex)));
    let frames: Vec<_> = frames.chain([AnyFrame::new(events.len() as i32, frame)]).collect();
    let usual = shown(&mut connection, &frames).await;
    for settings in [
        "set timezone = 'Asia/Kathmandu'; set datestyle = 'SQL, DMY'; set intervalstyle = 'sql_standard'",
        "set extra_float_digits = -10; set bytea_output = 'escape'; set standard_conforming_strings = off",
        "set search_path = ''; set datestyle = 'German'; set intervalstyle = 'iso_8601'; set jit_above_cost = 0",
    ] {
        sqlx::raw_sql(settings).execute(&mut connection).await.unwrap();
        assert_eq!(shown(&mut connection, &frames).await, usual, "{settings}");
    }
}

#[tokio::test]
async fn parallel_queries_can_read_histories() {
    // Given a log with whole and damaged frames, of which the server reads every part in another process
    let world = World::new().await;
    let mut writer = world.writer().await;
    let events = golden();
    let whole = frame_body(events.iter().map(|(_, name, body)| (*name, 1, &body[..])));
    let mut batch = writer.batch();
    for _ in 0..20 {
        batch = batch.frame(world.run(0), 1, events.len() as u32, whole.clone().into());
        batch = batch.frame(world.run(1), 1, events.len() as u32 + 1, whole.clone().into());
        batch = batch.frame(world.run(2), 1, 3, timers(0..3).slice(..15));
    }
    writer.append(batch).await.unwrap();
    let mut connection = world.connection().await;
    sqlx::raw_sql(
        "set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;
         set parallel_leader_participation = off",
    )
    .execute(&mut connection)
    .await
    .unwrap();

    // When they are counted
    let query = "select count(data), count(name) from pgworkflows.history";
    let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("explain {query}")))
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert!(plan.iter().any(|line| line.contains("Parallel")), "{plan:#?}");
    let counts: (i64, i64) = sqlx::query_as(query).fetch_one(&mut connection).await.unwrap();
    // Then there are all events, and an error for each damaged frame
    let events = 20 * (events.len() as i64 + 2);
    assert_eq!(counts, (events + 40, events));
}

#[tokio::test]
async fn a_follower_misses_no_event_and_sees_none_twice() {
    // Given a shard with frames of several lengths of two runs, and another shard
    let world = World::new().await;
    let mut writer = world.writer().await;
    let [one, other, elsewhere] = [0, 0, 1].map(|shard| world.run(shard));
    let mut expected: Vec<(String, i32, i64)> = Vec::new();
    let mut batch = writer.batch();
    for (number, length) in [3, 1, 7, 2, 1, 5].into_iter().enumerate() {
        let run = [one, other][number % 2];
        let seq = expected.iter().filter(|(seen, ..)| *seen == run.to_string()).count() as u8 + 1;
        batch = batch.frame(run, seq.into(), length, timers(seq..seq + length as u8));
        batch = batch.frame(elsewhere, number as u32 + 1, 1, timers(0..1));
        for seq in seq..seq + length as u8 {
            expected.push((run.to_string(), i32::from(seq), expected.len() as i64 + 1));
        }
    }
    writer.append(batch).await.unwrap();

    // When a follower that has seen any of its events asks for any number of others, then it gets those that follow
    let mut connection = world.connection().await;
    for after in 0..=expected.len() {
        for limit in 0..=9 {
            let sql = "select run_id::text, seq, position, name, data::text, at is not null
                       from pgworkflows.changes(0::smallint, $1, $2)";
            let query = sqlx::query(sql).bind(after as i64).bind(limit as i32);
            let rows = query.fetch_all(&mut connection).await.unwrap();
            let seen = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2)));
            let wanted = &expected[after..(after + limit).min(expected.len())];
            assert_eq!(seen.collect::<Vec<(String, i32, i64)>>(), wanted, "{limit} after {after}");
            for row in &rows {
                let data = format!("{{\"id\": {}}}", row.get::<i32, _>(1));
                assert_eq!((row.get(3), row.get(4), row.get(5)), ("timer.fired", &*data, true));
            }
        }
    }
}
