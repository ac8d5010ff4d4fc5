//! JSON that people pass as an argument, a file or the standard input. It must not know what it is for.

use std::io::Read;

use pgworkflows::payload::Payload;

use crate::failure::{Code, Failure};

/// Reads a payload: JSON, `@file` or `-` for the standard input. `what` names it in errors.
pub(crate) fn payload(what: &str, given: &str) -> Result<Payload, Failure> {
    let text = text(what, given)?;
    let is_typed = given != "-" && !given.starts_with('@');
    check(what, &text, is_typed)?;
    Payload::from_json(&text).map_err(|error| Failure::usage(format!("{what}: {error}")))
}

/// The text of an argument, a file or the standard input.
pub(crate) fn text(what: &str, given: &str) -> Result<String, Failure> {
    if given == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| {
            Failure::new(Code::Failed, "io", format!("{what}: the standard input cannot be read: {error}"))
        })?;
        return Ok(text);
    }
    match given.strip_prefix('@') {
        Some(path) => file(what, path),
        None => Ok(given.to_owned()),
    }
}

/// The text of a file.
pub(crate) fn file(what: &str, path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Failed };
        Failure::new(code, "file", format!("{what}: the file `{path}` cannot be read: {error}"))
    })
}

/// Tells where a text is no JSON, and what is there if it was typed as an argument: that of a file may be secret.
fn check(what: &str, text: &str, is_typed: bool) -> Result<(), Failure> {
    let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) else { return Ok(()) };
    if !is_typed {
        return Err(Failure::usage(format!("{what} is not JSON: {error}")));
    }
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let shown = crate::table::cut(line, 60);
    // A word is what people type most often where a JSON text belongs.
    let is_word = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_. ".contains(c));
    let hint = if is_word {
        format!("; as a JSON text, it is '{}'", serde_json::json!(text))
    } else {
        String::new()
    };
    Err(Failure::usage(format!("{what} is not JSON: {error}, in `{shown}`{hint}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_json_is_shown_with_its_place_and_what_it_may_have_meant() {
        let refused = |text: &str| format!("{:?}", payload("the input", text).unwrap_err());
        assert!(refused("Ada").contains(r#"as a JSON text, it is '\"Ada\"'"#), "{}", refused("Ada"));
        assert!(refused("{\"a\": 1,\n \"b\": x}").contains("line 2 column 7, in ` \\\"b\\\": x}`"));
        assert!(refused("").contains("is not JSON"));
        assert!(refused("[1] 2").contains("trailing characters"));
        assert!(refused("@/no/such/file").contains("`/no/such/file` cannot be read"));
        assert_eq!(
            payload("the input", "{\"a\": 1.50}").unwrap().to_json().unwrap(),
            serde_json::json!({"a": 1.5})
        );
    }
}
