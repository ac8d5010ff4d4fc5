//! A payload as a CBOR tree: its canonical form, its text for people, and where two trees differ. It must not know the
//! types that were encoded, nor the encoding.

use std::collections::BTreeMap;

use ciborium::Value;
use ciborium::value::Integer;

/// Deterministic CBOR (RFC 8949 §4.2.1): numbers in their shortest form, as ciborium writes them, and maps sorted. A
/// float that is a whole number becomes an integer, because JSON has one kind of number, which writers format differently.
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
        Value::Float(number) => whole(*number).map_or(Value::Float(*number), Value::Integer),
        leaf => leaf.clone(),
    }
}

fn whole(number: f64) -> Option<Integer> {
    let whole = number as i128;
    Integer::try_from(whole).ok().filter(|_| whole as f64 == number)
}

/// Where the two differ, in words, without the values: these may be confidential.
pub(super) fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(ours, theirs, "", &mut found);
    found
}

fn compare(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) if ours.len() != theirs.len() => {
            found.push(format!("{} ({} items here, {} there)", place(path), ours.len(), theirs.len()));
        }
        (Value::Array(ours), Value::Array(theirs)) if is_reordered(ours, theirs) => {
            found.push(format!("{} (the same items in another order)", place(path)));
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                compare(ours, theirs, &format!("{path}[{index}]"), found);
            }
        }
        (Value::Map(ours), Value::Map(theirs)) => compare_maps(ours, theirs, path, found),
        _ if canonical(ours) == canonical(theirs) => {}
        _ => found.push(place(path)),
    }
}

fn compare_maps(ours: &[(Value, Value)], theirs: &[(Value, Value)], path: &str, found: &mut Vec<String>) {
    let mut left: BTreeMap<_, _> = theirs.iter().map(|(key, value)| (canonical(key), (key, value))).collect();
    for (key, value) in ours {
        let path = format!("{path}.{}", as_key(key));
        match left.remove(&canonical(key)) {
            Some((_, theirs)) => compare(value, theirs, &path, found),
            None => found.push(format!("{} (only here)", place(&path))),
        }
    }
    for (key, _) in left.into_values() {
        found.push(format!("{} (only there)", place(&format!("{path}.{}", as_key(key)))));
    }
}

/// Whether the items differ only in their order, like those of two equal sets.
fn is_reordered(ours: &[Value], theirs: &[Value]) -> bool {
    let [mut ours, mut theirs] = [ours, theirs].map(|items| items.iter().map(canonical).collect::<Vec<_>>());
    if ours == theirs {
        return false;
    }
    ours.sort();
    theirs.sort();
    ours == theirs
}

fn place(path: &str) -> String {
    match path.strip_prefix('.').unwrap_or(path) {
        "" => "the whole input".to_owned(),
        path => format!("`{path}`"),
    }
}

/// How many kinds of values are shown.
const KINDS_SHOWN: usize = 12;

/// The kinds of the values, which may be confidential themselves: `(text, integer)` for an array.
pub(super) fn kinds(tree: &Value) -> String {
    let Value::Array(items) = tree else { return kind(tree).to_owned() };
    let mut kinds: Vec<&str> = items.iter().take(KINDS_SHOWN).map(kind).collect();
    if items.len() > KINDS_SHOWN {
        kinds.push("…");
    }
    format!("({})", kinds.join(", "))
}

fn kind(tree: &Value) -> &'static str {
    match tree {
        Value::Integer(_) => "integer",
        Value::Float(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => "null",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
        Value::Array(_) => "array",
        Value::Map(_) => "map",
        Value::Tag(_, inner) => kind(inner),
        _ => "…",
    }
}

/// The tree as a part of a path: a text has no quotes there.
pub(super) fn as_key(tree: &Value) -> String {
    match tree {
        Value::Text(text) => text.clone(),
        other => diagnostic(other),
    }
}

/// CBOR's diagnostic notation (RFC 8949 §8), except for bytes, of which it shows only how many there are.
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
