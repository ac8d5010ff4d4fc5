//! What people get wrong with a file: each error has its exit code, names the file and says what to do, and nothing is lost.

use std::path::PathBuf;
use std::process::Command;

use crate::support::*;

/// A directory for the files of a test, which is deleted with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pgworkflows-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn on(file: &str, arguments: &[&str]) -> Ran {
    run(Some(&format!("sqlite:{file}")), arguments).await
}

/// Runs the program by a shell that begins with this, such as a limit.
fn limited(limit: &str, file: &str, arguments: &[&str]) -> Ran {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{limit}; exec \"$@\"")).arg("sh").arg(env!("CARGO_BIN_EXE_pgworkflows"));
    shell.args(arguments).env("PGWORKFLOWS_URL", format!("sqlite:{file}")).env_remove("PGWORKFLOWS_SCHEMA");
    let output = shell.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code().expect("it was killed"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

#[tokio::test]
async fn file_that_cannot_be_a_store_is_refused_by_every_command_and_left_alone() {
    let directory = Directory::new("refused");
    let notes = directory.file("notes.txt");
    let text = "These are notes, and no database.\n".repeat(100);
    std::fs::write(&notes, &text).unwrap();
    for command in [&["runs", "list"][..], &["migrate"], &["queues"], &["runs", "start", "order", "1"]] {
        on(&notes, command).await.refused(5, &[&notes, "is not a SQLite database", "another file"]);
        let missing = on(&directory.file("no/runs.db"), command).await;
        assert!([3, 5].contains(&missing.code) && missing.err.contains("no/runs.db"), "{missing:?}");
    }
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), text);
}

#[tokio::test]
async fn doctor_examines_the_file_and_what_is_in_it() {
    let directory = Directory::new("doctor");
    let file = directory.file("runs.db");
    // Given no file, and a file that is no database
    let missing = on(&file, &["doctor"]).await;
    assert!(
        missing.code == 5 && missing.out.starts_with("wrong    file           there is no file"),
        "{missing:?}"
    );
    std::fs::write(&file, "These are notes, and no database.\n".repeat(100)).unwrap();
    let notes = on(&file, &["doctor"]).await;
    assert!(notes.code == 5 && notes.out.contains("is not a SQLite database"), "{notes:?}");
    std::fs::remove_file(&file).unwrap();
    // Given a store
    assert_eq!(on(&file, &["migrate"]).await.code, 0);
    let ran = on(&file, &["doctor", "--strict", "--json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let checks =
        answer["findings"].as_array().unwrap().iter().map(|finding| finding["check"].as_str().unwrap());
    let expected = ["file", "schema", "journal", "integrity", "leases", "stalled-runs", "workflows", "tasks"];
    assert_eq!(checks.collect::<Vec<_>>(), expected);
    // And one with a run that no worker executes
    assert_eq!(on(&file, &["runs", "start", "order", "1"]).await.code, 0);
    let waits = on(&file, &["doctor"]).await;
    assert_eq!(waits.code, 1, "{waits:?}");
    assert!(waits.out.contains("queue `default` has open runs of `order`, and no live worker"), "{waits:?}");
}

#[tokio::test]
async fn run_that_does_not_exist_or_has_another_input_is_refused_in_a_file_too() {
    let directory = Directory::new("requests");
    let file = directory.file("runs.db");
    assert_eq!(on(&file, &["migrate"]).await.code, 0);
    let none = "019b7a00-0000-7007-8000-000000000001";
    on(&file, &["runs", "show", none])
        .await
        .refused(3, &["there is no run", none, &format!("the file `{file}`")]);
    on(&file, &["runs", "cancel", none]).await.refused(3, &["there is no run", none]);
    let started = on(&file, &["runs", "start", "order", r#"{"item": 1}"#, "--key", "o-1"]).await;
    assert_eq!(started.code, 0, "{started:?}");
    on(&file, &["runs", "start", "order", r#"{"item": 2}"#, "--key", "o-1"])
        .await
        .refused(4, &["`o-1`", "order"]);
    on(&file, &["runs", "start", "order", "{item}"]).await.refused(2, &["is not JSON"]);
    let listed = on(&file, &["runs", "list"]).await;
    assert_eq!(listed.out.lines().count(), 2, "{listed:?}");
}

/// The system refuses to let any file grow, as a full disk does.
#[tokio::test]
async fn disk_that_takes_no_more_bytes_is_an_error_and_loses_nothing() {
    let directory = Directory::new("full");
    let file = directory.file("runs.db");
    assert_eq!(on(&file, &["migrate"]).await.code, 0);
    let first = on(&file, &["runs", "start", "order", "1", "--key", "first"]).await;
    assert_eq!(first.code, 0, "{first:?}");
    // The limit is in blocks of 512 bytes. A write beyond it is an error where its signal is ignored.
    let big = format!("\"{}\"", "x".repeat(1 << 20));
    std::fs::write(directory.file("big.json"), big).unwrap();
    let input = format!("@{}", directory.file("big.json"));
    let start = ["runs", "start", "order", &input, "--key", "second"];
    limited("trap '' XFSZ; ulimit -f 1024", &file, &start).refused(5, &[&file]);
    // With room again, the run that was accepted is there, and the other one can be started
    let listed = on(&file, &["runs", "list"]).await;
    assert!(listed.out.contains("first") && !listed.out.contains("second"), "{listed:?}");
    let second = on(&file, &start).await;
    assert_eq!(second.code, 0, "{second:?}");
}

/// As every file that the user's programs create.
#[cfg(unix)]
#[tokio::test]
async fn file_and_what_is_beside_it_have_the_rights_that_the_umask_leaves() {
    use std::os::unix::fs::PermissionsExt;

    let directory = Directory::new("rights");
    let file = directory.file("runs.db");
    let migrated = limited("umask 077", &file, &["migrate"]);
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let mut found = 0;
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{entry:?}");
        found += 1;
    }
    assert!(found >= 3, "{found} files");
}
