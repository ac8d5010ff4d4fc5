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
        Self { path: cut(path), problem: cut(problem) }
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

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}
