//! Loading runs and reading deadlines.

use bytes::Bytes;
use pgworkflows_core::id::RunId;
use pgworkflows_core::store::{Load, OpenState, RunHistory};

use crate::support::*;

#[tokio::test]
async fn the_bodies_of_a_history_are_contiguous() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    let batch = writer.batch().opened(run, OpenState::Busy, None);
    writer.append((1..=20).fold(batch, |batch, seq| batch.event(run, seq))).await.unwrap();
    let histories = writer.load(&[run]).await;
    for pair in histories[0].frames.windows(2) {
        assert_eq!(pair[0].body.as_ptr().wrapping_add(pair[0].body.len()), pair[1].body.as_ptr());
    }
}

#[tokio::test]
async fn large_frames_are_loaded_in_parts() {
    // Given a run whose frames are too large to be stored in their rows, between two other runs
    let world = World::new().await;
    let mut writer = world.writer().await;
    let [before, large, after] = [1, 2, 3].map(|shard| world.run(shard));
    let mut batch = writer.batch().event(before, 1).event(after, 1);
    batch = (1..=5).fold(batch, |batch, seq| batch.event(large, seq));
    for frame in batch.append.frames.iter_mut().filter(|frame| frame.run == large) {
        frame.body = Bytes::from(vec![frame.seq.get() as u8; 1 << 20]);
    }
    writer.append(batch).await.unwrap();

    // When they are loaded, with a limit of little more than two frames
    let mut runs = [before, large, after];
    runs.sort_unstable();
    let (mut from, mut seq, mut parts) = (runs[0], None, Vec::new());
    loop {
        let runs: Vec<RunId> = runs.iter().copied().filter(|run| *run >= from).collect();
        let loaded = writer.session.load(&Load { runs, after: seq, bytes: 5 << 19 }).await.unwrap();
        let part = |history: &RunHistory| (history.run, history.frames.len());
        parts.push(loaded.histories.iter().map(part).collect::<Vec<_>>());
        let Some(cut) = loaded.cut else { break };
        let last = loaded.histories.last().filter(|history| history.run == cut);
        (from, seq) = (cut, last.and_then(|history| history.frames.last()).map(|frame| frame.seq));
    }

    // Then each part has what fits
    assert_eq!(parts, [vec![(before, 1), (large, 2)], vec![(large, 2)], vec![(large, 1), (after, 1)]]);
}

#[tokio::test]
async fn a_gap_in_a_history_does_not_keep_other_runs_from_loading() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let (damaged, whole) = (world.run(0), world.run(1));
    let batch = writer.batch().event(damaged, 1).event(damaged, 2).event(damaged, 3);
    let batch = batch.opened(damaged, OpenState::Busy, None).opened(whole, OpenState::Busy, None);
    writer.append(batch.event(whole, 1).event(whole, 2)).await.unwrap();
    world.execute(format!("delete from pgworkflows.frames where seq = 2 and run_id = '{damaged}'")).await;

    let histories = writer.load(&[damaged, whole]).await;
    let seqs = |history: &RunHistory| history.frames.iter().map(|frame| frame.seq.get()).collect::<Vec<_>>();
    let found: Vec<_> = histories.iter().map(|history| (history.run, seqs(history))).collect();
    assert_eq!(found, [(damaged, vec![1, 3]), (whole, vec![1, 2])]);
}
