//! The replay check: histories as files, and the errors for histories that the code does not follow, and for other
//! files.

use std::fs;
use std::path::PathBuf;

use pgworkflows_core::history::History;
use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{
    Error, ReplayCheck, TestEnv, parse_history, read_history, replay, replay_dir, write_history,
};
use serde_json::Value;

use crate::definitions::{APPROVED, Charge, HOUR, Order, Reserve, Sleeps, assert_says, order, orders};

// The same workflow after an incompatible change.
workflow!(Reordered, Order::NAME, |ctx, item: String| -> String {
    let charged = ctx.activity::<Charge>(4).await?;
    ctx.activity::<Reserve>(item).await?;
    Ok(charged)
});

async fn recorded() -> Result<History, Error> {
    let run = orders().build().start::<Order>("book".to_owned()).await?;
    run.signal(APPROVED, true).await?;
    run.result().await?;
    Ok(run.history())
}

fn json(history: &History) -> String {
    serde_json::to_string_pretty(history).expect("a history is writable")
}

/// The history after a change of the events in its file.
fn changed(history: &History, change: impl FnOnce(&mut Vec<Value>)) -> Result<History, Error> {
    let mut file = serde_json::to_value(history).expect("a history is writable");
    let events = file["events"].as_array_mut().expect("a list");
    change(events);
    file["count"] = events.len().into();
    file.as_object_mut().expect("an object").remove("digest");
    parse_history(&file.to_string())
}

/// The history after a change of the byte at that place of an event's body.
fn with_byte(
    history: &History,
    event: usize,
    place: usize,
    change: impl FnOnce(u8) -> u8,
) -> Result<History, Error> {
    changed(history, |events| {
        let mut body = events[event]["body"].as_str().expect("hexadecimal digits").to_owned();
        let digits = 2 * place..2 * place + 2;
        let byte = u8::from_str_radix(&body[digits.clone()], 16).expect("hexadecimal digits");
        body.replace_range(digits, &format!("{:02x}", change(byte)));
        events[event]["body"] = body.into();
    })
}

fn assert_refused(result: Result<impl std::fmt::Debug, Error>, parts: &[&str]) {
    let error = result.expect_err("it should be refused");
    assert!(error.is_invalid(), "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
}

/// A directory for one test, which is removed when it is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn history_is_the_same_after_its_file() -> Result<(), Error> {
    let history = recorded().await?;
    assert_eq!(parse_history(&json(&history))?, history);
    let replayed = replay::<Order>(&history)?;
    assert!(replayed.over && replayed.events == 7, "{replayed:?}");
    Ok(())
}

#[tokio::test]
async fn history_that_production_exports_is_the_same() -> Result<(), Error> {
    let env = orders().build();
    let run = order(&env).await?;
    let exported = env.drive(env.client().export(run.run_id())).await??;
    let exported = exported.with_sources::<Order>()?;
    let file = serde_json::to_string(&exported).expect("a history is writable");
    assert_eq!(parse_history(&file)?, run.history());
    let waits = replay::<Order>(&exported)?.waits;
    assert!(waits[0].starts_with("signal `approved` at"), "{waits:?}");
    Ok(())
}

#[tokio::test]
async fn divergence_shows_both_sides_with_their_lines_and_what_to_do() -> Result<(), Error> {
    let history = recorded().await?;
    let error = replay::<Reordered>(&history).unwrap_err();
    assert!(error.is_diverged() && !error.is_stuck());
    let text = error.to_string();
    assert_says(
        &text,
        &[
            "diverges from the history at event 2",
            "recorded: activity.scheduled `reserve` (call 1), at",
            "definitions.rs:",
            "the code: schedules activity `charge` (call 1) at",
            "histories.rs:",
            "let the open runs end before you deploy",
        ],
    );
    assert_eq!(error.divergence().and_then(|divergence| divergence.seq).map(|seq| seq.get()), Some(2));
    Ok(())
}

#[tokio::test]
async fn divergence_after_the_last_recorded_event_is_found() -> Result<(), Error> {
    // Given a history that was cut in the middle of the decisions of one poll
    let cut = changed(&recorded().await?, |events| events.truncate(1))?;
    let error = replay::<Order>(&cut).unwrap_err();
    assert!(error.is_diverged());
    assert!(error.to_string().contains("continues where the history ends"), "{error}");
    Ok(())
}

#[tokio::test]
async fn history_of_every_end_can_be_replayed() -> Result<(), Error> {
    let env = orders().build();
    let runs = [
        env.start::<Order>("rejected".to_owned()).await?,
        env.start::<Order>("cancelled".to_owned()).await?,
        env.start::<Order>("terminated".to_owned()).await?,
    ];
    runs[0].signal(APPROVED, false).await?;
    runs[1].cancel().await?;
    runs[2].terminate("the test says so").await?;
    for run in runs {
        assert!(run.result().await.is_err());
        assert!(replay::<Order>(&run.history())?.over, "{}", run.history());
    }
    Ok(())
}

#[tokio::test]
async fn history_of_another_workflow_is_refused() -> Result<(), Error> {
    assert_refused(
        replay::<Sleeps>(&recorded().await?),
        &["workflow `order`", "workflow `sleeps` was to replay it"],
    );
    Ok(())
}

#[tokio::test]
async fn history_without_events_is_refused() -> Result<(), Error> {
    let empty = changed(&recorded().await?, Vec::clear)?;
    assert_refused(replay::<Order>(&empty), &["its history is empty"]);
    Ok(())
}

#[tokio::test]
async fn history_with_a_gap_is_refused() -> Result<(), Error> {
    let gap = changed(&recorded().await?, |events| drop(events.remove(2)))?;
    assert_refused(replay::<Order>(&gap), &["incomplete", "event 4, where event 3 should be"]);
    Ok(())
}

#[tokio::test]
async fn history_of_a_newer_build_is_refused_by_kind_and_by_version() -> Result<(), Error> {
    let history = recorded().await?;
    let newer_kind = changed(&history, |events| events[1]["name"] = "activity.dreamt".into());
    assert_refused(newer_kind, &["event 2", "`activity.dreamt`", "newer"]);
    // The version follows the head of the array.
    let newer_version = with_byte(&history, 1, 1, |_| 9)?;
    assert_refused(replay::<Order>(&newer_version), &["event 2", "version 9", "newer"]);
    Ok(())
}

#[tokio::test]
async fn file_of_a_newer_format_is_refused() -> Result<(), Error> {
    let json = json(&recorded().await?).replace("pgworkflows-history/1", "pgworkflows-history/2");
    assert_refused(parse_history(&json), &["has format `pgworkflows-history/2`", "or a newer one"]);
    Ok(())
}

#[tokio::test]
async fn file_that_lost_events_is_refused() -> Result<(), Error> {
    let mut value = serde_json::to_value(recorded().await?).expect("a history is writable");
    value["events"].as_array_mut().expect("a list").pop();
    assert_refused(parse_history(&value.to_string()), &["incomplete", "7 events, and has 6"]);
    Ok(())
}

#[tokio::test]
async fn file_that_was_changed_is_refused_until_it_says_so() -> Result<(), Error> {
    let mut value = serde_json::to_value(recorded().await?).expect("a history is writable");
    value["events"][0]["at"] = "2025-12-31T23:00:00.000000Z".into();
    assert_refused(parse_history(&value.to_string()), &["changed or damaged", "remove its `digest`"]);
    value.as_object_mut().expect("an object").remove("digest");
    replay::<Order>(&parse_history(&value.to_string())?)?;
    Ok(())
}

#[tokio::test]
async fn file_that_is_cut_anywhere_is_refused() -> Result<(), Error> {
    let json = json(&recorded().await?);
    for end in 0..json.len() {
        let cut = parse_history(&json[..end]).expect_err("it is incomplete");
        assert!(cut.is_invalid() && cut.to_string().contains("cut short"), "{end}: {cut}");
    }
    Ok(())
}

#[tokio::test]
async fn damage_anywhere_is_an_error_or_harmless() -> Result<(), Error> {
    let history = recorded().await?;
    let (json, events) = (json(&history), history.events()?);
    for place in 0..json.len() {
        for byte in [b'0', b'"', b'}', b'z'] {
            let mut damaged = json.clone().into_bytes();
            damaged[place] = byte;
            let damaged = String::from_utf8(damaged).expect("one ASCII character replaced another");
            // Only text for people may change: the words of an event, and source lines.
            if let Ok(read) = parse_history(&damaged) {
                assert_eq!(
                    (read.run_id(), read.events()?),
                    (history.run_id(), events.clone()),
                    "{place} {byte}"
                );
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn damaged_bodies_are_errors_and_never_a_panic() -> Result<(), Error> {
    let history = recorded().await?;
    let file = serde_json::to_value(&history).expect("a history is writable");
    for event in 0..history.len() {
        let digits = file["events"][event]["body"].as_str().expect("hexadecimal digits").len();
        for place in 0..digits / 2 {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let damaged = with_byte(&history, event, place, |byte| byte ^ flip)?;
                // Some changes have no consequence, such as another letter in a name that is not compared.
                let _ = replay::<Order>(&damaged);
                let _ = format!("{damaged:#}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn directory_of_histories_is_checked_in_one_call() -> Result<(), Error> {
    let directory = Directory::new("directory_of_histories_is_checked_in_one_call");
    for number in 0..20 {
        write_history(&recorded().await?, directory.0.join(format!("order-{number:02}.json")))?;
    }
    fs::write(directory.0.join("README.md"), "not a history").expect("a file");
    assert_eq!(replay_dir::<Order>(&directory.0)?, 20);
    Ok(())
}

#[tokio::test]
async fn every_bad_file_of_a_directory_is_named() -> Result<(), Error> {
    let directory = Directory::new("every_bad_file_of_a_directory_is_named");
    let file = |name: &str| directory.0.join(name);
    let history = recorded().await?;
    write_history(&history, file("1-good.json"))?;
    fs::write(file("2-cut.json"), &json(&history)[..200]).expect("a file");
    fs::write(file("3-none.json"), "[1, 2, 3]").expect("a file");
    fs::write(file("4-bytes.json"), [0xff, 0xfe]).expect("a file");
    let env = TestEnv::builder().workflow::<Sleeps>().build();
    let sleeping = env.start::<Sleeps>(HOUR).await?;
    write_history(&sleeping.history(), file("5-other.json"))?;

    let check = ReplayCheck::new().workflow::<Order>();
    let parts = [
        "4 of 5 histories cannot be replayed",
        "2-cut.json: the history is cut short",
        "3-none.json: this is not a history",
        "4-bytes.json: is not text",
        "5-other.json: it is a history of workflow `sleeps`, and this check knows [\"order\"]",
    ];
    assert_refused(check.dir(&directory.0), &parts);
    assert_refused(
        ReplayCheck::new().workflow::<Reordered>().dir(&directory.0),
        &["1-good.json: run", "diverges"],
    );
    Ok(())
}

#[test]
fn empty_check_is_an_error() {
    let directory = Directory::new("empty_check_is_an_error");
    assert_refused(replay_dir::<Order>(&directory.0), &["holds no `.json` file"]);
    assert_refused(replay_dir::<Order>(directory.0.join("absent")), &["absent: cannot be read"]);
    assert_refused(read_history(directory.0.join("absent.json")), &["absent.json: cannot be read"]);
}
