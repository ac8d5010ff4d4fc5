//! The example programs as processes. It must not know what they do.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a test waits for a line, in case the program hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// An example that `cargo test` has built, without a database, in a directory of its own.
pub(crate) fn program(name: &str, directory: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples").join(name);
    assert!(
        program.exists(),
        "{} was not built: run `cargo build -p pgworkflows-examples --examples` before a single test",
        program.display()
    );
    let mut command = Command::new(program);
    command.current_dir(empty(directory)).env_remove("DATABASE_URL").stdin(Stdio::null());
    command
}

/// An empty directory, which is kept until the next execution of its test.
pub(crate) fn empty(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{name}: {error}"),
        _ => std::fs::create_dir_all(&directory).unwrap(),
    }
    directory
}

/// A program that is killed at the end of its test.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// The next line that contains this text.
    #[track_caller]
    pub(crate) fn line_with(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("the program prints no line with `{text}`: {error}"),
            }
        }
    }

    /// As `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
