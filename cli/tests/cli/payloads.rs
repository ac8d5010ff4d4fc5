//! No payload in the output of a command that asks for none.

use pgworkflows::client::RunStatus;

use crate::support::*;

const SECRET: &str = "s3cret-payload";

fn kept(until: &str) -> Vault {
    Vault { until: until.to_owned(), secret: SECRET.to_owned() }
}

/// Runs in which everything is secret, in every state: their ids.
async fn runs(world: &World) -> Vec<String> {
    let mut runs = Vec::new();
    for (until, status) in [
        ("signal", RunStatus::Waiting),
        ("retry", RunStatus::Waiting),
        ("child", RunStatus::Waiting),
        ("failure", RunStatus::Failed),
        ("panic", RunStatus::Stalled),
        ("done", RunStatus::Completed),
    ] {
        let run = world.client.start::<vault>(kept(until)).key(until).await.unwrap();
        reached(&run, status).await;
        runs.push(run);
    }
    assert_eq!(runs[0].update(ASK, SECRET.to_owned()).await.unwrap(), SECRET);
    runs[0].signal_named("never-taken", serde_json::json!(SECRET)).await.unwrap();
    let of_another_type =
        world.client.start_named("order", serde_json::json!({"item": SECRET})).await.unwrap();
    reached(&of_another_type, RunStatus::Stalled).await;
    let of_no_worker = world.client.start_named("unknown", serde_json::json!(SECRET)).await.unwrap();
    let typed = runs.iter().map(|run| run.run_id());
    typed.chain([of_another_type.run_id(), of_no_worker.run_id()]).map(|id| id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn payload_is_in_no_output_of_a_command_that_asks_for_none() {
    let world = World::new().await;
    let worker = world.work();
    let runs = runs(&world).await;

    let content = format!("\"{SECRET}\"");
    let input = format!(r#"{{"until": "signal", "secret": "{SECRET}"}}"#);
    let of_another_type = format!(r#"{{"item": "{SECRET}"}}"#);
    let path = std::env::temp_dir().join(format!("pgworkflows-cli-payload-{}.json", std::process::id()));
    std::fs::write(&path, format!("{{\"secret\": {SECRET}}}")).unwrap();
    let no_json = format!("@{}", path.display());
    let mut commands: Vec<Vec<&str>> = vec![
        vec!["runs", "list"],
        vec!["runs", "list", "--all"],
        vec!["queues"],
        vec!["workers"],
        vec!["doctor"],
        vec!["runs", "start", "vault", &input],
        vec!["runs", "start", "vault", &input, "--key", "done"],
        vec!["runs", "start", "order", &of_another_type],
        vec!["runs", "start", "vault", &no_json],
    ];
    for run in &runs {
        for command in ["why", "pause", "resume", "retry"] {
            commands.push(vec!["runs", command, run]);
        }
        commands.push(vec!["runs", "signal", run, "never-taken", &content]);
        commands.push(vec!["runs", "signal", run, "never-taken", &no_json]);
    }
    for run in &runs {
        commands.push(vec!["runs", "cancel", run]);
        commands.push(vec!["runs", "terminate", run, "--reason", "enough"]);
        commands.push(vec!["runs", "why", run]);
    }
    for command in &commands {
        let ran = world.run(command).await;
        assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET), "{command:?}: {ran:?}");
    }
    // These ask for payloads.
    for command in [["runs", "history"], ["runs", "show"]] {
        let ran = world.run(&[&command[..], &["--workflow", "vault", "--key", "done"]].concat()).await;
        assert!(ran.out.contains(SECRET), "{ran:?}");
    }
    std::fs::remove_file(path).unwrap();
    worker.stop().await;
}
