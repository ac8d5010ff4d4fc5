//! Payloads: users' values to bytes and back, beside ciborium without what stands between it and the values. What is
//! recorded costs both, for it is read back.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use pgworkflows::payload::Payload;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    lines: Vec<Line>,
    notes: BTreeMap<String, Option<f64>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    article: String,
    pieces: u32,
    state: State,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum State {
    Open,
    Shipped { at: i64 },
}

fn order(lines: u32) -> Order {
    let line = |number: u32| Line {
        article: format!("article {number}"),
        pieces: number,
        state: if number.is_multiple_of(2) { State::Open } else { State::Shipped { at: 1_767_225_600 } },
    };
    let notes = [("discount", Some(0.15)), ("weight", None)].map(|(key, note)| (key.to_owned(), note));
    Order {
        id: 1 << 40,
        customer: "Acme".to_owned(),
        lines: (0..lines).map(line).collect(),
        notes: notes.into(),
    }
}

fn both_ways<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    criterion: &mut Criterion,
    name: &str,
    value: &T,
) {
    let mut group = criterion.benchmark_group("payload");
    let payload = Payload::encode(value).expect("it can be encoded");
    assert_eq!(&payload.decode::<T>().expect("it can be decoded"), value);
    group.bench_function(format!("{name}/encode"), |bencher| {
        bencher.iter(|| Payload::encode(black_box(value)))
    });
    group.bench_function(format!("{name}/decode"), |bencher| {
        bencher.iter(|| black_box(&payload).decode::<T>())
    });

    group.bench_function(format!("{name}/encode by ciborium alone"), |bencher| {
        bencher.iter(|| {
            let mut bytes = Vec::with_capacity(64);
            ciborium::into_writer(black_box(value), &mut bytes).map(|()| Bytes::from(bytes))
        });
    });
    let bytes = payload.bytes();
    // With a buffer that holds every text.
    group.bench_function(format!("{name}/decode by ciborium alone"), |bencher| {
        bencher.iter(|| match bytes.len() {
            ..=128 => ciborium::de::from_reader_with_buffer::<T, _>(&bytes[..], &mut [0; 128]),
            length => ciborium::de::from_reader_with_buffer::<T, _>(&bytes[..], &mut vec![0; length]),
        });
    });
    group.finish();
}

fn payload(criterion: &mut Criterion) {
    both_ways(criterion, "number", &7_u64);
    both_ways(criterion, "small order", &order(2));
    both_ways(criterion, "large order", &order(1_000));
    both_ways(criterion, "long text", &"x".repeat(1 << 20));
}

criterion_group!(benches, payload);
criterion_main!(benches);
