//! Rules for Rust files. It must not know what the code does.

use std::path::Path;

/// The most lines that are read in a sitting.
const LINES_MAX: usize = 400;

/// Text that must not be committed. Pieced together, so that this file does not break its own rule.
const UNFINISHED: [(&str, &str); 5] = [
    (concat!("to", "do!("), "unfinished code"),
    (concat!("unimple", "mented!("), "unfinished code"),
    (concat!("#[ig", "nore"), "a test that never runs"),
    (concat!("FIX", "ME"), "an open end: fix it, or file an issue"),
    (concat!("TO", "DO"), "an open end: fix it, or file an issue"),
];

/// The problems of a file, each with its line.
pub(crate) fn check(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if !text.starts_with("//!") {
        wrong.push("does not open with `//!`: what it is, and what it must not know".to_owned());
    }
    for (number, line) in text.lines().enumerate() {
        for (needle, what) in UNFINISHED {
            if line.contains(needle) {
                wrong.push(format!("line {}: `{needle}` is {what}", number + 1));
            }
        }
    }
    wrong
}

/// A warning rather than an error: a file may have a reason for its length. Tests are lists, which are not read in a
/// sitting, so files of tests alone may have any length.
pub(crate) fn too_long(path: &Path, text: &str) -> Option<String> {
    if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
        return None;
    }
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    (lines > LINES_MAX)
        .then(|| format!("{lines} lines without its tests; more than {LINES_MAX} are hard to read"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{check, too_long};

    #[test]
    fn file_opens_with_what_it_is() {
        assert_eq!(check("//! What it is.\n"), [""; 0]);
        assert_eq!(check("use std::fs;\n").len(), 1);
        assert_eq!(check("").len(), 1);
    }

    #[test]
    fn unfinished_code_is_found_with_its_line() {
        let unfinished = [
            concat!("to", "do!()"),
            concat!("unimple", "mented!()"),
            concat!("#[ig", "nore]"),
            concat!("// FIX", "ME"),
            concat!("// TO", "DO later"),
        ];
        for line in unfinished {
            let wrong = check(&format!("//! What it is.\n{line}\n"));
            assert_eq!(wrong.len(), 1, "{line}");
            assert!(wrong[0].starts_with("line 2:"), "{wrong:?}");
        }
        assert_eq!(check("//! A to-do list, and methods that ignore errors.\n"), [""; 0]);
    }

    #[test]
    fn tests_do_not_count_as_length() {
        let short = format!("{}#[cfg(test)]\n{}", "x\n".repeat(400), "x\n".repeat(400));
        let (code, tests) = (Path::new("src/code.rs"), Path::new("src/code/tests.rs"));
        assert_eq!(too_long(code, &short), None);
        assert!(too_long(code, &"x\n".repeat(401)).is_some());
        assert_eq!(too_long(tests, &"x\n".repeat(401)), None);
    }
}
