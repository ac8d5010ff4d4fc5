//! Many histories in one check: all files of a directory, each replayed with the code of its workflow, on all cores. It
//! must not know how one history is replayed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fmt, fs};

use pgworkflows_core::Workflow;

use super::{Replay, read_history, replay_with};
use crate::error::Error;

/// A replay check of many histories, with the workflows that they may belong to.
///
/// ```no_run
/// # use pgworkflows::prelude::*;
/// # use pgworkflows_testkit::{Error, ReplayCheck};
/// # fn check<Trial: Workflow, Refund: Workflow>() -> Result<(), Error> {
/// ReplayCheck::new().workflow::<Trial>().workflow::<Refund>().dir("tests/histories")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use = "nothing is checked until `dir` is called"]
pub struct ReplayCheck {
    workflows: BTreeMap<&'static str, Replay>,
}

impl ReplayCheck {
    /// A check without workflows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a workflow.
    pub fn workflow<W: Workflow>(mut self) -> Self {
        self.workflows.insert(W::NAME, pgworkflows_core::history::replay::<W>);
        self
    }

    /// Replays every file of a directory whose name ends in `.json`, and returns how many files there are.
    ///
    /// # Errors
    /// Returns [`Error::is_invalid`] with the problem of each bad file, in the order of their names. It is also
    /// returned if there is no file, because a check of nothing would always succeed.
    pub fn dir(&self, directory: impl AsRef<Path>) -> Result<usize, Error> {
        let directory = directory.as_ref();
        let files = histories(directory)?;
        if files.is_empty() {
            return Err(Error::invalid(format!(
                "{}: holds no `.json` file, so nothing is checked; export histories into it",
                directory.display()
            )));
        }
        let wrong = self.check_all(&files);
        if wrong.is_empty() {
            return Ok(files.len());
        }
        let list: Vec<&str> = wrong.values().map(String::as_str).collect();
        let (bad, all) = (wrong.len(), files.len());
        Err(Error::invalid(format!("{bad} of {all} histories cannot be replayed:\n{}", list.join("\n"))))
    }

    /// The problems of the files, by their positions in the list.
    fn check_all(&self, files: &[PathBuf]) -> BTreeMap<usize, String> {
        let wrong = Mutex::new(BTreeMap::new());
        let next = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some(file) = files.get(place) else { return };
                        if let Err(error) = self.check(file) {
                            let mut wrong = wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            wrong.insert(place, error.to_string());
                        }
                    }
                });
            }
        });
        wrong.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn check(&self, file: &Path) -> Result<(), Error> {
        let history = read_history(file)?;
        let problem = |problem: String| Error::invalid(format!("{}: {problem}", file.display()));
        let workflow = history.workflow().unwrap_or_default();
        let replay = match self.workflows.get(workflow.as_str()) {
            Some(replay) => *replay,
            None => {
                let known: Vec<&str> = self.workflows.keys().copied().collect();
                return Err(problem(format!(
                    "it is a history of workflow `{workflow}`, and this check knows {known:?}; add it with `.workflow::<…>()`"
                )));
            }
        };
        replay_with(&history, replay).map(drop).map_err(|error| problem(error.to_string()))
    }
}

/// Replays every history of a directory, all of one workflow; see [`ReplayCheck`] for several workflows.
///
/// # Errors
/// Returns the errors of [`ReplayCheck::dir`].
pub fn replay_dir<W: Workflow>(directory: impl AsRef<Path>) -> Result<usize, Error> {
    ReplayCheck::new().workflow::<W>().dir(directory)
}

impl fmt::Debug for ReplayCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.workflows.keys()).finish()
    }
}

/// The JSON files of a directory, by name.
fn histories(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let problem =
        |error: std::io::Error| Error::invalid(format!("{}: cannot be read: {error}", directory.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(problem)? {
        let path = entry.map_err(problem)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
