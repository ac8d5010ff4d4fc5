//! Makes visible what a terminal would obey: a name, a failure or a reason that somebody else wrote must not move the cursor, hide a
//! line or set the title of the window. It must not know what a text is about.

use std::borrow::Cow;

/// The text, with each such character escaped: `\u{1b}`. Lines and tabs stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let escaped =
        text.chars().map(|c| if is_obeyed(c) { c.escape_default().to_string() } else { c.to_string() });
    Cow::Owned(escaped.collect())
}

/// The text, whose later lines begin so many columns to the right, as the first one does: they are no lines of their own.
pub(crate) fn indented(text: &str, columns: usize) -> String {
    text.replace('\n', &format!("\n{:columns$}", ""))
}

/// Whether a terminal obeys a character: one of control, or one that turns the direction of what follows it, so that a name could
/// look like another one.
pub(crate) fn is_obeyed(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() && !matches!(c, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_a_terminal_obeys_are_escaped_and_others_stay() {
        let title = "a\u{1b}]0;owned\u{7}\r\nb\tc";
        assert_eq!(visible(title), "a\\u{1b}]0;owned\\u{7}\\r\nb\tc");
        assert_eq!(visible("\u{9b}31m \u{7f} \u{202e}txt"), "\\u{9b}31m \\u{7f} \\u{202e}txt");
        for text in ["", "Grüße, 世界 👩‍👩‍👧 \\", "é — ‘…’"] {
            assert!(matches!(visible(text), Cow::Borrowed(shown) if shown == text), "{text}");
        }
    }

    #[test]
    fn later_lines_are_in_the_column_of_the_first() {
        assert_eq!(indented("one\ntwo\n", 3), "one\n   two\n   ");
    }
}
