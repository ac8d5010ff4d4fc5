//! No password of an address in any output.

use crate::support::*;

const SECRET: &str = "hunter2";

#[tokio::test(flavor = "multi_thread")]
async fn password_is_in_no_output_of_any_command() {
    let world = World::new().await;
    let run_id = world.client.start::<order>(Order { item: 1 }).await.unwrap().run_id().to_string();
    // The server trusts everybody, so an address with a password works, too.
    let with_password = world.database.url().replacen("postgres@", &format!("postgres:{SECRET}@"), 1);
    let as_parameter = format!("{}?password={SECRET}", world.database.url());
    let urls = [
        with_password.as_str(),
        as_parameter.as_str(),
        "postgres://app:hunter2@127.0.0.1:1/app",
        "postgres://app:hunter2@[::1/app",
        "postgres://app:hunter2@127.0.0.1:99999999/app",
        "postgres://app:hunter2@127.0.0.1/app?sslmode=sometimes",
        "mysql://app:hunter2@db/app",
        "hunter2",
        "postgres:hunter2",
        "memory:hunter2",
    ];
    let commands: [&[&str]; 14] = [
        &["runs", "list"],
        &["runs", "show", &run_id],
        &["runs", "why", &run_id],
        &["runs", "history", &run_id],
        &["runs", "cancel", &run_id, "--json"],
        &["runs", "show", "019b7a00-0000-7007-8000-000000000001"],
        &["queues"],
        &["workers", "--json"],
        &["export", &run_id],
        &["migrate", "--check"],
        &["doctor"],
        &["doctor", "--json"],
        &["--help"],
        &["runs", "list", "--help"],
    ];
    for url in urls {
        for command in commands {
            let ran = run(Some(url), command).await;
            assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET), "{url} {command:?}: {ran:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn address_in_the_wrong_place_is_shown_without_its_password() {
    let url = "postgres://app:hunter2@db/app";
    let commands: [&[&str]; 7] = [
        &[url],
        &["runs", url],
        &["runs", "list", url],
        &["runs", "show", url],
        &["runs", "list", "--limit", url],
        &["--uri", url, "runs", "list"],
        &["runs", "start", "order", url],
    ];
    for command in commands {
        let ran = run(Some("memory:"), command).await;
        assert!(
            ran.code == 2 && !ran.err.contains(SECRET) && !ran.out.contains(SECRET),
            "{command:?}: {ran:?}"
        );
    }
}
