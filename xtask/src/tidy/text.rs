//! Rules for every text file. It must not know any format.

use std::path::Path;

/// Directories of one person's machine. Pieced together, so that this file does not break its own rule.
const MACHINES: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// The marks of an unfinished merge.
const CONFLICTS: [&str; 2] = ["<<<<<<< ", ">>>>>>> "];

/// The problems of a file, each with its line.
pub(crate) fn check(path: &Path, text: &str) -> Vec<String> {
    // Generated, and full of addresses that look like paths.
    if path == Path::new("Cargo.lock") {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        if let Some(machine) = MACHINES.iter().find(|machine| names(line, machine)) {
            wrong.push(format!("line {number}: `{machine}` exists on one machine only"));
        }
        if CONFLICTS.iter().any(|conflict| line.starts_with(conflict)) {
            wrong.push(format!("line {number}: an unfinished merge"));
        }
    }
    wrong
}

/// Whether a line names an absolute path, and not an address or a relative path that looks like one.
fn names(line: &str, directory: &str) -> bool {
    line.match_indices(directory).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '-' | '_' | '/' | '}' | '$'))
    })
}

#[cfg(test)]
mod tests {
    use super::check;
    use std::path::Path;

    fn wrong(text: &str) -> usize {
        check(Path::new("README.md"), text).len()
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        assert_eq!(wrong(concat!("cd /ho", "me/me/project")), 1);
        assert_eq!(wrong(concat!("path = \"/wo", "rk/project\"")), 1);
        assert_eq!(wrong(concat!("see https://example.org/wo", "rk/ and src/wo", "rk/")), 0);
        assert_eq!(wrong("/usr/lib/postgresql, /var/run/docker.sock"), 0);
    }

    #[test]
    fn unfinished_merges_are_found() {
        assert_eq!(wrong(&format!("a\n{} HEAD\nb\n", "<".repeat(7))), 1);
        assert_eq!(wrong("a <<< b"), 0);
    }
}
