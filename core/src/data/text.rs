//! Texts that rows show to people. It must not know which.

/// A text without the characters that no store holds and nobody reads, and not longer than a number of characters: U+0000 cannot
/// be in a `text` or a `jsonb` of PostgreSQL, and one row with it would fail each query that shows it.
pub(crate) fn printable(text: &str, chars_max: usize) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').take(chars_max).collect()
}

/// A text in one line: control characters are escaped as in Rust.
pub(crate) fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_go_and_the_rest_is_cut_between_characters() {
        assert_eq!(printable("a\0b\u{1b}[1m\nö", 100), "ab[1m\nö");
        assert_eq!(printable("öööö", 3), "ööö");
    }
}
