//! Words of commands that people are told to type. It must not know which commands.

/// The word as a POSIX shell reads it: in quotes, unless it is plain.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_that_a_shell_would_take_apart_is_quoted() {
        assert_eq!(word("approve"), "approve");
        assert_eq!(word("sqlite:/tmp/runs.db"), "sqlite:/tmp/runs.db");
        assert_eq!(word(""), "''");
        assert_eq!(word("x; rm -rf ~"), "'x; rm -rf ~'");
        assert_eq!(word("it's $HOME"), r"'it'\''s $HOME'");
    }
}
