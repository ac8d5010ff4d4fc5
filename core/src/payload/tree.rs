//! CBOR as a tree: its canonical form, and its words for people. It must not know the types that it is a tree of.

use ciborium::Value;

use super::decode;

/// The tree of all of the bytes, if they are one.
pub(super) fn of(mut bytes: &[u8]) -> Option<Value> {
    let tree = decode::read(&mut bytes).ok()?;
    bytes.is_empty().then_some(tree)
}

/// Deterministic CBOR (RFC 8949 §4.2.1): each number in its shortest form, as ciborium writes them, and maps sorted.
pub(super) fn canonical(tree: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&sorted(tree), &mut bytes).expect("a vector takes every tree");
    bytes
}

fn sorted(tree: &Value) -> Value {
    match tree {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Tag(tag, inner) => Value::Tag(*tag, Box::new(sorted(inner))),
        Value::Map(entries) => {
            let entry = |(key, value)| (canonical(key), (sorted(key), sorted(value)));
            let mut entries: Vec<_> = entries.iter().map(|(key, value)| entry((key, value))).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Map(entries.into_iter().map(|(_, entry)| entry).collect())
        }
        leaf => leaf.clone(),
    }
}

/// The tree as a part of a path: a text without its quotes.
pub(super) fn as_key(tree: &Value) -> String {
    match tree {
        Value::Text(text) => text.clone(),
        other => diagnostic(other),
    }
}

/// CBOR's diagnostic notation (RFC 8949 §8), but for bytes, of which their number is shown.
pub(super) fn diagnostic(tree: &Value) -> String {
    let join = |items: Vec<String>| items.join(", ");
    match tree {
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null => "null".to_owned(),
        Value::Text(text) => format!("{text:?}"),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::Tag(tag, inner) => format!("{tag}({})", diagnostic(inner)),
        Value::Array(items) => format!("[{}]", join(items.iter().map(diagnostic).collect())),
        Value::Map(entries) => {
            let entry = |(key, value): &(Value, Value)| format!("{}: {}", diagnostic(key), diagnostic(value));
            format!("{{{}}}", join(entries.iter().map(entry).collect()))
        }
        _ => "…".to_owned(),
    }
}
