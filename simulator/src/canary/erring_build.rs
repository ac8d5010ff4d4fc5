//! A build of the simulator with all known bugs in it, each inactive until the environment names it. It is made from a
//! copy of the workspace below `target`, and can be run many times. It must not know a bug.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Canary, erring_sources};

/// Names the bug that an erring build has.
const VARIABLE: &str = "PGWORKFLOWS_CANARY";

/// Added to the engine of the copy, which asks it whether to have a bug.
const SWITCH: &str = r#"
/// Which known bug this build has.
#[allow(missing_docs)]
pub mod canary {
    pub fn is(name: &str) -> bool {
        static ORDERED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        ORDERED.get_or_init(|| std::env::var("PGWORKFLOWS_CANARY").ok()).as_deref() == Some(name)
    }
}
"#;

/// The simulator with all known bugs in it, of which one is active at a time.
#[derive(Debug)]
pub struct ErringBuild {
    program: PathBuf,
}

impl ErringBuild {
    /// Brings the copy up to date and builds it, with optimisation if this program was built so.
    ///
    /// # Errors
    /// Returns an error if a bug cannot be made any more, or the copy does not compile.
    pub fn make() -> Result<Self, String> {
        let (from, to) = (workspace(), workspace().join("target/canaries"));
        let mut sources = erring_sources(&from)?;
        let library =
            fs::read_to_string(from.join(LIBRARY)).map_err(|error| format!("{LIBRARY}: {error}"))?;
        sources.insert(PathBuf::from(LIBRARY), library + SWITCH);
        let mirrored = mirror(&from, &to, Path::new(""), &|path| sources.get(path).cloned());
        mirrored.map_err(|error| format!("{}: {error}", to.display()))?;

        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args("build --quiet --locked --package pgworkflows-simulator --bin simulate".split(' '));
        build.current_dir(&to).env("CARGO_TARGET_DIR", to.join("target")).env("CARGO_INCREMENTAL", "0");
        // The build simulates thousands of worlds.
        build.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "false");
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        if profile == "release" {
            build.arg("--release");
        }
        match build.status() {
            Ok(status) if status.success() => {
                Ok(Self { program: to.join("target").join(profile).join("simulate") })
            }
            Ok(status) => {
                Err(format!("the copy with the known bugs, {}, cannot be built: {status}", to.display()))
            }
            Err(error) => Err(format!("cargo cannot be run: {error}")),
        }
    }

    /// The program with one bug, without arguments.
    pub fn with(&self, canary: &Canary) -> Command {
        let mut simulate = Command::new(&self.program);
        simulate.env(VARIABLE, canary.name);
        simulate
    }

    /// The first of these seeds with which a bug is found.
    ///
    /// # Errors
    /// Returns an error if the program cannot be run.
    pub fn find(&self, canary: &Canary, first: u64, count: u64) -> Result<Option<u64>, String> {
        let (first, count) = (first.to_string(), count.to_string());
        let mut simulate = self.with(canary);
        simulate.args(["--until-violated", "--seed", &first, "--seeds", &count]);
        simulate.args(canary.is_deadly().then_some("--deadly"));
        let output = simulate.output();
        let output = output.map_err(|error| format!("{}: {error}", self.program.display()))?;
        match String::from_utf8_lossy(&output.stdout).trim() {
            "" if output.status.success() => Ok(None),
            seed => seed.parse().map(Some).map_err(|_| {
                let said = String::from_utf8_lossy(&output.stderr);
                format!("the simulation with `{canary}`: {}, {seed}\n{said}", output.status)
            }),
        }
    }
}

/// Whether this program is an erring build.
pub fn errs() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// The file of the engine that `SWITCH` is added to.
const LIBRARY: &str = "core/src/lib.rs";

/// The root of the workspace.
pub(super) fn workspace() -> PathBuf {
    // Read at run time: the workspace may have been moved since the build.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// Copies the files below `from`/`path`, with the texts that `changed` returns, and removes those that are not there. Files that
/// are the same already are not written, so they are not compiled again.
fn mirror(from: &Path, to: &Path, path: &Path, changed: &impl Fn(&Path) -> Option<String>) -> io::Result<()> {
    fs::create_dir_all(to.join(path))?;
    for entry in fs::read_dir(from.join(path))? {
        let entry = entry?;
        let path = path.join(entry.file_name());
        if path == Path::new("target") || entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // Links are followed.
        if fs::metadata(entry.path())?.is_dir() {
            mirror(from, to, &path, changed)?;
            continue;
        }
        let content = changed(&path).map_or_else(|| fs::read(entry.path()), |text| Ok(text.into_bytes()))?;
        if !fs::read(to.join(&path)).is_ok_and(|there| there == content) {
            fs::write(to.join(&path), content)?;
        }
    }
    for entry in fs::read_dir(to.join(path))? {
        let entry = entry?;
        let is_own = path == Path::new("") && entry.file_name() == "target";
        if is_own || from.join(path).join(entry.file_name()).exists() {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
