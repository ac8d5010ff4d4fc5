//! Makes visible what a terminal would obey: a name, a failure or a reason that somebody else wrote must not move the cursor, hide a
//! line or set the title of the window. It must not know what a text is about.

use std::borrow::Cow;

/// The text, with each such character escaped: `\u{1b}`. Lines and tabs stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_obeyed(c) && !matches!(c, '\n' | '\t'), |c| c.escape_default().to_string())
}

/// JSON, with each such character escaped as JSON does. It is the same value, also where the output takes control characters away.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    // Outside of strings, JSON has no other control character than the end of a line.
    escape(text, |c| is_obeyed(c) && c != '\n', |c| format!("\\u{:04x}", u32::from(c)))
}

/// The text, whose later lines begin so many columns to the right, as the first one does: they are no lines of their own.
pub(crate) fn indented(text: &str, columns: usize) -> String {
    text.replace('\n', &format!("\n{:columns$}", ""))
}

/// Control characters, and those that change the direction of what follows them.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, which: impl Fn(char) -> bool, how: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(&which) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if which(c) {
            escaped.push_str(&how(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
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
    fn json_is_the_same_value_in_characters_that_can_be_shown() {
        let value = serde_json::json!({"a\u{7f}": ["\u{9b}2J", "\u{202e}\n\u{1b}", "ö"]});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = json(&text);
        assert!(!shown.contains(|c: char| is_obeyed(c) && c != '\n'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn later_lines_are_in_the_column_of_the_first() {
        assert_eq!(indented("one\ntwo\n", 3), "one\n   two\n   ");
    }
}
