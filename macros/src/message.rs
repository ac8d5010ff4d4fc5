//! The message of a failure: a format string over the fields of its variant. It must not know the fields' types.

use std::collections::BTreeSet;

/// A format string for `write!` with named arguments, and the names of the fields that it uses. A field without a name
/// has its index with an underscore: `{0}` is `{_0}`, since a named argument cannot be a number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) format: String,
    pub(crate) fields: BTreeSet<String>,
}

impl Message {
    /// Reads a format string. What is wrong with its syntax is left for `write!` to say.
    pub(crate) fn parse(text: &str) -> Self {
        let mut message = Self { format: String::new(), fields: BTreeSet::new() };
        let mut rest = text;
        let mut next = 0;
        while let Some(open) = rest.find('{') {
            let (before, after) = rest.split_at(open + 1);
            message.format.push_str(before);
            if let Some(escaped) = after.strip_prefix('{') {
                message.format.push('{');
                rest = escaped;
                continue;
            }
            let end = after.find([':', '}']).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            let mut name = name.trim().to_owned();
            if name.is_empty() {
                name = next.to_string();
                next += 1;
            }
            if name.starts_with(|first: char| first.is_ascii_digit()) {
                name.insert(0, '_');
            }
            message.format.push_str(&name);
            message.fields.insert(name);
            rest = after;
        }
        message.format.push_str(rest);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    fn parsed(text: &str) -> (String, Vec<String>) {
        let Message { format, fields } = Message::parse(text);
        (format, fields.into_iter().collect())
    }

    #[test]
    fn numbers_become_names_and_keep_their_formats() {
        let (format, fields) = parsed("{0} of {1:>5}, {0:?}");
        assert_eq!((format.as_str(), fields), ("{_0} of {_1:>5}, {_0:?}", vec!["_0".into(), "_1".into()]));
        assert_eq!(parsed("{} then {}").0, "{_0} then {_1}");
    }

    #[test]
    fn names_and_escaped_braces_are_kept() {
        assert_eq!(parsed("{why} {{0}} {{{why}}}"), ("{why} {{0}} {{{why}}}".to_owned(), vec!["why".into()]));
        assert_eq!(parsed("nothing"), ("nothing".to_owned(), vec![]));
        // `write!` reports it.
        assert_eq!(parsed("open {0").0, "open {_0");
    }
}
