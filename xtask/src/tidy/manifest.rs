//! Reads as much of the manifests as the checks need. It must not judge them.
//!
//! It understands how this workspace writes TOML (one key per line, tables with headers of their own),
//! not all of TOML: a parser would be this program's only dependency.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Failure, root};

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its directory, relative to the root of the workspace.
    directory: PathBuf,
    name: String,
    manifest: String,
}

impl Package {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn has_features(&self) -> bool {
        !keys(&self.manifest, |table| table == "features").is_empty()
    }

    /// The names under which its code knows its dependencies, those for tests and builds included.
    pub(crate) fn dependencies(&self) -> Vec<String> {
        keys(&self.manifest, |table| {
            let table = table.rsplit_once("'.").map_or(table, |(_target, table)| table);
            matches!(table, "dependencies" | "dev-dependencies" | "build-dependencies")
        })
    }
}

/// The members that the root manifest lists.
pub(crate) fn packages() -> Result<Vec<Package>, Failure> {
    let members = members(&read(Path::new(""))?);
    members.into_iter().map(|member| package(PathBuf::from(member))).collect()
}

/// The dependencies that the root manifest offers to the members.
pub(crate) fn offered() -> Result<Vec<String>, Failure> {
    Ok(keys(&read(Path::new(""))?, |table| table == "workspace.dependencies"))
}

fn package(directory: PathBuf) -> Result<Package, Failure> {
    let manifest = read(&directory)?;
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    match name {
        Some(name) => Ok(Package { name: name.to_owned(), directory, manifest }),
        None => Err(Failure::new(format!("{}: its manifest has no name", directory.display()))),
    }
}

fn read(directory: &Path) -> Result<String, Failure> {
    let path = root().join(directory).join("Cargo.toml");
    fs::read_to_string(&path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn members(manifest: &str) -> Vec<String> {
    let list = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.unwrap_or_default();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The keys in the tables that are wanted, and the names of their subtables (`[dependencies.name]`).
fn keys(manifest: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut keys = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = wanted(table);
            if let Some((parent, key)) = table.rsplit_once('.')
                && wanted(parent)
            {
                keys.push(key.to_owned());
            }
        } else if inside
            && let Some((key, _)) = line.split_once('=')
            && !line.starts_with(['#', ' ', '\t'])
        {
            let key = key.trim();
            keys.push(key.strip_suffix(".workspace").unwrap_or(key).to_owned());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::{Package, members};
    use std::path::PathBuf;

    #[test]
    fn dependencies_are_read_however_they_are_written() {
        let manifest = "[package]\nname = \"a\"\n\n[features]\nx = []\n\n[dependencies]\n# why\n\
                        one.workspace = true\ntwo = { version = \"1\", features = [\n  \"y\",\n] }\n\
                        [dependencies.three]\nversion = \"1\"\n\n[dev-dependencies]\nfour = \"1\"\n\n\
                        [target.'cfg(unix)'.dependencies]\nfive = \"1\"\n\n[lints]\nworkspace = true\n";
        let package =
            Package { directory: PathBuf::new(), name: "a".to_owned(), manifest: manifest.to_owned() };

        assert_eq!(package.dependencies(), ["one", "two", "three", "four", "five"]);
        assert!(package.has_features());
    }

    #[test]
    fn members_are_read() {
        assert_eq!(members("members = [\n    \"core\",\n    \"a/b\",\n]\nx = [\"y\"]"), ["core", "a/b"]);
    }
}
