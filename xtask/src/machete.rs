//! Dependencies that nothing uses, by cargo-machete: every user would build and trust them for nothing. The manifests
//! contain the exceptions; this file must not.

use std::env;
use std::process::Command;

use crate::command::{self, Failure, cargo, root};

const VERSION: &str = "0.9.2";

/// Builds cargo-machete once, into the target directory. If that fails, the check is skipped.
pub(crate) fn check() -> Result<(), Failure> {
    let own = env::current_exe().unwrap_or_default();
    // This program is in `debug` of the target directory.
    let tools = own.ancestors().nth(2).unwrap_or(&own).join("tools").join(VERSION);
    let program = tools.join("bin").join("cargo-machete");
    if !program.exists() {
        let mut install =
            cargo(["install", "--quiet", "--locked", "--debug", "--version", VERSION, "--root"]);
        install.arg(&tools).arg("cargo-machete");
        if let Err(failure) = command::run(install) {
            eprintln!("     unused dependencies NOT CHECKED: {failure}");
            return Ok(());
        }
    }
    let mut machete = Command::new(program);
    machete.current_dir(root());
    command::output(machete).map(drop)
}
