//! An attribute as it is typed: `NAME=VALUE`. It must not know what it is for.

/// Splits an attribute at its first `=`. What a name and a value may be is checked where they are used.
pub(crate) fn parse(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("an attribute is NAME=VALUE, such as customer=42".to_owned()),
    }
}
