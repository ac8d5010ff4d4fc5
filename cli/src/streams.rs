//! Where the program writes: the standard streams, or the memory of a test. It must not know what is written.
//!
//! Names, keys and payloads are other people's text. A terminal obeys some characters, so these are shown as escapes.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use crate::visible::is_obeyed;

/// The longest style that this program writes, after its first two characters.
const STYLE_BYTES_MAX: usize = 12;

/// The output and the errors of a program.
#[derive(Debug)]
pub(crate) enum Streams {
    Standard,
    /// For tests.
    #[cfg_attr(not(feature = "__testing"), expect(dead_code, reason = "the program has no test in it"))]
    Kept(Kept),
}

/// What a program has written.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    out: Mutex<String>,
    err: Mutex<String>,
}

/// The streams of the process.
pub(crate) static STANDARD: Streams = Streams::Standard;

impl Streams {
    /// Writes lines to the standard output.
    pub(crate) fn answer(&self, text: &str) -> io::Result<()> {
        let text = harmless(text.trim_end_matches('\n'));
        match self {
            Self::Standard => {
                let mut output = anstream::stdout().lock();
                writeln!(output, "{text}").and_then(|()| output.flush())
            }
            Self::Kept(kept) => {
                append(&kept.out, &text);
                Ok(())
            }
        }
    }

    /// Writes lines to the standard error. An error is ignored, because there is no other place to report it.
    pub(crate) fn tell(&self, text: &str) {
        let text = harmless(text.trim_end_matches('\n'));
        match self {
            Self::Standard => drop(writeln!(anstream::stderr(), "{text}")),
            Self::Kept(kept) => append(&kept.err, &text),
        }
    }

    /// Whether people see the standard output on a terminal.
    pub(crate) fn are_on_a_terminal(&self) -> bool {
        matches!(self, Self::Standard) && io::IsTerminal::is_terminal(&io::stdout())
    }
}

#[cfg(feature = "__testing")]
impl Kept {
    /// The output and the errors so far, without colours. They are forgotten.
    pub(crate) fn take(&self) -> (String, String) {
        let take = |stream: &Mutex<String>| {
            std::mem::take(&mut *stream.lock().unwrap_or_else(PoisonError::into_inner))
        };
        (take(&self.out), take(&self.err))
    }
}

fn append(stream: &Mutex<String>, text: &str) {
    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    stream.push_str(&anstream::adapter::strip_str(text).to_string());
    stream.push('\n');
}

/// The same text with an escape (`\u001b`) in place of each character that a terminal obeys, or that changes the order in which
/// others are shown. Colours stay. JSON stays the same JSON, because such characters are in its texts only, where the escape
/// means the character.
fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(at) = rest.find(is_obeyed) {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let style = style(from);
        let obeyed = from.chars().next().unwrap_or_default();
        if style.is_empty() {
            shown.push_str(&format!("\\u{:04x}", u32::from(obeyed)));
            rest = &from[obeyed.len_utf8()..];
        } else {
            shown.push_str(style);
            rest = &from[style.len()..];
        }
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// The colour, weight or line with which a text begins, if it is one that this program uses.
fn style(text: &str) -> &str {
    let Some(rest) = text.strip_prefix("\u{1b}[") else { return "" };
    // Ours are short, and a text may have millions of beginnings.
    let Some(end) = rest.bytes().take(STYLE_BYTES_MAX).position(|byte| byte == b'm') else { return "" };
    let is_ours =
        |code: &str| matches!(code, "0" | "1" | "4") || code.len() == 2 && code.starts_with(['3', '9']);
    if rest[..end].split(';').all(|code| is_ours(code) && code.bytes().all(|b| b.is_ascii_digit())) {
        &text[..end + 3]
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn characters_that_a_terminal_obeys_are_shown_as_escapes() {
        for (text, shown) in [
            ("two\nlines\tand ü, 円", "two\nlines\tand ü, 円"),
            ("\u{1b}[32mok\u{1b}[0m \u{1b}[1;91mwrong", "\u{1b}[32mok\u{1b}[0m \u{1b}[1;91mwrong"),
            ("\u{1b}]0;title\u{7}", "\\u001b]0;title\\u0007"),
            ("\u{1b}[2J\u{1b}[8mhidden", "\\u001b[2J\\u001b[8mhidden"),
            ("\u{1b}[", "\\u001b["),
            ("\u{9b}2J a\rb \u{7f}", "\\u009b2J a\\u000db \\u007f"),
            ("\u{202e}gpj.exe", "\\u202egpj.exe"),
        ] {
            assert_eq!(harmless(text), shown);
        }
        // In a text of JSON, the escape means the same.
        let json = serde_json::to_string("a\u{85}b\u{2028}").unwrap();
        assert_eq!(serde_json::from_str::<String>(&harmless(&json)).unwrap(), "a\u{85}b\u{2028}");
    }
}
