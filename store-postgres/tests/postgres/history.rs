//! How people see events: the view `history` shows each kind with its fields, and payloads as `jsonb`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use expect_test::expect_file;
use pgworkflows_core::bytes::Bytes;
use pgworkflows_core::history::{Event, LAYOUTS};
use pgworkflows_core::payload::{Encoding, Payload};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::Row;

use crate::bodies::*;
use crate::support::*;

const MIGRATION: &str = include_str!("../../migrations/0004_history.sql");
const GUIDES: [&str; 2] =
    [include_str!("../../../docs/reading-histories.md"), include_str!("../../../docs/operating.md")];

fn stored(payload: &Payload) -> Vec<u8> {
    let bytes = byte_string(payload.bytes());
    match payload.encoding() {
        Encoding::CBOR => completed(&bytes),
        other => completed(&[&[0x82, 0x18, other.number()], &bytes[..]].concat()),
    }
}

/// What the database makes of events with these names and bodies.
async fn decoded(world: &World, events: impl IntoIterator<Item = (&str, Vec<u8>)>) -> Vec<Value> {
    let events = events.into_iter().map(|(name, body)| (name.to_owned(), body));
    let texts = decoded_texts(world, events).await;
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

async fn decoded_texts(world: &World, events: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<String> {
    let (names, bodies): (Vec<String>, Vec<Vec<u8>>) = events.into_iter().unzip();
    let sql = "select pgworkflows.event_data(e.name, e.body)::text
               from unnest($1::text[], $2::bytea[]) with ordinality e (name, body, number) order by e.number";
    let query = sqlx::query_scalar(sql).bind(&names).bind(&bodies);
    query.fetch_all(&mut world.connection().await).await.unwrap()
}

/// What the database makes of results of an activity.
async fn results(world: &World, bodies: impl IntoIterator<Item = Vec<u8>>) -> Vec<Value> {
    decoded(world, bodies.into_iter().map(|body| ("activity.completed", body))).await
}

#[test]
fn schema_knows_the_code_and_the_fields_of_every_event() {
    // The words of the migration for the types of fields
    let word = |ty: &str| match &*ty.replace(' ', "") {
        "Name" | "String" => "text",
        "CommandId" | "LeaseId" | "u32" => "number",
        "Option<ExecutorId>" => "number?",
        "Option<RunId>" => "uuid?",
        "Option<CommandId>" | "Option<u32>" => "number?",
        "ChildPolicy" | "Option<GivenUp>" => "text?",
        "Recipient" => "recipient",
        "MessageId" | "RunId" => "uuid",
        "Option<ChainLink>" => "link?",
        "Option<Box<RunRetry>>" => "runretry?",
        "KnownMessages" => "hex",
        "Option<Box<TraceContext>>" | "Option<LeftMessages>" => "hex?",
        "Timestamp" => "time",
        "Payload" => "payload",
        "Option<Payload>" => "payload?",
        "Failure" => "failure",
        "Outcome" => "outcome",
        "ActivityOptions" => "options?",
        "Option<String>" => "text?",
        "Option<Timestamp>" => "time?",
        "Vec<String>" => "text[]?",
        "Attributes" => "map?",
        "Vec<Uncompensated>" => "uncompensated[]?",
        other => panic!("`event_data` does not know fields of type {other}"),
    };
    let lines = |begin, end| MIGRATION.split_once(begin).unwrap().1.split_once(end).unwrap().0.trim_end();
    let layouts = LAYOUTS.iter().map(|(_, name, version, fields)| {
        let fields: String = fields.iter().map(|(field, ty)| format!(" {field} {}", word(ty))).collect();
        format!("        when '{name}' then '{version}{fields}'\n")
    });
    let layouts: String = layouts.collect();
    assert_eq!(
        lines("case p_name\n", "-- What is no event"),
        layouts.trim_end(),
        "write the lines on the right into the migration"
    );
    let names = LAYOUTS.iter().map(|(code, name, ..)| format!("                when {code} then '{name}'\n"));
    let names: String = names.chain(["                else 'kind-' || v_value".to_owned()]).collect();
    assert_eq!(
        lines("name := case v_value\n", "end;"),
        names,
        "write the lines on the right into the migration"
    );
}

#[tokio::test]
async fn every_kind_of_event_is_shown_with_its_fields() {
    // Given a log with every kind of event: in one frame, in several, and each in a frame of its own
    let world = World::new().await;
    let mut writer = world.writer().await;
    let events = golden();
    let run_of = |length: usize| (length, world.run(length as u16 % 4));
    let runs = [events.len(), 7, 1].map(run_of);
    let since = |index: usize| [0, 7_000_000, -250_000][index % 3];
    let mut batch = writer.batch();
    for (length, run) in runs {
        for (number, part) in events.chunks(length).enumerate() {
            let from = number * length;
            let parts = part.iter().zip(from..);
            // The first event's time is the frame's.
            let parts = parts.map(|((_, name, body), index)| {
                (*name, if index == from { 0 } else { since(index) }, &body[..])
            });
            let body = frame_body(parts.collect::<Vec<_>>().into_iter());
            batch = batch.frame(run, from as u32 + 1, part.len() as u32, body.into());
        }
    }
    let began = batch.append.frames[0].at.as_micros();
    let frames = batch.append.frames.clone();
    writer.append(batch).await.unwrap();

    for (length, run) in runs {
        // When a person reads the history
        let rows = sqlx::query(
            "select name, jsonb_pretty(data), body_bytes, seq, (extract(epoch from at) * 1000000)::bigint, position
             from pgworkflows.history where run_id = $1::uuid order by seq",
        )
        .bind(run.to_string())
        .fetch_all(&mut world.connection().await)
        .await
        .unwrap();

        // Then each event has its number, its time and all of its fields by their names, and their values are these
        let (mut text, mut at) = (String::new(), began);
        let mut shown = BTreeMap::<&str, BTreeSet<String>>::new();
        let first: i64 = rows[0].get(5);
        assert_eq!(rows.len(), events.len());
        for (((title, name, body), row), index) in events.iter().zip(&rows).zip(0..) {
            assert_eq!((row.get(0), row.get(2)), (name.to_string(), i32::try_from(body.len()).unwrap()));
            at = if index % length == 0 { began } else { at + since(index) };
            assert_eq!((row.get(3), row.get(4)), (index as i32 + 1, at), "{title} of frames of {length}");
            assert_eq!(row.get::<i64, _>(5), first + index as i64);
            let data: &str = row.get(1);
            let fields: Value = serde_json::from_str(data).unwrap();
            // A program that writes an event as JSON shows the same.
            let mut events =
                frames.iter().filter(|frame| frame.run == run).flat_map(|frame| frame.events().unwrap());
            let ours = serde_json::to_value(events.nth(index).unwrap()).unwrap();
            assert!(
                ours["name"] == *name && is_same(&ours["data"], &fields),
                "{title}: {ours:#}\nis not\n{fields:#}"
            );
            shown.entry(name).or_default().extend(fields.as_object().unwrap().keys().cloned());
            text += &format!("# {title}\n{data}\n\n");
        }
        let fields = |(_, name, _, fields): &(u8, &'static str, u64, &[(&str, &str)])| {
            (*name, fields.iter().map(|(field, _)| (*field).to_owned()).collect())
        };
        assert_eq!(shown, LAYOUTS.iter().map(fields).collect());
        assert_eq!(shown.len(), Event::names().count());
        expect_file!["history/events.txt"].assert_eq(&text);
    }
}

/// The values that users have, in the forms in which serde writes them.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    flag: bool,
    signed: (i8, i16, i32, i64),
    unsigned: (u8, u16, u32, u64),
    floats: (f32, f64, f64),
    letter: char,
    text: String,
    unit: (),
    option: Option<i32>,
    list: Vec<Option<u16>>,
    map: BTreeMap<String, Vec<String>>,
    address: IpAddr,
    span: Duration,
    external: [External; 4],
    internal: Internal,
    json: Value,
}

#[derive(Debug, Serialize, Deserialize)]
enum External {
    Unit,
    Newtype(String),
    Tuple(u8, String),
    Struct { content: Option<u64> },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    Struct { content: BTreeMap<String, i64> },
}

prop_compose! {
    fn content()(
        (flag, signed, unsigned, letter) in any::<(bool, (i8, i16, i32, i64), (u8, u16, u32, u64), char)>(),
        (single, double, bits) in any::<(f32, f64, u64)>(),
        (text, option, address, span) in any::<(String, Option<i32>, IpAddr, Duration)>(),
        list in vec(any::<Option<u16>>(), 0..5),
        map in btree_map(any::<String>(), vec(any::<String>(), 0..3), 0..4),
        (newtype, tuple, content) in any::<(String, (u8, String), Option<u64>)>(),
        internal in btree_map(any::<String>(), any::<i64>(), 0..4),
    ) -> Content {
        let any_bits = Some(f64::from_bits(bits)).filter(|float| float.is_finite()).unwrap_or_default();
        let external = [
            External::Unit,
            External::Newtype(newtype),
            External::Tuple(tuple.0, tuple.1),
            External::Struct { content },
        ];
        let json = json!({"text": text, "list": list, "nothing": [{}, [], null]});
        Content {
            flag, signed, unsigned, text, option, list, map, address, span, external, json,
            floats: (single, double, any_bits), unit: (), internal: Internal::Struct { content: internal },
            // `jsonb` does not have it.
            letter: if letter == '\0' { '0' } else { letter },
        }
    }
}

/// Whether two values are the same, with whole floats as integers: `jsonb` has one kind of number.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| is_same(one, other)))
        }
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            one.as_f64() == other.as_f64()
        }
        (one, other) => one == other,
    }
}

#[tokio::test]
async fn payload_is_shown_as_serde_json_writes_its_value() {
    let world = World::new().await;
    let mut runner = TestRunner::deterministic();
    let values: Vec<Content> = (0..300).map(|_| content().new_tree(&mut runner).unwrap().current()).collect();
    let cbor = values.iter().map(|value| Payload::encode(value).unwrap());
    let json = values.iter().map(|value| Payload::from_json(json!(value)).unwrap());
    let payloads: Vec<Payload> = cbor.chain(json).collect();
    let shown = results(&world, payloads.iter().map(stored)).await;
    for (value, shown) in values.iter().chain(&values).zip(&shown) {
        let expected = json!({"id": 7, "result": value});
        assert!(is_same(shown, &expected), "{shown:#}\nis not\n{expected:#}");
    }
}

#[tokio::test]
async fn large_payloads_are_shown_whole() {
    let world = World::new().await;
    let text = "ä \"quoted\" text. ".repeat(3000);
    let map: BTreeMap<String, usize> = (0..5000).map(|number| (format!("key {number}"), number)).collect();
    let value = json!({"text": text, "map": map, "list": vec![1; 10_000]});
    let body = stored(&Payload::encode(&value).unwrap());
    assert_eq!(results(&world, [body]).await, [json!({"id": 7, "result": value})]);
}

#[tokio::test]
async fn values_that_jsonb_cannot_hold_are_objects() {
    let world = World::new().await;
    // CBOR in hexadecimal, from RFC 8949 where it has an example, and what is shown
    let cases = [
        ("f97e00", json!({"$float": "NaN"})),
        ("fa7f800000", json!({"$float": "Infinity"})),
        ("fbfff0000000000000", json!({"$float": "-Infinity"})),
        ("f98000", json!(0)),
        ("f90001", json!(5.960464477539063e-8)),
        ("f97bff", json!(65504)),
        ("fa7f7fffff", json!(3.4028234663852886e38)),
        ("fa00000001", json!(1.401298464324817e-45)),
        ("fb0000000000000001", json!(5e-324)),
        ("fb7fefffffffffffff", json!(f64::MAX)),
        ("1bffffffffffffffff", json!(u64::MAX)),
        ("3b7fffffffffffffff", json!(i64::MIN)),
        ("c249010000000000000000", json!(18446744073709551616_f64)),
        ("c349010000000000000000", json!(-18446744073709551617_f64)),
        ("c240", json!(0)),
        (
            "c258180000000000000000 00000000000000000000000000000000",
            json!({"$tag": 2, "value": "A".repeat(32)}),
        ),
        ("c1fb41d452d9ec200000", json!({"$tag": 1, "value": 1363896240.5})),
        ("dbffffffffffffffff82f4f5", json!({"$tag": u64::MAX, "value": [false, true]})),
        ("4401020304", json!("AQIDBA==")),
        ("5f42010243030405ff", json!("AQIDBAU=")),
        ("7f657374726561646d696e67ff", json!("streaming")),
        ("9f018202039f0405ffff", json!([1, [2, 3], [4, 5]])),
        ("bf61610161629f0203ffff", json!({"a": 1, "b": [2, 3]})),
        ("a201020304", json!({"$map": [[1, 2], [3, 4]]})),
        ("a3616101616282010205f6", json!({"$map": [["a", 1], ["b", [1, 2]], [5, null]]})),
        ("82a2616101616102a1616103", json!([{"$map": [["a", 1], ["a", 2]]}, {"a": 3}])),
        ("a2a1020361788080", json!({"$map": [[{"$map": [[2, 3]]}, "x"], [[], []]]})),
        ("a1610061 61", json!({"$map": [[{"$text": "AA=="}, "a"]]})),
        ("63610062", json!({"$text": "YQBi"})),
        ("63eda080", json!({"$text": "7aCA"})),
        ("62c080", json!({"$text": "wIA="})),
        ("64f0908591", json!("\u{10151}")),
        ("6722 5c0a7fc3bc2f", json!("\"\\\n\u{7f}ü/")),
        ("f7", json!({"$simple": 23})),
        ("f8ff", json!({"$simple": 255})),
        ("f0", json!({"$simple": 16})),
    ];
    let body = |cbor: &str| completed(&byte_string(&from_hex(&cbor.replace(' ', ""))));
    let shown = results(&world, cases.iter().map(|(cbor, _)| body(cbor))).await;
    for ((cbor, expected), shown) in cases.iter().zip(&shown) {
        assert!(is_same(&shown["result"], expected), "{cbor}: {shown} is not {expected}");
    }
}

#[tokio::test]
async fn json_that_jsonb_refuses_is_shown_as_text() {
    let world = World::new().await;
    let valid = [
        r#" {"a": [1, 2.5e3, -0.1E-2, "\u00e9\"\\\/\n", true, false, null], "b": {}, "c": [ ]} "#,
        r#""\ud83d\ude00 \\u0000 ü""#,
        "\t5\r\n",
    ];
    let refused = [
        r#""\u0000""#,
        r#""\ud83d""#,
        r#""\q""#,
        "\"\t\"",
        "\"\n\"",
        "[1 2]",
        "[1,]",
        "{1:2}",
        r#"{"a":}"#,
        r#"["a""b"]"#,
        "01",
        "1.",
        "-",
        "",
        "truefalse",
        "tr ue",
        "\u{1}",
        "[\u{2}]",
        "1e1000",
        "[[]",
    ];
    let deep = "[".repeat(300) + &"]".repeat(300);
    let refused: Vec<&str> = refused.into_iter().chain([&*deep]).collect();
    let body =
        |text: &&str| stored(&Payload::from_parts(Encoding::JSON, Bytes::copy_from_slice(text.as_bytes())));
    let shown = results(&world, valid.iter().chain(&refused).map(body)).await;
    let (shown, shown_refused) = shown.split_at(valid.len());
    for (text, shown) in valid.iter().zip(shown) {
        let expected: Value = serde_json::from_str(text).unwrap();
        assert!(is_same(&shown["result"], &expected), "{shown} is not {expected}");
    }
    for (text, shown) in refused.iter().zip(shown_refused) {
        assert_eq!(shown["result"], json!({"$json": text}));
    }
    let other = Payload::from_parts(Encoding::from_number(200), Bytes::from_static(b"secret"));
    assert_eq!(results(&world, [stored(&other)]).await[0]["result"], json!({"$encoding": 200, "bytes": 6}));
}

/// Names and bodies of events, with the error that is shown, and the fields if there are any.
const DAMAGED: &[(&str, &str, &str, &str)] = &[
    ("run.renamed", "820103", "an event that this schema does not know, at byte 0", "[1, 3]"),
    ("timer.fired", "820203", "version 2, which this schema does not know, at byte 1", "[2, 3]"),
    ("timer.fired", "83010361", "1 more fields than this schema knows, at byte 3", ""),
    ("timer.fired", "83010305", "1 more fields than this schema knows, at byte 3", "[1, 3, 5]"),
    ("timer.fired", "8101", "field `id` is missing, at byte 2", "[1]"),
    ("timer.fired", "82016161", "not of type `number`, at byte 3", r#"[1, "a"]"#),
    ("timer.fired", "82010300", "1 bytes too many, at byte 3", ""),
    ("timer.fired", "", "cut short, at byte 0", ""),
    ("timer.fired", "82", "cut short, at byte 1", ""),
    ("timer.fired", "8001", "not an array of fields, at byte 0", ""),
    ("run.terminated", "8401f6609bffffffffffffffff", "field `message` is missing, at byte 2", ""),
    ("timer.fired", "82011b00", "cut short in a head, at byte 3", ""),
    ("timer.fired", "82011c", "a reserved head, at byte 3", ""),
    ("timer.fired", "9f0103ff", "not an array of fields, at byte 0", "[1, 3]"),
    ("activity.failed", "8301039f616160ff", "an indefinite length, at byte 4", r#"[1, 3, ["a", ""]]"#),
    (
        "run.cancelled",
        "8301f69bffffffffffffffff",
        "cut short: 18446744073709551615 items announced, 0 bytes left, at byte 12",
        "",
    ),
    ("run.stalled", "82017a7fffffff61", "cut short: 2147483647 bytes announced, 1 left, at byte 7", ""),
    (
        "run.stalled",
        "82017bffffffffffffffff",
        "cut short: 18446744073709551615 bytes announced, 0 left, at byte 11",
        "",
    ),
    ("run.completed", "8201420102", "1 bytes too many in the payload, at byte 4", r#"[1, "AQI="]"#),
    ("run.completed", "820144bf6161", "cut short: 4 bytes announced, 3 left, at byte 3", ""),
    ("run.completed", "820143bf6161", "cut short, at byte 6", r#"[1, "v2Fh"]"#),
    ("run.completed", "820144bf6161ff", "a break instead of a value, at byte 7", r#"[1, "v2Fh/w=="]"#),
    ("run.completed", "820142f818", "a reserved simple value, at byte 5", r#"[1, "+Bg="]"#),
    ("run.completed", "820183010203", "3 items instead of 2, at byte 3", "[1, [1, 2, 3]]"),
    ("run.ending", "82018103", "outcome 3, which this schema does not know, at byte 4", "[1, [3]]"),
    ("cancel.requested", "82014101", "1 bytes instead of 16, at byte 3", r#"[1, "AQ=="]"#),
];

#[tokio::test]
async fn a_body_that_is_not_the_event_is_an_error_with_its_place() {
    let world = World::new().await;
    let events = DAMAGED.iter().map(|(name, hex, ..)| (*name, from_hex(hex)));
    let shown = decoded(&world, events).await;
    for ((name, hex, error, fields), shown) in DAMAGED.iter().zip(&shown) {
        let mut expected = json!({"error": error, "bytes": hex.len() / 2});
        if !fields.is_empty() {
            expected["fields"] = serde_json::from_str(fields).unwrap();
        }
        assert_eq!(shown, &expected, "{name} {hex}");
    }
}

#[tokio::test]
async fn payload_of_256_levels_is_shown_and_a_deeper_one_is_an_error() {
    let world = World::new().await;
    let nested = |depth: usize| {
        let payload = [&vec![0x81; depth][..], &[1]].concat();
        ("activity.completed".to_owned(), completed(&byte_string(&payload)))
    };
    let shown = decoded_texts(&world, [256, 257, 5000].map(nested)).await;
    assert_eq!(shown[0], format!("{{\"id\": 7, \"result\": {}1{}}}", "[".repeat(256), "]".repeat(256)));
    for shown in &shown[1..] {
        assert!(shown.contains("\"error\": \"more than 256 levels, at byte 265\""), "{shown}");
    }
}

#[tokio::test]
async fn no_body_fails_a_query_however_damaged() {
    let world = World::new().await;
    // Every beginning of every body is an error.
    let cut = golden().into_iter().flat_map(|(_, name, body)| {
        (0..body.len()).map(move |length| (name, body[..length].to_vec())).collect::<Vec<_>>()
    });
    let cut: Vec<_> = cut.collect();
    for (shown, (name, body)) in decoded(&world, cut.clone()).await.iter().zip(&cut) {
        assert_eq!(shown["bytes"], json!(body.len()), "{name} {body:x?}: {shown}");
    }

    // Damaged bodies, and events with damaged payloads
    let mut runner = TestRunner::deterministic();
    let values = (0..20).map(|_| content().new_tree(&mut runner).unwrap().current());
    let payloads: Vec<Payload> = values
        .flat_map(|value| [Payload::encode(&value).unwrap(), Payload::from_json(json!(value)).unwrap()])
        .collect();
    let mut events = Vec::new();
    for _ in 0..30 {
        for (_, name, body) in golden() {
            events.push((name, damaged(&body, &mut runner)));
        }
        for payload in &payloads {
            let bytes = Bytes::from(damaged(payload.bytes(), &mut runner));
            events.push(("activity.completed", stored(&Payload::from_parts(payload.encoding(), bytes))));
        }
    }
    // As keys, because `jsonb` has larger numbers than `serde_json`.
    let sql = "select array(select jsonb_object_keys(d.data)), (d.data->>'bytes')::int
               from unnest($1::text[], $2::bytea[]) with ordinality e (name, body, number)
               cross join lateral (select pgworkflows.event_data(e.name, e.body) as data offset 0) d
               order by e.number";
    let (names, bodies): (Vec<_>, Vec<_>) = events.iter().cloned().unzip();
    let query = sqlx::query(sql).bind(&names).bind(&bodies);
    let rows = query.fetch_all(&mut world.connection().await).await.unwrap();
    assert_eq!(rows.len(), events.len());
    for (row, (name, body)) in rows.iter().zip(&events) {
        let (keys, bytes): (Vec<String>, Option<i32>) = (row.get(0), row.get(1));
        let is_error = keys.iter().any(|key| key == "error") && bytes == i32::try_from(body.len()).ok();
        let layout = LAYOUTS.iter().find(|(_, known, ..)| known == name).unwrap();
        let is_field = |key: &String| layout.3.iter().any(|(field, _)| field == key);
        assert!(is_error || keys.iter().all(is_field), "{name} {body:x?}: {keys:?}");
    }
}

#[tokio::test]
async fn queries_of_the_guides_can_be_run() {
    let world = World::new().await;
    let blocks = GUIDES.iter().flat_map(|guide| guide.split("```sql\n").skip(1));
    let queries: Vec<&str> = blocks.filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    assert!(queries.len() >= 4);
    for query in queries {
        sqlx::raw_sql(query).fetch_all(&mut world.connection().await).await.unwrap();
    }
}
