//! `cargo xtask tidy`: the project's own rules, which no other tool checks, and unused dependencies. It must not write
//! to the sources.
//!
//! A rule is a function from a text to its problems, so that its tests need no files.

mod links;
mod migrations;
mod source;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, Failure, root};
use crate::machete;

/// A file of the project.
struct File {
    /// Relative to the root of the workspace.
    path: PathBuf,
    text: String,
}

impl File {
    fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|e| e == extension)
    }
}

pub(crate) fn run() -> Result<(), Failure> {
    let files = files()?;
    let mut wrong = Vec::new();
    for file in &files {
        let mut report = |found: Vec<String>| {
            wrong.extend(found.into_iter().map(|what| format!("{}: {what}", file.path.display())));
        };
        report(text::check(file.path.as_path(), &file.text));
        if file.has_extension("rs") {
            report(source::check(&file.text));
            if let Some(warning) = source::too_long(&file.path, &file.text) {
                eprintln!("     warning: {}: {warning}", file.path.display());
            }
        }
        if file.has_extension("md") {
            let exists = |target: &str| linked(&file.path, target).exists();
            let document = |target: &str| read_document(&linked(&file.path, target));
            report(links::check(&file.text, exists, document));
        }
    }
    wrong.extend(migrations::check()?);
    if !files.iter().any(|file| file.path == Path::new("Cargo.lock")) {
        wrong.push("Cargo.lock: is not committed, so two builds may differ".to_owned());
    }
    if let Err(unused) = machete::check() {
        wrong.push(unused.to_string());
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::new(wrong.join("\n"))) }
}

/// All text files that git tracks or would add.
fn files() -> Result<Vec<File>, Failure> {
    let listed = git(&["ls-files", "--cached", "--others", "--exclude-standard"])?;
    let read = |path: &str| {
        // Skips files that were deleted since git listed them, and files that are not text.
        let text = fs::read_to_string(root().join(path)).ok()?;
        Some(File { path: PathBuf::from(path), text })
    };
    Ok(listed.lines().filter_map(read).collect())
}

fn git(arguments: &[&str]) -> Result<String, Failure> {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(root());
    command::output(git)
}

/// The path to which a link in a file leads.
fn linked(from: &Path, target: &str) -> PathBuf {
    root().join(from).parent().map(Path::to_owned).unwrap_or_default().join(target)
}

/// The text of a file whose headings can be linked to.
fn read_document(path: &Path) -> Option<String> {
    path.extension().filter(|extension| *extension == "md")?;
    fs::read_to_string(path).ok()
}
