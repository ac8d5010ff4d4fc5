//! Suspects: the mark on a run that may end the processes that work on it. The mark outlives its owner.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::{LeaseId, RunId};
use pgworkflows_core::store::{Suspect, SuspectStage};

use super::fixture::Fixture;
use super::writer::{LONG, SHARDS, Writer, busy};
use SuspectStage::{Held, SetAside, Tried};

fn suspect(run: RunId, stage: SuspectStage, strikes: u32) -> Suspect {
    Suspect { run, stage, strikes }
}

/// The suspects that the next owner of all shards learns of after the present lease has expired.
async fn next_suspects(fixture: &Fixture) -> Vec<Suspect> {
    fixture.harness.let_lease_expire().await;
    fixture.expiring_writer().await.suspects
}

/// Opens a run and marks it.
async fn mark(writer: &mut Writer, run: RunId, stage: SuspectStage, strikes: u32) {
    writer.write(writer.draft().open(run, busy()).event(run).suspect(run, stage, strikes)).await;
}

pub async fn mark_outlives_its_owner(fixture: &Fixture) {
    let mut writer = fixture.expiring_writer().await;
    assert_eq!(writer.suspects, []);
    let mut runs = [fixture.run(3), fixture.run(0), fixture.run(1)];
    for (run, stage) in runs.into_iter().zip([Tried, Held, SetAside]) {
        mark(&mut writer, run, stage, 2).await;
    }
    let mut expected = [suspect(runs[0], Tried, 2), suspect(runs[1], Held, 2), suspect(runs[2], SetAside, 2)];
    runs.sort_unstable();
    expected.sort_by_key(|suspect| suspect.run);
    assert_eq!(next_suspects(fixture).await, expected);
    assert_eq!(next_suspects(fixture).await, expected, "no mark was cleared");
}

pub async fn run_that_is_not_logged_yet_can_be_marked(fixture: &Fixture) {
    let mut writer = fixture.expiring_writer().await;
    let run = fixture.run(0);
    writer.write(writer.draft().suspect(run, Tried, 0)).await;
    assert_eq!(next_suspects(fixture).await, [suspect(run, Tried, 0)]);
}

pub async fn last_mark_counts(fixture: &Fixture) {
    let mut writer = fixture.expiring_writer().await;
    let run = fixture.run(0);
    mark(&mut writer, run, Held, 0).await;
    writer.write(writer.draft().suspect(run, Tried, 0)).await;
    writer.write(writer.draft().suspect(run, SetAside, 3)).await;
    assert_eq!(next_suspects(fixture).await, [suspect(run, SetAside, 3)]);
}

pub async fn cleared_run_is_no_suspect(fixture: &Fixture) {
    let mut writer = fixture.expiring_writer().await;
    let (cleared, kept) = (fixture.run(0), fixture.run(1));
    mark(&mut writer, cleared, Tried, 1).await;
    mark(&mut writer, kept, Tried, 1).await;
    writer.write(writer.draft().clear(cleared).clear(fixture.run(2))).await;
    assert_eq!(next_suspects(fixture).await, [suspect(kept, Tried, 1)]);
}

pub async fn run_that_is_over_is_no_suspect(fixture: &Fixture) {
    let mut writer = fixture.expiring_writer().await;
    let (ended, marked_at_its_end, marked_after_its_end) = (fixture.run(0), fixture.run(0), fixture.run(0));
    mark(&mut writer, ended, Tried, 1).await;
    writer.write(writer.draft().event(ended).close(ended)).await;
    let draft = writer.draft().event(marked_at_its_end).close(marked_at_its_end);
    writer.write(draft.suspect(marked_at_its_end, Tried, 0)).await;
    writer.open_and_close(marked_after_its_end).await;
    writer.write(writer.draft().suspect(marked_after_its_end, Tried, 0)).await;
    assert_eq!(next_suspects(fixture).await, []);
}

pub async fn suspects_are_those_of_all_shards_of_the_lease(fixture: &Fixture) {
    let mut one = fixture.claim(2, LONG).await;
    let mut other = fixture.claim(2, LONG).await;
    let runs = [fixture.run(0), fixture.run(3)];
    mark(&mut one, runs[0], Tried, 0).await;
    mark(&mut other, runs[1], Held, 0).await;
    let again = one.claim_again(2).await.unwrap();
    assert_eq!(again.suspects, [suspect(runs[0], Tried, 0)]);
    other.release().await;
    let all = one.claim_again(SHARDS).await.unwrap();
    let mut expected = [suspect(runs[0], Tried, 0), suspect(runs[1], Held, 0)];
    expected.sort_by_key(|suspect| suspect.run);
    assert_eq!(all.suspects, expected);
}

pub async fn marks_on_runs_of_a_foreign_shard_are_fenced(fixture: &Fixture) {
    let mut writer = fixture.claim(2, LONG).await;
    let mut other = fixture.claim(2, LONG).await;
    let foreign = fixture.run(3);
    mark(&mut other, foreign, Held, 0).await;
    writer.expect_fenced(writer.draft().suspect(foreign, Tried, 0)).await;
    writer.expect_fenced(writer.draft().clear(foreign)).await;
    let again = other.claim_again(2).await.unwrap();
    assert_eq!(again.suspects, [suspect(foreign, Held, 0)]);
}

pub async fn refused_append_marks_no_run(fixture: &Fixture) {
    let mut writer = fixture.expiring_writer().await;
    let (run, unknown) = (fixture.run(0), fixture.run(0));
    writer.expect_conflict(writer.draft().suspect(run, Held, 0).event(unknown)).await;
    writer.expect_conflict(writer.draft().suspect(run, Held, 0).suspect(run, Tried, 0)).await;
    assert_eq!(next_suspects(fixture).await, []);
}

pub async fn another_mark_with_the_same_number_is_fenced(fixture: &Fixture) {
    let mut writer = fixture.expiring_writer().await;
    let run = fixture.run(0);
    let held = writer.write(writer.draft().suspect(run, Held, 0)).await;
    writer.append(&held).await.expect("a repetition is accepted");
    writer.expect_fenced(writer.draft().suspect(run, Tried, 0).numbered(held.number)).await;
    assert_eq!(next_suspects(fixture).await, [suspect(run, Held, 0)]);
}

pub async fn release_holds_the_runs_being_tried(fixture: &Fixture) {
    let mut writer = fixture.claim(2, LONG).await;
    let mut other = fixture.claim(2, fixture.harness.lease_ttl()).await;
    let (tried, aside, foreign) = (fixture.run(0), fixture.run(1), fixture.run(3));
    mark(&mut writer, tried, Tried, 1).await;
    mark(&mut writer, aside, SetAside, 2).await;
    mark(&mut other, foreign, Tried, 0).await;
    writer.release().await;
    let mut expected = [suspect(tried, Held, 0), suspect(aside, SetAside, 2), suspect(foreign, Tried, 0)];
    expected.sort_by_key(|suspect| suspect.run);
    assert_eq!(next_suspects(fixture).await, expected);
}

pub async fn run_at_fault_gets_a_strike(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    // A run that was no suspect becomes one
    writer.release_for(Some(run)).await;
    let mut writer = fixture.writer().await;
    assert_eq!(writer.suspects, [suspect(run, Held, 1)]);
    // A run that was being tried is held
    writer.write(writer.draft().suspect(run, Tried, 1)).await;
    writer.release_for(Some(run)).await;
    assert_eq!(fixture.writer().await.suspects, [suspect(run, Held, 2)]);
}

pub async fn lease_gives_one_strike_however_often_it_is_released(fixture: &Fixture) {
    let (run, other) = (fixture.run(0), fixture.run(1));
    let mut writer = fixture.writer().await;
    for at_fault in [None, Some(run), Some(run), Some(other), None] {
        writer.release_for(at_fault).await;
    }
    assert_eq!(fixture.writer().await.suspects, [suspect(run, Held, 1)]);
}

pub async fn run_at_fault_gets_its_strike_although_the_lease_expired(fixture: &Fixture) {
    // Given an expired lease, and a next owner that tries the run
    let run = fixture.run(0);
    let mut late = fixture.expired_writer().await;
    let mut next = fixture.expiring_writer().await;
    mark(&mut next, run, Tried, 0).await;
    // When the former owner says twice that the run is at fault
    late.release_for(Some(run)).await;
    late.release_for(Some(run)).await;
    // Then it counts once, and the next owner is still trying the run
    assert_eq!(next_suspects(fixture).await, [suspect(run, Tried, 1)]);
}

pub async fn unknown_lease_gives_no_strike(fixture: &Fixture) {
    let mut writer = fixture.expiring_writer().await;
    writer.lease = LeaseId::new(1 << 40);
    writer.release_for(Some(fixture.run(0))).await;
    assert_eq!(next_suspects(fixture).await, []);
}

pub async fn run_at_fault_that_is_over_is_no_suspect(fixture: &Fixture) {
    let run = fixture.run(0);
    let mut writer = fixture.expiring_writer().await;
    writer.open_and_close(run).await;
    writer.release_for(Some(run)).await;
    assert_eq!(next_suspects(fixture).await, []);
}
