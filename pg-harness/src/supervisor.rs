//! Cleans up after a server, however the process that started it ends. It must not start a server.
//!
//! When a test is killed, no `Drop` runs. So a shell reads from a pipe that only this process holds. The system closes
//! the pipe when the process ends, and the shell stops the server and removes its files. `Drop` closes the pipe as
//! well, so every test exercises that path.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::account::Account;
use crate::error::Error;
use crate::installation::Installation;

/// `read` returns at the end of the file. Signals that a terminal sends to a whole group are ignored, because cleaning
/// up matters most then. A server that is just being started has no pid file yet; it exits when it notices that its
/// data directory was removed.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
while read -r line; do :; done
"$1/pg_ctl" stop -D "$2/data" -m immediate -w -t 10
rm -rf "$2"
"#;

/// The same for a pooler, which runs as the shell's child. It is killed, because it has no data to save.
const POOLER_SCRIPT: &str = r#"
trap '' HUP INT TERM
"$1" --quiet "$2/pgbouncer.ini" &
while read -r line; do :; done
kill -KILL "$!"
wait
rm -rf "$2"
"#;

/// The shell that waits for this process to end.
#[derive(Debug)]
pub(crate) struct Supervisor {
    shell: Child,
}

impl Supervisor {
    /// Watches `directory`. If it has a server, the server's data is in its subdirectory `data`.
    pub(crate) fn watch(
        installation: &Installation,
        account: Account,
        directory: &Path,
    ) -> Result<Self, Error> {
        Self::run(SCRIPT, account, installation.programs(), directory)
    }

    /// Runs the pooler whose configuration is in `directory`.
    pub(crate) fn run_pooler(program: &Path, account: Account, directory: &Path) -> Result<Self, Error> {
        Self::run(POOLER_SCRIPT, account, program, directory)
    }

    fn run(script: &str, account: Account, programs: &Path, directory: &Path) -> Result<Self, Error> {
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "supervisor"])
            .arg(programs)
            .arg(directory)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        account.run_as(&mut command);
        Ok(Self { shell: command.spawn().map_err(|error| Error::program("sh", error))? })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // An error here cannot be handled.
        let _ = self.shell.wait();
    }
}
