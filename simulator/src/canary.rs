//! Canaries: known bugs that the simulator must find, or its checkers are worth nothing. A canary is text: what stands in
//! the sources, and what stands there in a build that errs. The sources know nothing of it. It must not know how
//! a bug is found.

mod engine;
mod erring_build;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use self::erring_build::{ErringBuild, errs};

/// A known bug.
#[derive(Debug)]
pub struct Canary {
    /// Its name, by which a build that errs is told to have it.
    pub name: &'static str,
    /// What goes wrong.
    pub what: &'static str,
    /// What makes it: several bugs may share an edit.
    edits: &'static [Edit],
}

/// A change of a source file.
#[derive(Debug, PartialEq, Eq)]
struct Edit {
    /// The file, from the workspace's root.
    file: &'static str,
    /// What stands there: exactly once.
    find: &'static str,
    /// What stands there in a build that errs. It asks `canary::is("Name")`, and does what `find` does if that says no.
    erring: &'static str,
}

impl Canary {
    /// All of them.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        store::CANARIES.iter().chain(engine::CANARIES)
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|canary| canary.name == name)
    }
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// The source files below that root that have a bug in the build that errs, by their path, with all bugs in them. The
/// error says which bug cannot be made any more.
fn erring_sources(root: &Path) -> Result<BTreeMap<PathBuf, String>, String> {
    let mut sources = BTreeMap::new();
    let mut made: Vec<&Edit> = Vec::new();
    for canary in Canary::all() {
        for edit in canary.edits.iter() {
            if !made.contains(&edit) {
                make(edit, root, &mut sources).map_err(|problem| {
                    format!(
                        "canary `{canary}` ({}) cannot be made in {}: {problem}\nIf the code there has changed, \
                         change the canary with it in simulator/src/canary/; `cargo xtask simulate --canaries` says \
                         whether it is found.",
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
        return Err(format!("this has to be there once, and is there {count} times:\n{}", edit.find));
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
    fn every_edit_errs_for_its_canary_alone() {
        let names: BTreeSet<_> = Canary::all().map(|canary| canary.name).collect();
        assert_eq!(names.len(), Canary::all().count(), "two canaries of one name");
        for canary in Canary::all() {
            let asked = format!("is(\"{canary}\")");
            let asks = canary.edits.iter().any(|edit| edit.erring.contains(&asked));
            assert!(asks, "{canary}: none of its edits asks `{asked}`");
        }
    }
}
