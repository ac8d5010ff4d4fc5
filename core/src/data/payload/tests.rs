//! Every value that is encoded can be decoded again, or is refused with the field at fault.

#![expect(clippy::disallowed_types, reason = "users' payloads may hold maps and sets of any kind")]

mod zoo;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::net::IpAddr;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::data::limits::PAYLOAD_DEPTH_MAX;

#[track_caller]
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let payload = Payload::encode_readable(value).unwrap();
    assert_eq!(&payload.decode::<T>().unwrap(), value, "{payload:?}");
    // A value that survives `serde_json` alone survives as a payload of JSON as well.
    if let Ok(text) = serde_json::to_string(value)
        && let Ok(read) = serde_json::from_str::<T>(&text)
    {
        let payload = Payload::from_json(text).unwrap();
        assert_eq!(payload.decode::<T>().unwrap(), read, "{payload:?}");
    }
}

#[track_caller]
fn refused<T: Serialize + DeserializeOwned + Debug>(value: &T) -> String {
    Payload::encode_readable(value).unwrap_err().to_string()
}

#[test]
fn addresses_in_tagged_types_survive() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Happened {
        Login { from: IpAddr, seen: HashMap<u32, String> },
    }
    let seen = HashMap::from([(7, "here".to_owned())]);
    survives(&Happened::Login { from: [10, 0, 0, 1].into(), seen });
}

#[test]
fn number_of_128_bits_in_a_tagged_type_is_refused_with_its_path() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Order {
        lines: Vec<Line>,
    }
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Line {
        Item { price: u128 },
    }
    let error = refused(&Order { lines: vec![Line::Item { price: 1 }] });
    assert!(error.contains("can be encoded, but not be read again"), "{error}");
    assert!(error.contains("`lines[0].price`: it has 128 bits"), "{error}");
    survives(&u128::MAX);
    survives(&i128::MIN);
}

#[test]
fn value_that_serde_writes_but_cannot_read_is_refused() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Uneven {
        inner: Skipped,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Skipped {
        #[serde(skip_serializing)]
        _secret: String,
    }
    let error = refused(&Uneven { inner: Skipped { _secret: "x".to_owned() } });
    assert!(error.contains("`inner`: missing field `_secret`"), "{error}");
}

#[test]
fn value_that_cannot_be_encoded_is_refused_with_its_path() {
    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    enum Kind {
        Timed { at: BTreeMap<u8, (u8, std::time::SystemTime)> },
    }
    let before_the_epoch = std::time::UNIX_EPOCH - std::time::Duration::from_secs(1);
    let error = refused(&Kind::Timed { at: BTreeMap::from([(3, (0, before_the_epoch))]) });
    assert!(error.contains("`Timed.at.3[1]`: "), "{error}");
}

#[test]
fn wrong_bytes_are_refused_with_the_path() {
    #[derive(Debug, Serialize, Deserialize)]
    enum Drawing {
        Points { of: Vec<(u8, u8)> },
    }
    let wrong = Payload::encode(&serde_json::json!({ "Points": { "of": [[1, 2], [3, "four"]] } })).unwrap();
    let error = wrong.decode::<Drawing>().unwrap_err().to_string();
    assert!(error.contains("`Points.of[1][1]`: invalid type: string, expected integer"), "{error}");
    let longer = Payload::encode(&[(1, 2, 3)]).unwrap();
    let error = longer.decode::<Vec<(u8, u8)>>().unwrap_err().to_string();
    assert!(error.contains("`[0]`: it has more items than the type takes"), "{error}");
    let followed = Payload::from_parts(Encoding::CBOR, Bytes::from_static(&[1, 2, 3]));
    let error = followed.decode::<u8>().unwrap_err().to_string();
    assert!(error.contains("2 more bytes follow the value"), "{error}");
    assert!(format!("{followed:?}").contains("3 bytes of CBOR"));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Chain {
    End,
    Next(Box<Chain>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    End,
    Next { next: Box<Internal> },
}

/// Wraps `end` `levels` times.
fn nested<T>(end: T, levels: usize, next: impl Fn(Box<T>) -> T) -> T {
    (0..levels).fold(end, |inner, _| next(Box::new(inner)))
}

#[test]
fn nesting_up_to_the_limit_survives_and_beyond_it_is_refused() {
    survives(&nested(Chain::End, PAYLOAD_DEPTH_MAX, Chain::Next));
    let error = refused(&nested(Chain::End, PAYLOAD_DEPTH_MAX + 1, Chain::Next));
    assert!(error.contains("nested more than 128 deep"), "{error}");
    // A tagged type is buffered at every level.
    survives(&nested(Internal::End, PAYLOAD_DEPTH_MAX - 1, |next| Internal::Next { next }));
    let error = refused(&nested(Internal::End, PAYLOAD_DEPTH_MAX, |next| Internal::Next { next }));
    assert!(error.contains("next.next.next"), "{error}");
}

#[test]
fn bytes_nested_too_deeply_are_an_error_and_not_a_crash() {
    for head in [&[0x81][..], &[0xa1, 0x61, b'a'], &[0xc1], &[0x9f]] {
        let bytes = [&head.repeat(100_000)[..], &[0xf6]].concat();
        let payload = Payload::from_parts(Encoding::CBOR, bytes.into());
        let error = payload.decode::<serde::de::IgnoredAny>().unwrap_err().to_string();
        assert!(error.contains("nested more than 256 deep"), "{error:.200}");
        assert!(format!("{payload:?}").contains("bytes of CBOR"));
    }
}

#[test]
fn some_of_nothing_is_refused_with_its_path() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Patch {
        name: Option<Option<String>>,
        done: Option<Nothing>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Nothing;
    #[derive(Debug, Serialize, Deserialize)]
    enum Change {
        One(Patch),
    }
    survives(&[None, Some(Some("Ada".to_owned()))].map(|name| Patch { name, done: None }));
    survives(&Some(vec![()]));
    let error = refused(&[Patch { name: Some(None), done: None }]);
    assert!(error.contains("`[0].name`: a `Some` of nothing would be read as `None`"), "{error}");
    let error = refused(&Change::One(Patch { name: None, done: Some(Nothing) }));
    assert!(error.contains("`One.done`: a `Some` of nothing"), "{error}");
    assert!(refused(&Some(Some(()))).contains("a `Some` of nothing"));
    assert!(refused(&Some(serde_json::Value::Null)).contains("a `Some` of nothing"));
}

#[test]
fn wrong_announced_length_is_refused_with_its_path() {
    #[derive(Debug, Deserialize)]
    struct WrongLength;
    impl Serialize for WrongLength {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut items = serializer.serialize_seq(Some(3))?;
            (0..100).try_for_each(|item| items.serialize_element(&item))?;
            items.end()
        }
    }
    let error = refused(&(1, WrongLength, 2));
    assert!(error.contains("`[1]`: its `Serialize` announces 3 items and writes 100"), "{error}");
}

#[test]
fn indefinite_lengths_of_other_writers_are_read() {
    // {_ "a": [_ 1, 2], "b": (_ "x", "y"), "c": (_ h'01', h'02')}, and below an unregistered tag
    let bytes = b"\xbf\x61a\x9f\x01\x02\xff\x61b\x7f\x61x\x61y\xff\x61c\x5f\x41\x01\x41\x02\xff\xff";
    let payload = Payload::from_parts(Encoding::CBOR, Bytes::from_static(bytes));
    #[derive(Debug, PartialEq, Deserialize)]
    struct Fields {
        a: (u8, u8),
        b: String,
        c: Bytes,
    }
    let fields: Fields = payload.decode().unwrap();
    assert_eq!(fields, Fields { a: (1, 2), b: "xy".to_owned(), c: Bytes::from_static(&[1, 2]) });
    assert_eq!(format!("{payload:?}"), r#"{"a": [1, 2], "b": "xy", "c": 2 bytes}"#);
    let tagged = Payload::from_parts(Encoding::CBOR, Bytes::from_static(b"\xd8\x64\x61x"));
    assert_eq!(tagged.decode::<Option<char>>().unwrap(), Some('x'));
}

#[test]
fn digest_ignores_the_order_of_map_entries() {
    let digest = |text: &str| {
        Payload::encode(&serde_json::from_str::<serde_json::Value>(text).unwrap()).unwrap().canonical_digest()
    };
    assert_eq!(
        digest(r#"{"b": {"y": 1, "x": 2}, "aa": [{"b": 1, "a": 2}]}"#),
        digest(r#"{"aa": [{"a": 2, "b": 1}], "b": {"x": 2, "y": 1}}"#)
    );
    assert_ne!(digest("[1, 2]"), digest("[2, 1]"));
    assert_ne!(digest(r#"{"a": "Acme"}"#), digest(r#"{"a": "Initech"}"#));
}

#[test]
fn digest_is_of_deterministic_cbor() {
    let value = serde_json::json!({ "b": 1.5, "aa": [100_000.5, 1e300], "a": null, "": -1.0 });
    let canonical = tree::canonical(&Payload::encode(&value).unwrap().tree().unwrap());
    // Shorter keys first, each number in its shortest form (RFC 8949 §4.2.1), whole ones as integers
    let expected = b"\xa4\x60\x20\x61a\xf6\x61b\xf9\x3e\x00\x62aa\x82\xfa\x47\xc3\x50\x40\xfb\x7e\x37\xe4\x3c\x88\x00\x75\x9c";
    assert_eq!(canonical, expected);
}

#[test]
fn differences_are_named_without_their_values() {
    let encode = |value: serde_json::Value| Payload::encode(&value).unwrap();
    let ours = encode(serde_json::json!({
        "tags": ["a", "b"], "lines": [{ "price": 1 }, { "price": 2 }], "new": 1, "names": ["x"], "same": [1, 2],
    }));
    let theirs = encode(serde_json::json!({
        "same": [1, 2], "tags": ["b", "a"], "lines": [{ "price": 1 }, { "price": 3 }], "old": 1, "names": ["x", "y"],
    }));
    assert_eq!(
        ours.differences(&theirs),
        [
            "`tags` (the same items in another order)",
            "`lines[1].price`",
            "`new` (only here)",
            "`names` (1 items here, 2 there)",
            "`old` (only there)",
        ]
    );
    assert_eq!(encode(1.into()).differences(&encode(2.into())), ["the whole input"]);
    assert!(ours.differences(&ours).is_empty());
}

#[test]
fn json_is_stored_as_given_and_decoded_as_its_type_requires() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        id: uuid::Uuid,
        at: chrono::DateTime<chrono::Utc>,
        discount: f64,
        counts: BTreeMap<u8, u64>,
    }
    let text = r#" {"discount": 5, "counts": {"7": 1}, "at": "2026-01-01T00:00:00Z",
        "id": "0198c0de-7fff-4000-8000-0123456789ab", "more": null} "#;
    let payload = Payload::from_json(text).unwrap();
    assert_eq!((payload.encoding(), &payload.bytes()[..]), (Encoding::JSON, text.as_bytes()));
    let order: Order = payload.decode().unwrap();
    assert_eq!((order.discount, order.counts), (5.0, BTreeMap::from([(7, 1)])));
    assert_eq!(
        Payload::from_json(payload.to_json().unwrap()).unwrap().decode::<Order>().unwrap().id,
        order.id
    );
    assert_eq!(format!("{:?}", Payload::from_json("[1, 2.5,null]").unwrap()), "[1, 2.5, null]");
}

#[test]
fn wrong_json_is_refused_with_its_place() {
    for (text, place) in [
        ("", "line 1 column 0"),
        ("{\"a\": 1,\n\"b\" 2}", "line 2 column 5"),
        ("[1] 2", "line 1 column 5"),
        ("1e999", "number out of range"),
        (r#""\ud800""#, "line 1 column"),
    ] {
        let error = Payload::from_json(text).unwrap_err().to_string();
        assert!(error.contains(&format!("{} bytes of JSON cannot be read", text.len())), "{error}");
        assert!(error.contains(place), "{error}");
    }
    let wrong = Payload::from_json(r#"{"lines": [{"price": 1}, {"price": "two"}]}"#).unwrap();
    let error = wrong.decode::<BTreeMap<String, Vec<BTreeMap<String, u8>>>>().unwrap_err().to_string();
    assert!(error.contains("`lines[1].price`: invalid type: string, expected u8 at line 1"), "{error}");
}

#[test]
fn json_nested_too_deeply_is_an_error_and_not_a_crash() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(Payload::from_json(nested(127)).is_ok());
    for text in [nested(128), nested(100_000), "[".repeat(100_000), "{\"a\":".repeat(100_000)] {
        let error = Payload::from_json(&text).unwrap_err().to_string();
        assert!(error.contains("JSON may be nested 127 levels deep"), "{error}");
        let payload = Payload::from_parts(Encoding::JSON, text.into());
        assert!(payload.decode::<serde_json::Value>().is_err() && payload.decode::<Internal>().is_err());
        assert!(format!("{payload:?}").contains("bytes of JSON"));
        payload.canonical_digest();
    }
}

#[test]
fn digest_of_json_equals_that_of_the_same_value_in_cbor() {
    let json = |text: &str| Payload::from_json(text).unwrap();
    let value = BTreeMap::from([("rate", 5.0), ("half", 0.5), ("none", -0.0)]);
    let cbor = Payload::encode(&value).unwrap();
    for text in [r#"{"rate":5,"half":0.5,"none":0}"#, r#"{ "half": 5e-1, "none": 0.0, "rate": 5.0 }"#] {
        assert_eq!(json(text).canonical_digest(), cbor.canonical_digest());
        assert!(json(text).differences(&cbor).is_empty());
    }
    assert_ne!(json("5").canonical_digest(), json("\"5\"").canonical_digest());
    assert_eq!(
        json(r#"{"rate": 6}"#).differences(&cbor),
        ["`rate`", "`half` (only there)", "`none` (only there)"]
    );
}

#[test]
fn cbor_that_json_does_not_have_is_converted() {
    let value =
        (f64::NAN, u128::MAX, i128::MIN, i64::MIN, Bytes::from_static(&[1, 2]), BTreeMap::from([(7, ())]));
    let shown = Payload::encode(&value).unwrap().to_json().unwrap().to_string();
    let expected = r#"[null,"340282366920938463463374607431768211455","-170141183460469231731687303715884105728",-9223372036854775808,[1,2],{"7":null}]"#;
    assert_eq!(shown, expected);
    let damaged = Payload::from_parts(Encoding::CBOR, Bytes::from_static(&[0x81]));
    assert!(damaged.to_json().unwrap_err().to_string().contains("1 bytes of CBOR cannot be read"));
}

#[test]
fn unknown_encoding_is_named() {
    let payload = Payload::from_parts(Encoding::from_number(9), Bytes::new());
    for error in [payload.decode::<()>().unwrap_err(), payload.to_json().unwrap_err()] {
        assert!(error.to_string().contains("encoding 9"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        for encoding in [Encoding::CBOR, Encoding::JSON] {
            let payload = Payload::from_parts(encoding, bytes.clone().into());
            let _ = payload.decode::<serde::de::IgnoredAny>();
            let _ = payload.decode::<zoo::Scalars>();
            let _ = payload.to_json();
            let _ = format!("{payload:?}");
            let _ = payload.canonical_digest();
        }
    }

    #[test]
    fn cbor_shown_as_json_is_the_same_value(value in zoo::scalars()) {
        let cbor = Payload::encode(&value).unwrap();
        let json = Payload::from_json(cbor.to_json().unwrap()).unwrap();
        prop_assert_eq!(json.decode::<zoo::Scalars>().unwrap(), value);
        prop_assert_eq!(json.canonical_digest(), cbor.canonical_digest());
    }

    #[test]
    fn plain_values_are_written_as_by_ciborium_alone(value in zoo::scalars()) {
        let mut plain = Vec::new();
        ciborium::into_writer(&value, &mut plain).unwrap();
        prop_assert_eq!(&Payload::encode(&value).unwrap().bytes[..], &plain[..]);
    }
}

#[test]
fn kinds_of_values_are_shown_without_the_values() {
    let kinds = |json: &str| Payload::from_json(json).unwrap().kinds();
    assert_eq!(
        kinds(r#"["secret", 7, 0.5, true, null, [1], {"a": 1}]"#),
        "(text, integer, number, bool, null, array, map)"
    );
    assert_eq!([kinds("[]"), kinds("7"), kinds(r#""secret""#)], ["()", "integer", "text"]);
    assert!(kinds(&format!("[{}0]", "0, ".repeat(99))).ends_with("integer, …)"));
}
