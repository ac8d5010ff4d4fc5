//! A worker in a separate process, which tests stop, continue and kill.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// The signal that no process survives.
const SIGKILL: i32 = 9;

/// A running `trial_worker`; killed when the value is dropped.
#[derive(Debug)]
pub(crate) struct TrialWorker {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl TrialWorker {
    /// Starts a worker on that database. The arguments say when it crashes: see the program.
    pub(crate) fn spawn(database_url: &str, arguments: &[&str]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_trial_worker")).args(arguments), database_url)
    }

    /// Starts a worker whose leases last that many seconds.
    pub(crate) fn spawn_with_lease(database_url: &str, seconds: u32) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trial_worker"));
        Self::run(command.env("LEASE_SECONDS", seconds.to_string()), database_url)
    }

    /// Starts a `memory_worker` with a budget of that many bytes.
    pub(crate) fn spawn_with_memory(database_url: &str, budget: usize) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memory_worker"));
        Self::run(command.env("MEMORY_MAX", budget.to_string()), database_url)
    }

    fn run(command: &mut Command, database_url: &str) -> Self {
        let mut child = command
            .env("DATABASE_URL", database_url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let to = Arc::clone(&lines);
        // The thread ends with the process.
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).for_each(|line| to.lock().unwrap().push(line))
        });
        Self { child, lines }
    }

    /// The lines that it has printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Tells it to shut down.
    pub(crate) fn shut_down(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Whether it has ended by itself, without an error.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some_and(|status| status.success())
    }

    /// Whether `SIGKILL` has ended it.
    ///
    /// # Panics
    /// Panics if it ended in any other way.
    pub(crate) fn was_killed(&mut self) -> bool {
        match self.child.try_wait().unwrap() {
            None => false,
            Some(status) if status.signal() == Some(SIGKILL) => true,
            Some(status) => panic!("the worker ended by itself: {status}; it printed {:#?}", self.lines()),
        }
    }

    /// Continues the stopped process.
    pub(crate) fn resume(&self) {
        let kill = format!("kill -CONT {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Whether the process is stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        let ps =
            Command::new("ps").args(["-o", "stat=", "-p", &self.child.id().to_string()]).output().unwrap();
        ps.stdout.starts_with(b"T")
    }
}

impl Drop for TrialWorker {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
