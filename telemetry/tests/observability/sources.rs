//! Finds every log line in the sources: its level, its message and its fields. It must not know what the lines are about.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::document::{Row, quoted};

/// Every log line in the sources as a row of the document. In its braces are names only.
pub(crate) fn log_lines() -> BTreeSet<Row> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let packages =
        fs::read_dir(root).expect("the root of the workspace").map(|entry| entry.expect("an entry").path());
    let files =
        packages.filter(|package| runs_in_programs(package)).flat_map(|package| files(&package.join("src")));
    files.flat_map(|file| lines_of(&fs::read_to_string(file).expect("it can be read"))).collect()
}

/// Whether a package becomes a part of users' programs.
fn runs_in_programs(package: &Path) -> bool {
    let name = package.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["core", "pgworkflows", "telemetry"].contains(&name) || name.starts_with("store-")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of sources");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn lines_of(source: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find("tracing::") {
        rest = &rest[at + "tracing::".len()..];
        let Some((level, after)) = rest.split_once("!(") else { break };
        if ["error", "warn", "info", "debug", "trace"].contains(&level) {
            rows.push(row(level, after));
        }
    }
    rows
}

/// The row of a line whose arguments begin here.
fn row(level: &str, arguments: &str) -> Row {
    let mut fields = Vec::new();
    let (mut argument, mut depth) = (String::new(), 0);
    let mut left = arguments;
    loop {
        let next = left.chars().next().expect("the source is complete");
        if next == '"' && argument.trim().is_empty() {
            // The message is the last argument.
            let message = without_format(&text(left));
            return vec![level.to_owned(), message, quoted(fields.iter().map(String::as_str))];
        }
        if next == '"' {
            left = &left[2 + raw(left).len()..];
            continue;
        }
        left = &left[next.len_utf8()..];
        match next {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                fields.push(name_of(&std::mem::take(&mut argument)));
                continue;
            }
            _ => {}
        }
        argument.push(next);
    }
}

/// The name of a field: before the `=`, or that of the variable.
fn name_of(argument: &str) -> String {
    let argument = argument.trim();
    let name = argument.split_once('=').map_or(argument, |(name, _)| name);
    name.trim().trim_start_matches(['%', '?']).to_owned()
}

/// What is between the quotes of the string literal at the beginning.
fn raw(literal: &str) -> &str {
    let mut escaped = false;
    let end = literal[1..].find(|char| {
        let ends = char == '"' && !escaped;
        escaped = char == '\\' && !escaped;
        ends
    });
    &literal[1..=end.expect("the literal ends")]
}

/// The text of the string literal at the beginning, whose lines may be continued.
fn text(literal: &str) -> String {
    let mut parts = raw(literal).split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start())
}

/// The message, with names alone in its braces.
fn without_format(message: &str) -> String {
    message.replace(":?}", "}")
}
