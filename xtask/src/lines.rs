//! `cargo xtask lines`: counts the code of the programs in `examples/comparison`, which are one program written with
//! different systems. It must not know what they do, nor count one of them by another rule.
//!
//! The rule: a line counts if there is code on it, a closing bracket included. Blank lines, comments and imports do not
//! count. `cargo fmt` formats all programs alike. What they have in common is in another file, and not counted.

use std::fs;

use crate::command::{Failure, root};

const DIRECTORY: &str = "examples/comparison";

/// The name of each system with its version, and the file of its program. Ours is the first.
const PROGRAMS: [(&str, &str); 6] = [
    ("PgWorkflows 0.1", "pgworkflows.rs"),
    ("DBOS 0.5.0", "dbos.rs"),
    ("duroxide 0.1.32", "duroxide.rs"),
    ("Restate 0.13.0", "restate.rs"),
    ("Temporal 1.1.1", "temporal.rs"),
    ("TensorZero's durable", "durable.rs"),
];

/// The most lines that our program may take.
const OURS_MAX: usize = 72;

/// The length of a program.
#[derive(Debug, PartialEq)]
struct Length {
    lines: usize,
    /// Names, keywords, numbers, and the words of texts: a measure that no line break changes.
    words: usize,
}

#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
pub(crate) fn run() -> Result<(), Failure> {
    let lengths = lengths()?;
    print!("{}", table(&lengths));
    check(&lengths[0])
}

/// The lengths of all programs, in the order of `PROGRAMS`.
fn lengths() -> Result<Vec<Length>, Failure> {
    let read = |(_, file): &(&str, &str)| {
        let path = root().join(DIRECTORY).join(file);
        let read = fs::read_to_string(&path);
        let text = read.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        Ok(length(&text))
    };
    PROGRAMS.iter().map(read).collect()
}

fn check(ours: &Length) -> Result<(), Failure> {
    let (lines, file) = (ours.lines, PROGRAMS[0].1);
    if lines <= OURS_MAX {
        return Ok(());
    }
    Err(Failure::new(format!("{DIRECTORY}/{file} has {lines} lines of code, more than {OURS_MAX}")))
}

/// The table of `docs/comparison.md`, the shortest program first.
fn table(lengths: &[Length]) -> String {
    let mut rows: Vec<_> = PROGRAMS.iter().zip(lengths).collect();
    rows.sort_by_key(|(_, length)| length.lines);
    let mut table = "| program | lines | words |\n|---|---|---|\n".to_owned();
    for ((system, file), Length { lines, words }) in rows {
        table += &format!("| [{system}](../{DIRECTORY}/{file}) | {lines} | {words} |\n");
    }
    table
}

fn length(text: &str) -> Length {
    let mut in_import = false;
    let mut length = Length { lines: 0, words: 0 };
    for line in text.lines() {
        in_import |= line.starts_with("use ");
        let code = line.trim();
        if !in_import && !code.is_empty() && !code.starts_with("//") {
            length.lines += 1;
            length.words += words(code);
        }
        in_import &= !line.ends_with(';');
    }
    length
}

fn words(code: &str) -> usize {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Length, check, length, lengths, root, table};

    #[test]
    fn code_counts_and_what_is_around_it_does_not() {
        let program = "//! What it is.\n\nuse a::{\n    b, c,\n};\nuse d;\n\n/// A function.\nfn e() {\n    // Why.\n    f(\"g h\"); // i\n}\n";
        assert_eq!(length(program), Length { lines: 3, words: 6 });
    }

    #[test]
    fn line_breaks_change_no_words() {
        let (short, long) = (length("a(b, c_d)\n"), length("a(\n    b,\n    c_d,\n)\n"));
        assert_eq!((short.words, short.lines), (3, 1));
        assert_eq!((long.words, long.lines), (3, 4));
    }

    #[test]
    fn our_program_is_within_the_goal() {
        check(&lengths().unwrap()[0]).unwrap();
        assert!(check(&Length { lines: 73, words: 0 }).is_err());
    }

    #[test]
    fn document_shows_what_is_counted() {
        let document = fs::read_to_string(root().join("docs/comparison.md")).unwrap();
        let counted = table(&lengths().unwrap());
        assert!(document.contains(&counted), "docs/comparison.md lacks this table:\n{counted}");
    }
}
