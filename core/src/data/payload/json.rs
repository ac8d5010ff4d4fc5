//! Decodes JSON with `serde_json`, and converts it from and to CBOR trees. It must not know what wrote the text.

use ciborium::Value as Tree;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fault::{Fault, path};
use super::tree;

/// Decodes a value that takes up all of the text.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| fault::<T>(bytes, &error))
}

/// Reads the text a second time to find the path, so that intact text does not pay for it.
#[cold]
fn fault<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Fault {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let path = path(&serde_path_to_error::deserialize::<_, T>(&mut reader));
    let mut problem = error.to_string();
    if problem.starts_with("recursion limit exceeded") {
        problem += "; JSON may be nested 127 levels deep: flatten it";
    }
    Fault::new(path, problem)
}

/// JSON as a CBOR tree.
pub(super) fn into_tree(json: Value) -> Tree {
    match json {
        Value::Null => Tree::Null,
        Value::Bool(flag) => flag.into(),
        Value::String(text) => text.into(),
        Value::Array(items) => Tree::Array(items.into_iter().map(into_tree).collect()),
        Value::Object(entries) => {
            Tree::Map(entries.into_iter().map(|(key, value)| (key.into(), into_tree(value))).collect())
        }
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().map_or(Tree::Null, Tree::Float),
        },
    }
}

/// A CBOR tree as JSON; see [`Payload::to_json`](super::Payload::to_json) for what JSON does not have.
pub(super) fn from_tree(tree: &Tree) -> Value {
    match tree {
        Tree::Bool(flag) => (*flag).into(),
        Tree::Text(text) => text.as_str().into(),
        Tree::Float(number) => (*number).into(),
        Tree::Integer(number) => integer((*number).into()),
        Tree::Bytes(bytes) => bytes.as_slice().into(),
        Tree::Array(items) => items.iter().map(from_tree).collect(),
        Tree::Map(entries) => {
            entries.iter().map(|(key, value)| (tree::as_key(key), from_tree(value))).collect()
        }
        // An integer of more than 64 bits.
        Tree::Tag(2, _) if let Ok(number) = tree.deserialized::<u128>() => number.to_string().into(),
        Tree::Tag(3, _) if let Ok(number) = tree.deserialized::<i128>() => number.to_string().into(),
        Tree::Tag(_, inner) => from_tree(inner),
        _ => Value::Null,
    }
}

fn integer(number: i128) -> Value {
    match (u64::try_from(number), i64::try_from(number)) {
        (Ok(number), _) => number.into(),
        (_, Ok(number)) => number.into(),
        _ => number.to_string().into(),
    }
}
