//! Canaries: known bugs that the simulator must find, or its checks prove nothing. A canary is text: a piece of the
//! sources, and what replaces it in an erring build. The sources know nothing of canaries. It must not know how a bug
//! is found.

mod children;
mod deaths;
mod engine;
mod erring_build;
mod fleets;
mod handover;
mod pauses;
mod races;
mod requests;
mod shared;
mod signals;
mod store;
mod tasks;
mod updates;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use self::erring_build::{ErringBuild, errs};

/// A known bug.
#[derive(Debug)]
pub struct Canary {
    /// The name by which an erring build is told to have the bug.
    pub name: &'static str,
    /// What goes wrong.
    pub what: &'static str,
    /// The edits that make the bug. Several bugs may share an edit.
    edits: &'static [Edit],
}

/// A change of a source file.
#[derive(Debug, PartialEq, Eq)]
struct Edit {
    /// The file, relative to the workspace's root.
    file: &'static str,
    /// The text that is replaced. It occurs exactly once in the file.
    find: &'static str,
    /// The replacement in an erring build. It asks `canary::is("Name")`, and behaves like `find` if the answer is no.
    erring: &'static str,
}

impl Canary {
    /// All canaries.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        store::CANARIES
            .iter()
            .chain(engine::CANARIES)
            .chain(handover::CANARIES)
            .chain(pauses::CANARIES)
            .chain(races::CANARIES)
            .chain(fleets::CANARIES)
            .chain(tasks::CANARIES)
            .chain(signals::CANARIES)
            .chain(requests::CANARIES)
            .chain(children::CANARIES)
            .chain(updates::CANARIES)
            .chain(deaths::CANARIES)
    }

    /// Whether the bug is looked for in deadly worlds.
    fn is_deadly(&self) -> bool {
        deaths::CANARIES.iter().any(|canary| canary.name == self.name)
    }

    /// The canary of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|canary| canary.name == name)
    }
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// The changed source files of an erring build, by path, with all bugs in them.
///
/// # Errors
/// Returns an error that names the bug if one cannot be made any more.
fn erring_sources(root: &Path) -> Result<BTreeMap<PathBuf, String>, String> {
    let mut sources = BTreeMap::new();
    let mut made: Vec<&Edit> = Vec::new();
    for canary in Canary::all() {
        for edit in canary.edits.iter() {
            if !made.contains(&edit) {
                make(edit, root, &mut sources).map_err(|problem| {
                    format!(
                        "canary `{canary}` ({}) cannot be made in {}: {problem}\nIf the code there has changed, \
                         change the canary in simulator/src/canary/ as well; `cargo xtask simulate --canaries` says \
                         whether it is still found.",
                        canary.what, edit.file
                    )
                })?;
                made.push(edit);
            }
        }
    }
    Ok(sources)
}

fn make(edit: &Edit, root: &Path, sources: &mut BTreeMap<PathBuf, String>) -> Result<(), String> {
    let path = PathBuf::from(edit.file);
    let source = match sources.remove(&path) {
        Some(source) => source,
        None => std::fs::read_to_string(root.join(&path)).map_err(|error| error.to_string())?,
    };
    let count = source.matches(edit.find).count();
    if count != 1 {
        return Err(format!("this text must occur once, and occurs {count} times:\n{}", edit.find));
    }
    sources.insert(path, source.replacen(edit.find, edit.erring, 1));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_known_bug_can_be_made_in_the_sources() {
        if let Err(wrong) = erring_sources(&erring_build::workspace()) {
            panic!("{wrong}");
        }
    }

    #[test]
    fn every_canary_is_asked_for_by_its_name() {
        let names: BTreeSet<_> = Canary::all().map(|canary| canary.name).collect();
        assert_eq!(names.len(), Canary::all().count(), "two canaries have the same name");
        for canary in Canary::all() {
            let asked = format!("is(\"{canary}\")");
            let asks = canary.edits.iter().any(|edit| edit.erring.contains(&asked));
            assert!(asks, "{canary}: none of its edits asks `{asked}`");
        }
    }
}
