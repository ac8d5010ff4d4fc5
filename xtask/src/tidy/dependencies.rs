//! Finds dependencies that nothing uses: each is built and trusted by every user for no gain. It must
//! not know Rust: a dependency is used where its name occurs as a word of a source file.

use super::File;
use super::manifest::{self, Package};

/// Which packages have dependencies that none of their sources name, and which of those that the
/// workspace offers no package has.
pub(crate) fn check(packages: &[Package], files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages {
        let sources = || files.iter().filter(|file| is_source_of(file, package, packages));
        for dependency in package.dependencies() {
            let name = dependency.replace('-', "_");
            if !sources().any(|file| names(&file.text, &name)) {
                wrong.push(format!("{}: depends on `{dependency}` but never uses it", package.name()));
            }
        }
    }
    let taken: Vec<String> = packages.iter().flat_map(Package::dependencies).collect();
    let offered = manifest::offered().unwrap_or_default();
    let idle = offered.iter().filter(|offer| !taken.contains(offer) && !is_member(offer, packages));
    wrong.extend(idle.map(|offer| format!("Cargo.toml: offers `{offer}`, which no package takes")));
    wrong
}

fn is_member(name: &str, packages: &[Package]) -> bool {
    packages.iter().any(|package| package.name() == name)
}

/// A package's sources are below its directory, but not below that of another package within it.
fn is_source_of(file: &File, package: &Package, packages: &[Package]) -> bool {
    let nearest = packages
        .iter()
        .filter(|candidate| file.path.starts_with(candidate.directory()))
        .max_by_key(|candidate| candidate.directory().components().count());
    file.has_extension("rs") && nearest.is_some_and(|nearest| nearest.name() == package.name())
}

/// Whether a source names a dependency: by its word, or by a derived trait whose expansion names it.
fn names(text: &str, dependency: &str) -> bool {
    let derived = dependency == "serde" && (has_word(text, "Serialize") || has_word(text, "Deserialize"));
    derived || has_word(text, dependency)
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::{has_word, names};

    #[test]
    fn derived_trait_is_a_use_of_its_crate() {
        assert!(names("#[derive(Serialize)]", "serde"));
        assert!(!names("#[derive(Debug)]", "serde"));
        assert!(!names("#[derive(Serialize)]", "tokio"));
    }

    #[test]
    fn dependency_is_used_only_where_its_whole_name_occurs() {
        assert!(has_word("use serde::Serialize;", "serde"));
        assert!(has_word("serde", "serde"));
        assert!(!has_word("use serde_json::Value;", "serde"));
        assert!(!has_word("use my_serde::Value;", "serde"));
        assert!(!has_word("", "serde"));
    }
}
