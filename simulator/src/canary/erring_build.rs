//! A build of the simulator with all known bugs in it, each asleep until the environment names it. It is made from a copy
//! of the workspace below `target`, and run as often as somebody likes. It must not know a bug.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Canary, erring_sources};

/// Names the bug that a build which errs is to have.
const VARIABLE: &str = "PGWORKFLOWS_CANARY";

/// What the copy's engine gets to ask whether it is to have a bug.
const SWITCH: &str = r#"
/// Which known bug this build is to have.
#[allow(missing_docs)]
pub mod canary {
    pub fn is(name: &str) -> bool {
        static ORDERED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        ORDERED.get_or_init(|| std::env::var("PGWORKFLOWS_CANARY").ok()).as_deref() == Some(name)
    }
}
"#;

/// The simulator with all known bugs in it, of which it has one at a time.
#[derive(Debug)]
pub struct ErringBuild {
    program: PathBuf,
}

impl ErringBuild {
    /// Brings the copy up to date and builds it, with optimisation if this program was built so.
    ///
    /// # Errors
    /// If a bug cannot be made any more, or what errs does not compile.
    pub fn make() -> Result<Self, String> {
        let (from, to) = (workspace(), workspace().join("target/canaries"));
        let mut sources = erring_sources(&from)?;
        let library =
            fs::read_to_string(from.join(LIBRARY)).map_err(|error| format!("{LIBRARY}: {error}"))?;
        sources.insert(PathBuf::from(LIBRARY), library + SWITCH);
        let mirrored = mirror(&from, &to, Path::new(""), &|path| sources.get(path).cloned());
        mirrored.map_err(|error| format!("{}: {error}", to.display()))?;

        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "pgworkflows-simulator",
            "--bin",
            "simulate",
        ]);
        build.current_dir(&to).env("CARGO_TARGET_DIR", to.join("target")).env("CARGO_INCREMENTAL", "0");
        // Thousands of worlds are simulated with what is built.
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
                Err(format!("the copy with the known bugs, {}, is not built: {status}", to.display()))
            }
            Err(error) => Err(format!("cargo cannot be run: {error}")),
        }
    }

    /// The program with one bug, to be given arguments and run.
    pub fn with(&self, canary: &Canary) -> Command {
        let mut simulate = Command::new(&self.program);
        simulate.env(VARIABLE, canary.name);
        simulate
    }

    /// The first of some seeds where a bug is found.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn find(&self, canary: &Canary, first: u64, count: u64) -> Result<Option<u64>, String> {
        let (first, count) = (first.to_string(), count.to_string());
        let mut simulate = self.with(canary);
        let output = simulate.args(["--until-violated", "--seed", &first, "--seeds", &count]).output();
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

/// Whether this very program errs.
pub fn errs() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Where the engine gets its switch.
const LIBRARY: &str = "core/src/lib.rs";

/// The root of the workspace.
pub(super) fn workspace() -> PathBuf {
    // Asked at run time: the program may have been built before the workspace was moved.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// Copies what is below `from`/`path`, changed where `changed` has a text for it. What is the same already is left as it
/// is, so that nothing is compiled again for it.
fn mirror(from: &Path, to: &Path, path: &Path, changed: &impl Fn(&Path) -> Option<String>) -> io::Result<()> {
    fs::create_dir_all(to.join(path))?;
    for entry in fs::read_dir(from.join(path))? {
        let entry = entry?;
        let path = path.join(entry.file_name());
        if path == Path::new("target") || entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // A link counts as what it leads to.
        if fs::metadata(entry.path())?.is_dir() {
            mirror(from, to, &path, changed)?;
            continue;
        }
        let content = changed(&path).map_or_else(|| fs::read(entry.path()), |text| Ok(text.into_bytes()))?;
        if !fs::read(to.join(&path)).is_ok_and(|there| there == content) {
            fs::write(to.join(&path), content)?;
        }
    }
    Ok(())
}
