//! Released migrations are never edited: a database that has already applied one would stay different from a database
//! that applies it later. It must not know SQL.

use super::git;
use crate::command::Failure;

const DIRECTORY: &str = "migrations";

/// The released migrations that differ from the last release. Before the first release, and in a clone without tags,
/// there is none to compare with.
pub(crate) fn check() -> Result<Vec<String>, Failure> {
    let Ok(release) = git(&["describe", "--tags", "--abbrev=0", "--match", "v*"]) else {
        return Ok(Vec::new());
    };
    let release = release.trim();
    let changes = git(&["diff", "--name-status", "--no-renames", release, "--", DIRECTORY])?;
    Ok(edited(&changes, release))
}

fn edited(changes: &str, release: &str) -> Vec<String> {
    changes
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(change, file)| *change != "A" && file.ends_with(".sql"))
        .map(|(_, file)| format!("{file}: was released with {release}; add a new migration instead"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::edited;

    #[test]
    fn only_new_migrations_may_follow_a_release() {
        let changes = "A\tmigrations/0003_c.sql\nM\tmigrations/0001_a.sql\n\
                       D\tmigrations/0002_b.sql\nM\tmigrations/README.md\n";

        let wrong = edited(changes, "v0.1.0");

        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].starts_with("migrations/0001_a.sql") && wrong[1].contains("0002_b.sql"));
    }
}
