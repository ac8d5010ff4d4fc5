//! Texts that others wrote, on a SQLite file: a terminal shows them and obeys none, and the JSON of every command is JSON.

use std::future::pending;
use std::path::PathBuf;

use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use serde_json::Value;

use crate::support::*;

/// It sets the title, clears the screen, changes the colour by a single character, makes up an event, and turns the text around.
const HOSTILE: &str = "no\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{7f}\r\n 9  0s  run.completed\u{202e}!";

/// A name may have such characters, but no control characters.
const KEY: &str = "ключ 世界 $(id) \u{202e}'";

/// Fails with a text.
#[workflow(name = "hostile")]
async fn hostile(_ctx: Context, text: String) -> WorkflowResult<()> {
    Err(WorkflowError::new("refused", text))
}

/// A file with runs of two workflows, and their ids: one that failed, and one that is paused.
async fn file_with_runs(name: &str) -> (PathBuf, [String; 2]) {
    let file = std::env::temp_dir().join(format!("pgworkflows-cli-{name}-{}.db", std::process::id()));
    let store = pgworkflows::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let client = Client::builder(store.clone()).queue_shards(4).build().unwrap();
    let worker = Worker::builder(store).name("clerk").processors(1).queue_shards(4);
    let worker = worker.workflow::<order>().workflow::<hostile>().build().unwrap();
    let working = tokio::spawn(worker.run_until(pending::<()>()));
    let failed = client.start::<hostile>(HOSTILE.to_owned()).key(KEY).await.unwrap();
    failed.result().timeout(PATIENCE).await.unwrap_err();
    let paused = client.start::<order>(Order { item: 1 }).await.unwrap();
    paused.pause().reason(HOSTILE).await.unwrap();
    reached(&paused, RunStatus::Paused).await;
    working.abort();
    (file, [failed.run_id().to_string(), paused.run_id().to_string()])
}

fn remove(file: &std::path::Path) {
    for suffix in ["", "-wal", "-shm", "-next", "-now"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_others_wrote_is_shown_and_never_obeyed() {
    let (file, [failed, paused]) = file_with_runs("terminal").await;
    let url = format!("sqlite:{}", file.display());
    // Colours are forced: then nothing is taken out of what a terminal gets.
    let run = async |arguments: &[&str]| run_in(Some(&url), &[("CLICOLOR_FORCE", "1")], arguments).await;
    let by_key = ["runs", "show", "--workflow", "hostile", "--key", KEY];
    let commands: [&[&str]; 17] = [
        &["runs", "list"],
        &["runs", "list", "--all"],
        &["runs", "show", &failed],
        &["runs", "show", &paused],
        &by_key,
        &["runs", "why", &failed],
        &["runs", "why", &paused],
        &["runs", "history", &failed],
        &["runs", "history", &paused],
        &["runs", "watch", &failed],
        &["runs", "signal", &failed, "approve"],
        &["queues"],
        &["queues", "--queue", HOSTILE],
        &["workers"],
        &["workers", "--queue", HOSTILE],
        &["export", &failed],
        &["doctor"],
    ];
    for command in commands {
        let Ran { mut out, mut err, .. } = run(command).await;
        for colour in ["\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[0m"] {
            (out, err) = (out.replace(colour, ""), err.replace(colour, ""));
        }
        let is_obeyed = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!out.contains(is_obeyed) && !err.contains(is_obeyed), "{command:?}: {out:?} {err:?}");
        let is_made_up = |line: &str| line.starts_with(" 9 ") || line.starts_with("9 ");
        assert!(!out.lines().any(is_made_up), "{command:?}: {out}");
    }
    // One event is one line, so that the last ones are what they are said to be.
    let last = run(&["runs", "history", &failed, "--limit", "1"]).await;
    assert_eq!(last.out.lines().count(), 1, "{last:?}");
    assert!(last.out.contains(r"run.failed: no\u{1b}]0;owned\u{7}"), "{last:?}");
    remove(&file);
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_of_every_command_is_json_for_scripts_and_keeps_every_character() {
    let (file, [failed, paused]) = file_with_runs("json").await;
    let url = format!("sqlite:{}", file.display());
    let commands: [&[&str]; 16] = [
        &["runs", "list"],
        &["runs", "show", &failed],
        &["runs", "why", &paused],
        &["runs", "history", &failed],
        &["runs", "start", "order", "{\"item\": 1}", "--key", KEY],
        &["runs", "signal", &paused, "approve"],
        &["runs", "pause", &paused],
        &["runs", "resume", &paused],
        &["runs", "retry", &paused],
        &["runs", "cancel", &paused],
        &["runs", "terminate", &paused, "--reason", HOSTILE],
        &["queues"],
        &["workers"],
        &["export", &failed],
        &["migrate"],
        &["completions", "bash"],
    ];
    let json = async |arguments: &[&str]| {
        let ran = run(Some(&url), &[arguments, &["--json"]].concat()).await;
        let value: Result<Value, _> = serde_json::from_str(&ran.out);
        value.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {ran:?}"))
    };
    for command in commands {
        json(command).await;
    }
    // The output is a pipe, from which sequences of control characters are taken out.
    assert_eq!(json(&["runs", "show", &failed]).await["key"], KEY);
    let events = json(&["runs", "history", &failed]).await;
    assert!(events.to_string().contains(&serde_json::json!(HOSTILE).to_string()), "{events}");
    for lines in [&["runs", "list", "--all", "--json"][..], &["runs", "watch", &failed, "--json"]] {
        let ran = run(Some(&url), lines).await;
        assert!(
            ran.out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
            "{lines:?}: {ran:?}"
        );
    }

    // An error is a value, too, also one about the arguments
    for wrong in
        [&["runs", "show", "seven"][..], &["runs", "lits"], &["runs"], &["queues", "--queue", HOSTILE]]
    {
        let ran = run(Some(&url), &[wrong, &["--json"]].concat()).await;
        let error: Value = serde_json::from_str(&ran.err).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        assert!(
            error["error"]["kind"].is_string() && ran.out.is_empty() && ran.code != 0,
            "{wrong:?}: {ran:?}"
        );
    }
    remove(&file);
}

#[tokio::test]
async fn look_at_a_file_changes_nothing_and_a_playground_quotes_its_address() {
    let file = std::env::temp_dir().join(format!("pgworkflows-cli it's {}.db", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let url = format!("sqlite:{}", file.display());
    run(Some(&url), &["runs", "list"]).await.refused(5, &["lacks 1 of 1 migrations", "pgworkflows migrate"]);
    assert_eq!(file.metadata().unwrap().len(), 0);
    let made = run(None, &["dev", "--file", file.to_str().unwrap()]).await;
    let quoted = format!("export PGWORKFLOWS_URL='{}'", url.replace('\'', r"'\''"));
    assert!(made.code == 0 && made.out.contains(&quoted), "{made:?}");
    // A file that is named precedes the address of the environment.
    let named = run(Some("memory:"), &["dev", "--file", file.to_str().unwrap()]).await;
    assert_eq!(named.out, made.out);
    assert_eq!(run(Some(&url), &["runs", "list"]).await.out, "no such run\n");
    // Without a queue no run can be there, also for those who ask something of one.
    let none = "019b7a00-0000-7007-8000-000000000001";
    for command in ["show", "cancel"] {
        run(Some(&url), &["runs", command, none]).await.refused(3, &["there is no run", none]);
    }
    remove(&file);
}
