//! What a client was told, line by line in a file. It must not know what follows from it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line. A token names a run before it has an id: it is in the run's input.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "kebab-case")]
pub(crate) enum Fact {
    /// The client is about to start a run.
    Starts { token: String, workflow: String, manner: Manner, expected: Outcome },
    /// The start was acknowledged.
    Started { token: String, run: String },
    /// A signal was acknowledged. Those of a token were sent one after the other.
    Signalled { token: String, run: String, number: u32 },
    /// An update with this number as its key was answered.
    Answered { token: String, run: String, number: u32, answer: u64 },
    /// A cancellation was acknowledged.
    Cancelled { token: String, run: String },
    /// The client was told how the run ended.
    Told { token: String, run: String, outcome: Outcome },
    /// The client was told something that must not happen.
    Refused { token: String, error: String },
}

/// How a run is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Manner {
    /// With a key, and again until it is acknowledged.
    Keyed,
    /// The same by two requests at once: there is one run.
    KeyedTwice,
    /// Once, without a key: if it is not acknowledged, there may be a run or not.
    Unkeyed,
    /// In a transaction that inserts a row: both or neither exist.
    InTransaction,
    /// In a transaction that is rolled back: there is no run.
    RolledBack,
}

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It returns this.
    Completed { result: Value },
    /// It fails with an error of this type.
    Failed { error: String },
    /// It was cancelled.
    Cancelled,
    /// That depends on the faults.
    Open,
}

/// The file of one client.
#[derive(Debug)]
pub(crate) struct Journal(Mutex<File>);

impl Journal {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(Mutex::new(file.with_context(|| format!("the journal {}", path.display()))?)))
    }

    /// Notes a fact before the client continues. The file outlives the process, so nothing is flushed to the disk.
    pub(crate) fn note(&self, fact: &Fact) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(fact)?;
        line.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line).context("the journal cannot be written")
    }
}
