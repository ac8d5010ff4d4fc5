//! Histories as files, and completions.

use pgworkflows::history::{History, replay};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn exported_history_is_checked_shown_and_replayed_and_a_damaged_one_refused() {
    // Given a run that waits
    let world = World::new().await;
    let worker = world.work();
    let run = world.client.start::<order>(Order { item: 7 }).await.unwrap().run_id().to_string();
    world.until(&["runs", "show", &run], |ran| ran.out.contains("waiting")).await;
    worker.stop().await;

    // When its history is exported
    let path = std::env::temp_dir().join(format!("pgworkflows-cli-{}-{run}.json", std::process::id()));
    let path = path.to_str().unwrap();
    let exported = world.run(&["export", &run, "--output", path]).await;
    assert_eq!(exported.out, format!("run {run}: 1 event in `{path}`\n"), "{exported:?}");
    world.run(&["export", &run, "--output", path]).await.refused(1, &["exists", "--force"]);
    assert_eq!(world.run(&["export", &run, "--output", path, "--force"]).await.code, 0);

    // Then code follows it, and it can be read without a store
    let text = std::fs::read_to_string(path).unwrap();
    let history: History = serde_json::from_str(&text).unwrap();
    replay::<order>(&history).unwrap();
    let imported = crate::support::run(None, &["import", path]).await;
    assert!(
        imported.out.contains(&format!("run {run} of workflow `order`: 1 event, it was open")),
        "{imported:?}"
    );
    assert!(imported.out.contains("run.started order {\"item\": 7}"), "{imported:?}");

    // And a change of it is found
    std::fs::write(path, text.replacen("\"seq\": 1", "\"seq\": 2", 1)).unwrap();
    crate::support::run(None, &["import", path]).await.refused(2, &["changed or damaged", path]);
    std::fs::write(path, "{}").unwrap();
    crate::support::run(None, &["import", path]).await.refused(2, &["is not the history of a run"]);
    std::fs::remove_file(path).unwrap();
    crate::support::run(None, &["import", path]).await.refused(3, &["cannot be read", path]);
}

#[tokio::test]
async fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(None, &["completions", shell]).await;
        assert!(script.code == 0 && script.out.contains("terminate"), "{shell}");
    }
    run(None, &["completions", "cmd"]).await.refused(2, &["'cmd'", "bash"]);
}

#[tokio::test]
async fn scripts_of_the_tables_and_of_the_roles_are_printed_without_a_store() {
    let tables = run(None, &["migrate", "--print", "--schema", "flows"]).await;
    assert!(tables.code == 0 && tables.out.contains("create table flows.frames"), "{tables:?}");
    let roles = run(None, &["migrate", "--print-roles", "--schema", "flows"]).await;
    assert!(roles.code == 0 && roles.out.contains("flows_worker"), "{roles:?}");
    assert!(!roles.out.contains("create table"), "{roles:?}");
    run(None, &["migrate", "--print", "--print-roles"]).await.refused(2, &["--print-roles"]);
}

#[tokio::test]
async fn playground_says_how_to_use_it() {
    // It may be any store; without --url, it is a SQLite file.
    let playground = run(None, &["dev", "--url", "memory:"]).await;
    assert!(playground.code == 0 && playground.out.contains("The runs are in this store."), "{playground:?}");
    assert!(playground.out.contains("pgworkflows runs why --workflow hello --key hello:1"), "{playground:?}");
}

#[tokio::test]
async fn colours_are_for_terminals_and_those_who_want_them() {
    let doctor = async |variables: &[(&str, &str)]| run_in(Some("memory:"), variables, &["doctor"]).await.out;
    assert!(!doctor(&[]).await.contains('\u{1b}'));
    assert!(doctor(&[("CLICOLOR_FORCE", "1")]).await.contains("\u{1b}[32mok"));
    assert!(!doctor(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).await.contains('\u{1b}'));
}

#[tokio::test]
async fn help_lists_the_exit_codes_and_every_command_has_help() {
    let help = run(None, &["--help"]).await;
    assert!(help.out.contains("Exit codes:") && help.out.contains("  4  the run is over"), "{help:?}");
    for command in
        ["list", "show", "why", "history", "start", "signal", "cancel", "terminate", "pause", "resume"]
    {
        assert!(
            run(None, &["runs", command, "--help"]).await.out.contains("Usage: pgworkflows runs"),
            "{command}"
        );
    }
    // Files get no colours, nor do those who want none.
    assert!(!help.out.contains('\u{1b}'), "{help:?}");
}
