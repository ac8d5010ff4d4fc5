//! `cargo xtask package`: packs what would be published, and builds it from the packages alone. It must not publish.

use std::fs;

use crate::command::{self, Failure, cargo, root};

/// The files that every package contains beside its sources, for people who read it in the registry.
const COMPANIONS: [&str; 3] = ["README.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Packs every package that is published, and builds each of them from what was packed, so that a missing file is
/// noticed. `cargo package --workspace` cannot do it: it also packs packages that are not published, and refuses them
/// because they depend on each other without a version.
pub(crate) fn run() -> Result<(), Failure> {
    // The check runs before a commit, so the tree may have changes.
    let mut package = cargo(["package", "--locked", "--allow-dirty"]);
    for name in published()? {
        let listed = command::output(cargo(["package", "--list", "--allow-dirty", "--package", &name]))?;
        if let Some(lacking) = COMPANIONS.iter().find(|file| !listed.lines().any(|line| line == **file)) {
            return Err(Failure::new(format!(
                "the package `{name}` lacks {lacking}: put it into its directory"
            )));
        }
        package.args(["--package", &name]);
    }
    command::run(package)
}

/// The packages of the workspace that do not say `publish = false`.
fn published() -> Result<Vec<String>, Failure> {
    let unreadable = |error| Failure::new(format!("the workspace cannot be listed: {error}"));
    let mut names = Vec::new();
    for entry in fs::read_dir(root()).map_err(unreadable)? {
        let manifest = entry.map_err(unreadable)?.path().join("Cargo.toml");
        // Most directories that are no packages have no manifest.
        let Ok(manifest) = fs::read_to_string(manifest) else { continue };
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        if !manifest.lines().any(|line| line == "publish = false") {
            names.extend(name.map(str::to_owned));
        }
    }
    Ok(names)
}
