//! Many histories in one check: all files of a directory, each with the code of its workflow, on all cores.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fmt, fs};

use pgworkflows_core::Workflow;

use super::{Replay, read_history, replay_with};
use crate::error::Error;

/// The workflows whose histories are to be checked.
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
#[must_use = "nothing is checked before it has a directory"]
pub struct ReplayCheck {
    workflows: BTreeMap<&'static str, Replay>,
}

impl ReplayCheck {
    /// A check that knows no workflow yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a workflow.
    pub fn workflow<W: Workflow>(mut self) -> Self {
        self.workflows.insert(W::NAME, pgworkflows_core::history::replay::<W>);
        self
    }

    /// Checks every file of a directory whose name ends in `.json`. Gives how many there are.
    ///
    /// # Errors
    /// [`Error::is_invalid`] with what is wrong with each file, in the order of their names; also if there is no
    /// file, for a check of nothing would succeed for ever.
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

    /// What is wrong with the files, by their places in the list.
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
                    "it is a history of workflow `{workflow}`, and this check knows {known:?}; add it by `.workflow::<…>()`"
                )));
            }
        };
        replay_with(&history, replay).map(drop).map_err(|error| problem(error.to_string()))
    }
}

impl fmt::Debug for ReplayCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.workflows.keys()).finish()
    }
}

/// The files of a directory that are to be histories, by name.
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
