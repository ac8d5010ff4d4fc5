//! What is wrong with a value or its bytes, and in which field. It must not know the encoding.

use std::fmt;

/// How many characters a path and a message of serde may show: a key or a text may be as long as a payload.
const CHARS_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct Fault {
    /// The field, such as `order.lines[3].price`; empty for the whole value.
    path: String,
    problem: String,
}

impl Fault {
    pub(super) fn new(path: String, problem: String) -> Self {
        Self { path: cut(path), problem: cut(without_value(problem)) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.problem)
    }
}

/// The field at which a value could not be read; empty for the whole value.
pub(super) fn path<T, E>(read: &Result<T, serde_path_to_error::Error<E>>) -> String {
    match read {
        Err(error) if error.path().iter().len() > 0 => error.path().to_string(),
        Ok(_) | Err(_) => String::new(),
    }
}

/// Serde quotes the value that does not fit. It is the user's data, and this text gets into logs: its kind is enough.
///
/// What a type's own `Deserialize` says is the text of its author, as the message of a failure is.
fn without_value(mut problem: String) -> String {
    let after = |phrase: &str| problem.find(phrase).map(|at| at + phrase.len());
    let begins = ["invalid type: ", "invalid value: "].iter().filter_map(|phrase| after(phrase)).min();
    let quoted = begins.and_then(|begin| {
        let kind = QUOTED_KINDS.iter().find(|kind| problem[begin..].starts_with(**kind))?;
        Some(begin + kind.len())
    });
    let variant = after("unknown variant").filter(|begin| problem[*begin..].starts_with(" `"));
    let Some(begin) = quoted.into_iter().chain(variant).min() else { return problem };
    // The value may contain anything, what is expected does not contain this.
    let end =
        [", expected ", ", there are no variants"].iter().filter_map(|phrase| problem.rfind(phrase)).min();
    problem.replace_range(begin..end.map_or(problem.len(), |end| end.max(begin)), "");
    problem
}

/// The kinds of values that serde quotes in its errors: see `serde::de::Unexpected`.
const QUOTED_KINDS: [&str; 5] = ["boolean", "integer", "floating point", "character", "string"];

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::without_value;

    #[test]
    fn values_are_left_out_of_the_words_of_serde() {
        for (words, expected) in [
            ("invalid type: string \"s3cret\", expected u8", "invalid type: string, expected u8"),
            ("invalid value: integer `300`, expected u8", "invalid value: integer, expected u8"),
            (
                "invalid type: string \"a, expected b\", expected u8 at line 1 column 5",
                "invalid type: string, expected u8 at line 1 column 5",
            ),
            ("invalid type: string, expected integer", "invalid type: string, expected integer"),
            ("invalid type: sequence, expected u8", "invalid type: sequence, expected u8"),
            ("unknown variant `s3cret`, expected `a` or `b`", "unknown variant, expected `a` or `b`"),
            ("unknown variant `s3cret`, there are no variants", "unknown variant, there are no variants"),
            ("missing field `price`", "missing field `price`"),
        ] {
            assert_eq!(without_value(words.to_owned()), expected);
        }
    }
}
