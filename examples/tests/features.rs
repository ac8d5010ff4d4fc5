//! Every example is executed as a newcomer does, and shows what it is about. What has tests of its own is in other files.

use std::process::Command;

use pgworkflows_pg_harness::Postgres;

#[expect(dead_code, reason = "each test uses a part of it")]
mod support;

/// Executes the example to its end, which has to be a success, and looks for these texts in its output.
#[track_caller]
fn assert_shows(name: &str, command: &mut Command, texts: &[&str]) {
    let output = command.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{shown}\n{complaints}", output.status);
    for text in texts {
        assert!(shown.contains(text), "{name} does not show `{text}`:\n{shown}\n{complaints}");
    }
}

#[track_caller]
fn assert_feature(name: &str, texts: &[&str]) {
    assert_shows(name, &mut support::program(name, name), texts);
}

#[test]
fn auction_answers_every_bid() {
    assert_feature(
        "signals_and_updates",
        &[
            "Grace bids 1200, which is not enough",
            "Eve is told: update `bid` of run",
            "a bid of nothing",
            "Ada gets it for 2500",
        ],
    );
}

#[test]
fn failed_child_stops_no_other_child() {
    assert_feature("children", &["parcel to Austin is sent", "where is Atlantis?", "hotline is Cancelled"]);
}

#[test]
fn subscription_outlives_its_first_run() {
    assert_feature("subscription", &["Ada makes payment 13", "Ada cancelled after", "of the chain"]);
}

#[test]
fn failed_trip_is_cancelled_and_booked_one_stands() {
    let texts =
        ["cancelled the flight to Atlantis", "the trip to Athens is booked, but", "0 bookings are left"];
    assert_feature("compensation", &texts);
}

#[test]
fn fastest_supplier_wins_and_the_others_are_told() {
    assert_feature(
        "races",
        &[
            "the second supplier asks for 70",
            "Paper learns that nobody waits any more",
            "no supplier answers in time",
        ],
    );
}

#[test]
fn import_shows_its_progress() {
    assert_feature("import", &["loaded page 2", "seen: 3 pages, 30 rows", ": 30 rows"]);
}

#[test]
fn failures_are_tried_again_treated_or_told() {
    assert_feature(
        "failures",
        &[
            "500 cents are paid, after 3 attempts",
            "999 cents are paid, and 4001 by invoice",
            "50000 cents: Some(Declined(\"no money\"))",
        ],
    );
}

#[test]
fn requests_join_a_transaction() {
    let database = Postgres::shared().create_database().unwrap();
    let mut outbox = support::program("outbox", "outbox");
    outbox.env("DATABASE_URL", database.url());
    assert_shows("outbox", &mut outbox, &["is unknown: true", "Ada paid 4900 cents"]);
}

#[test]
fn outbox_says_that_it_needs_a_postgresql() {
    let output = support::program("outbox", "outbox_without_database").output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && complaints.contains("set DATABASE_URL=postgres://"), "{complaints}");
}

#[test]
fn film_is_rendered_where_it_was_downloaded() {
    assert_feature("activity_queues", &["Dawn was rendered by machine", "Noon was rendered by machine"]);
}

#[test]
fn client_needs_no_types() {
    let texts = [
        "it is a claim of 5000 cents now",
        "it shows 5000 and waits for [{\"kind\":\"signal\"",
        "\"cents\":2500",
        "stalled: the input of workflow `claim`",
        "`cents`",
    ];
    assert_feature("dynamic_client", &texts);
}

#[test]
fn trial_ends_with_a_decision() {
    let mut trial = support::program("trial_onboarding", "trial_onboarding");
    trial.args(["--trial", "1s", "--decide", "pro"]);
    assert_shows("trial_onboarding", &mut trial, &["Acme upgraded to pro."]);
}

#[test]
fn agent_refunds_what_is_approved_alone() {
    for (decision, answer) in [("approve", "were refunded"), ("refuse", "a person refused this")] {
        let mut agent = support::program("llm_agent", &format!("llm_agent_{decision}"));
        let last = format!("the last answer: About your refund: {answer}");
        let last = if decision == "approve" { answer } else { &last };
        assert_shows("llm_agent", agent.arg(decision), &["may the agent do this?", last]);
    }
}

#[test]
fn one_command_starts_an_api_and_three_workers() {
    let mut demo = support::program("axum_api", "axum_api_demo");
    assert_shows(
        "axum_api",
        demo.arg("demo"),
        &["\"address\":\"2 High Street\"", "\"tracking\":\"TRACK-7\""],
    );
}

#[test]
fn readme_lists_every_example() {
    let (readme, package) = (include_str!("../README.md"), include_str!("../Cargo.toml"));
    let examples: Vec<&str> =
        package.split("[[example]]\nname = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(examples.contains(&"trial_onboarding"));
    for example in examples {
        assert!(readme.contains(&format!("--example {example}")), "README.md does not list `{example}`");
    }
}
