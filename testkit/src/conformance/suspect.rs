//! Suspects: the mark on a run that may be what ends the processes that work on it. It outlives its owner.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::{LeaseId, RunId};
use pgworkflows_core::store::{Append, Suspect, SuspectStage};

use super::Harness;
use super::fixture::{Ground, LONG, SHARDS, Writer, assert_conflict, assert_fenced, busy, claim, seal};
use SuspectStage::{Held, SetAside, Tried};

fn suspect(run: RunId, stage: SuspectStage, strikes: u32) -> Suspect {
    Suspect { run, stage, strikes }
}

/// What the next owner of all shards learns, after the lease of the one before has run out.
async fn found_by_the_heir(ground: &Ground<'_>) -> Vec<Suspect> {
    ground.harness.let_lease_expire().await;
    ground.mortal_writer().await.suspects
}

/// Opens a run and marks it.
async fn mark(writer: &mut Writer, run: RunId, stage: SuspectStage, strikes: u32) {
    writer.write(writer.draft().open(run, busy()).event(run).suspect(run, stage, strikes)).await;
}

pub async fn mark_outlives_its_owner(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.mortal_writer().await;
    assert_eq!(writer.suspects, []);
    let mut runs = [ground.run(3), ground.run(0), ground.run(1)];
    for (run, stage) in runs.into_iter().zip([Tried, Held, SetAside]) {
        mark(&mut writer, run, stage, 2).await;
    }
    let mut expected = [suspect(runs[0], Tried, 2), suspect(runs[1], Held, 2), suspect(runs[2], SetAside, 2)];
    runs.sort_unstable();
    expected.sort_by_key(|suspect| suspect.run);
    assert_eq!(found_by_the_heir(&ground).await, expected);
    assert_eq!(found_by_the_heir(&ground).await, expected, "nobody took it away");
}

pub async fn run_that_is_not_logged_yet_can_be_marked(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.mortal_writer().await;
    let run = ground.run(0);
    writer.write(writer.draft().suspect(run, Tried, 0)).await;
    assert_eq!(found_by_the_heir(&ground).await, [suspect(run, Tried, 0)]);
}

pub async fn last_mark_counts(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.mortal_writer().await;
    let run = ground.run(0);
    mark(&mut writer, run, Held, 0).await;
    writer.write(writer.draft().suspect(run, Tried, 0)).await;
    writer.write(writer.draft().suspect(run, SetAside, 3)).await;
    assert_eq!(found_by_the_heir(&ground).await, [suspect(run, SetAside, 3)]);
}

pub async fn cleared_run_is_no_suspect(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.mortal_writer().await;
    let (cleared, kept) = (ground.run(0), ground.run(1));
    mark(&mut writer, cleared, Tried, 1).await;
    mark(&mut writer, kept, Tried, 1).await;
    writer.write(writer.draft().clear(cleared).clear(ground.run(2))).await;
    assert_eq!(found_by_the_heir(&ground).await, [suspect(kept, Tried, 1)]);
}

pub async fn run_that_is_over_is_no_suspect(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.mortal_writer().await;
    let (ended, marked_at_its_end, marked_after_its_end) = (ground.run(0), ground.run(0), ground.run(0));
    mark(&mut writer, ended, Tried, 1).await;
    writer.write(writer.draft().event(ended).close(ended)).await;
    let draft = writer.draft().event(marked_at_its_end).close(marked_at_its_end);
    writer.write(draft.suspect(marked_at_its_end, Tried, 0)).await;
    writer.open_and_close(marked_after_its_end).await;
    writer.write(writer.draft().suspect(marked_after_its_end, Tried, 0)).await;
    assert_eq!(found_by_the_heir(&ground).await, []);
}

pub async fn suspects_are_those_of_all_shards_of_the_lease(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut one = ground.claim(2, LONG).await;
    let mut other = ground.claim(2, LONG).await;
    let runs = [ground.run(0), ground.run(3)];
    mark(&mut one, runs[0], Tried, 0).await;
    mark(&mut other, runs[1], Held, 0).await;
    let again = one.session.claim(&claim(Some(one.lease), 2, LONG)).await.unwrap();
    assert_eq!(again.suspects, [suspect(runs[0], Tried, 0)]);
    other.release().await;
    let all = one.session.claim(&claim(Some(one.lease), SHARDS, LONG)).await.unwrap();
    let mut expected = [suspect(runs[0], Tried, 0), suspect(runs[1], Held, 0)];
    expected.sort_by_key(|suspect| suspect.run);
    assert_eq!(all.suspects, expected);
}

pub async fn marks_on_runs_of_a_foreign_shard_are_fenced(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(2, LONG).await;
    let mut other = ground.claim(2, LONG).await;
    let foreign = ground.run(3);
    mark(&mut other, foreign, Held, 0).await;
    assert_fenced(writer.append(&writer.draft().suspect(foreign, Tried, 0).seal()).await);
    assert_fenced(writer.append(&writer.draft().clear(foreign).seal()).await);
    let again = other.session.claim(&claim(Some(other.lease), 2, LONG)).await.unwrap();
    assert_eq!(again.suspects, [suspect(foreign, Held, 0)]);
}

pub async fn refused_append_marks_nobody(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.mortal_writer().await;
    let (run, unknown) = (ground.run(0), ground.run(0));
    assert_conflict(writer.append(&writer.draft().suspect(run, Held, 0).event(unknown).seal()).await);
    assert_conflict(writer.append(&writer.draft().suspect(run, Held, 0).suspect(run, Tried, 0).seal()).await);
    assert_eq!(found_by_the_heir(&ground).await, []);
}

pub async fn another_mark_under_the_same_number_is_fenced(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.mortal_writer().await;
    let run = ground.run(0);
    let held = writer.write(writer.draft().suspect(run, Held, 0)).await;
    writer.append(&held).await.expect("a repetition is accepted");
    let tried = writer.draft().suspect(run, Tried, 0).seal();
    assert_fenced(writer.append(&seal(Append { number: held.number, ..tried })).await);
    assert_eq!(found_by_the_heir(&ground).await, [suspect(run, Held, 0)]);
}

pub async fn release_holds_what_was_being_tried(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(2, LONG).await;
    let mut other = ground.claim(2, harness.lease_ttl()).await;
    let (tried, aside, foreign) = (ground.run(0), ground.run(1), ground.run(3));
    mark(&mut writer, tried, Tried, 1).await;
    mark(&mut writer, aside, SetAside, 2).await;
    mark(&mut other, foreign, Tried, 0).await;
    writer.release().await;
    let mut expected = [suspect(tried, Held, 0), suspect(aside, SetAside, 2), suspect(foreign, Tried, 0)];
    expected.sort_by_key(|suspect| suspect.run);
    assert_eq!(found_by_the_heir(&ground).await, expected);
}

pub async fn run_at_fault_gets_a_strike(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let run = ground.run(0);
    let mut writer = ground.writer().await;
    writer.open(run, busy()).await;
    // One that was no suspect becomes one
    writer.release_for(Some(run)).await;
    let mut writer = ground.writer().await;
    assert_eq!(writer.suspects, [suspect(run, Held, 1)]);
    // One that was being tried is held
    writer.write(writer.draft().suspect(run, Tried, 1)).await;
    writer.release_for(Some(run)).await;
    assert_eq!(ground.writer().await.suspects, [suspect(run, Held, 2)]);
}

pub async fn lease_gives_one_strike_however_often_it_is_released(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let (run, other) = (ground.run(0), ground.run(1));
    let mut writer = ground.writer().await;
    for at_fault in [None, Some(run), Some(run), Some(other), None] {
        writer.release_for(at_fault).await;
    }
    assert_eq!(ground.writer().await.suspects, [suspect(run, Held, 1)]);
}

pub async fn run_at_fault_gets_its_strike_though_the_lease_ran_out(harness: &dyn Harness) {
    // Given a lease that ran out, and an heir that tries the run
    let ground = Ground::new(harness).await;
    let run = ground.run(0);
    let mut late = ground.mortal_writer().await;
    harness.let_lease_expire().await;
    let mut heir = ground.mortal_writer().await;
    mark(&mut heir, run, Tried, 0).await;
    // When the late one says whose fault it was, twice
    late.release_for(Some(run)).await;
    late.release_for(Some(run)).await;
    // Then it counts once, and the heir is still trying
    assert_eq!(found_by_the_heir(&ground).await, [suspect(run, Tried, 1)]);
}

pub async fn unknown_lease_gives_no_strike(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.mortal_writer().await;
    writer.lease = LeaseId::new(1 << 40);
    writer.release_for(Some(ground.run(0))).await;
    assert_eq!(found_by_the_heir(&ground).await, []);
}

pub async fn run_at_fault_that_is_over_is_no_suspect(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let run = ground.run(0);
    let mut writer = ground.mortal_writer().await;
    writer.open_and_close(run).await;
    writer.release_for(Some(run)).await;
    assert_eq!(found_by_the_heir(&ground).await, []);
}
