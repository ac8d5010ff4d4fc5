//! A value of every kind that users have, in every form that serde knows, survives encoding and decoding.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, Wrapping};
use std::ops::{Bound, Range};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use proptest::collection::{btree_map, btree_set, hash_map, hash_set, vec};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::survives;

/// Anything that a user may have as a field.
trait Content: Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned {}

impl<T: Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned> Content for T {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Inner<T> {
    content: T,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair<T>(T, T);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Newtype<T>(T);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent<T> {
    content: T,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Attributes<T> {
    #[serde(rename = "other", alias = "old")]
    renamed: T,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    left_out: Option<T>,
    #[serde(skip)]
    skipped: (),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum External<T> {
    Unit,
    Newtype(T),
    Tuple(T, T),
    Struct { content: T },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal<T> {
    Unit,
    Newtype(Inner<T>),
    Struct { content: T, unit: () },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "content")]
enum Adjacent<T> {
    Unit,
    Newtype(T),
    Tuple(T, T),
    Struct { content: T },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged<T> {
    Struct { content: T, unit: () },
    Tuple(T, T),
    Unit,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat<T> {
    name: String,
    #[serde(flatten)]
    inner: Inner<T>,
    #[serde(flatten)]
    maybe: Option<Other<T>>,
    #[serde(flatten)]
    numbered: HashMap<u32, T>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Other<T> {
    another: T,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FlatSigned<T> {
    #[serde(flatten)]
    numbered: BTreeMap<i64, T>,
}

/// The content in every form that serde knows.
fn survives_in_all_forms<T: Content>(content: T) {
    let [a, b] = [content.clone(), content.clone()];
    let c = || content.clone();
    survives(&content);
    survives(&(Inner { content: c() }, Pair(a, b), Newtype(c()), Transparent { content: c() }, Unit));
    survives(&Attributes { renamed: c(), left_out: None, skipped: () });
    survives(&(
        vec![c()],
        [c(), c()],
        Box::new(c()),
        Some(c()),
        BTreeMap::from([("key", c())].map(|(k, v)| (k.to_owned(), v))),
    ));
    survives(&[
        External::Unit,
        External::Newtype(c()),
        External::Tuple(c(), c()),
        External::Struct { content: c() },
    ]);
    let internal = [
        Internal::Unit,
        Internal::Newtype(Inner { content: c() }),
        Internal::Struct { content: c(), unit: () },
    ];
    survives(&internal);
    survives(&[
        Adjacent::Unit,
        Adjacent::Newtype(c()),
        Adjacent::Tuple(c(), c()),
        Adjacent::Struct { content: c() },
    ]);
    survives(&[Untagged::Struct { content: c(), unit: () }, Untagged::Tuple(c(), c()), Untagged::Unit]);
    let flat = Flat {
        name: "flat".to_owned(),
        inner: Inner { content: c() },
        maybe: Some(Other { another: c() }),
        numbered: HashMap::new(),
    };
    survives(&flat);
    survives(&FlatSigned { numbered: BTreeMap::from([(-1, c()), (70_000, c())]) });
    survives(&Internal::Struct { content: Untagged::Tuple(flat.clone(), flat), unit: () });
}

/// A flattened map with numeric keys would take all other fields as entries as well, so it has a struct to itself.
fn survives_under_numbers<T: Content>(numbered: HashMap<u32, T>) {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged<T> {
        Numbered(HashMap<u32, T>),
        Flat {
            #[serde(flatten)]
            numbered: HashMap<u32, T>,
        },
    }
    survives(&Tagged::Numbered(numbered.clone()));
    survives(&Tagged::Flat { numbered });
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Scalars {
    flag: bool,
    signed: (i8, i16, i32, i64),
    unsigned: (u8, u16, u32, u64),
    floats: (f32, f64),
    letter: char,
    text: String,
    unit: (),
    list: Vec<u16>,
    option: Option<i32>,
}

pub(super) fn scalars() -> impl Strategy<Value = Scalars> {
    let texts = (any::<char>(), any::<String>());
    (
        any::<bool>(),
        any::<(i8, i16, i32, i64)>(),
        any::<(u8, u16, u32, u64)>(),
        any::<(f32, f64)>(),
        texts,
        any::<(Vec<u16>, Option<i32>)>(),
    )
        .prop_map(|(flag, signed, unsigned, floats, (letter, text), (list, option))| Scalars {
            flag,
            signed,
            unsigned,
            floats,
            letter,
            text,
            unit: (),
            list,
            option,
        })
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OfStd {
    address: IpAddr,
    socket: SocketAddr,
    span: Duration,
    time: SystemTime,
    range: Range<u32>,
    bound: Bound<u8>,
    result: Result<u8, String>,
    path: PathBuf,
    text: Cow<'static, str>,
    boxed: Box<str>,
    positive: NonZeroU32,
    wrapping: Wrapping<i16>,
    set: BTreeSet<char>,
    unordered: HashSet<String>,
    deque: VecDeque<i8>,
    keyed: BTreeMap<(u8, String), bool>,
    by_address: HashMap<IpAddr, u8>,
}

fn socket() -> impl Strategy<Value = SocketAddr> {
    // The text of an address has neither `flowinfo` nor `scope_id`, and serde writes neither.
    any::<(IpAddr, u16)>().prop_map(|(address, port)| SocketAddr::new(address, port))
}

prop_compose! {
    fn of_std()(
        (address, socket, span, text, range) in (any::<IpAddr>(), socket(), any::<Duration>(), any::<String>(), any::<Range<u32>>()),
        (bound, result, seconds) in (prop_oneof![any::<u8>().prop_map(Bound::Included), Just(Bound::Unbounded)], any::<Result<u8, String>>(), any::<u32>()),
        (positive, wrapping, deque) in any::<(NonZeroU32, Wrapping<i16>, VecDeque<i8>)>(),
        set in btree_set(any::<char>(), 0..4),
        unordered in hash_set(any::<String>(), 0..4),
        keyed in btree_map(any::<(u8, String)>(), any::<bool>(), 0..4),
        by_address in hash_map(any::<IpAddr>(), any::<u8>(), 0..4),
    ) -> OfStd {
        OfStd {
            address, socket, span, range, bound, result, positive, wrapping, set, unordered, deque, keyed, by_address,
            time: UNIX_EPOCH + Duration::new(seconds.into(), seconds % 1_000_000_000),
            path: PathBuf::from(&text),
            boxed: text.clone().into(),
            text: text.into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OfCrates {
    time: DateTime<Utc>,
    day: NaiveDate,
    id: Uuid,
    bytes: Bytes,
    json: serde_json::Value,
    #[serde(with = "chrono::serde::ts_seconds_option")]
    seconds: Option<DateTime<Utc>>,
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

prop_compose! {
    fn of_crates()(
        seconds in -1_000_000_000_000_i64..200_000_000_000,
        nanos in 0..2_000_000_000_u32,
        id in any::<u128>(),
        bytes in any::<Vec<u8>>(),
        json in json(),
    ) -> OfCrates {
        let time = DateTime::from_timestamp(seconds, nanos % 1_000_000_000).unwrap_or_default();
        let seconds = DateTime::from_timestamp(seconds, 0);
        OfCrates { time, day: time.date_naive(), id: Uuid::from_u128(id), bytes: bytes.into(), json, seconds }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn scalars_survive(value in scalars()) {
        survives_in_all_forms(value);
    }

    #[test]
    fn types_of_std_survive(value in of_std()) {
        survives_in_all_forms(value);
    }

    #[test]
    fn types_of_common_crates_survive(value in of_crates()) {
        survives_in_all_forms(value);
    }

    #[test]
    fn options_of_something_survive(value in any::<Option<u8>>()) {
        survives_in_all_forms(Inner { content: value.map(Some) });
        survives_in_all_forms(vec![value]);
    }

    #[test]
    fn maps_with_numeric_keys_survive(numbered in hash_map(any::<u32>(), any::<(String, IpAddr)>(), 0..4)) {
        survives_under_numbers(numbered);
    }

    #[test]
    fn numbers_of_128_bits_come_back_where_serde_buffers_nothing(signed: i128, unsigned: u128) {
        survives(&(External::Newtype(signed), Inner { content: unsigned }, Some(unsigned), BTreeMap::from([(signed, unsigned)])));
        survives(&(signed >> 64, unsigned >> 64, -(signed >> 1)));
    }
}
