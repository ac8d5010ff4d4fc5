//! What people ask: descriptions, lists, histories, outcomes.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use bytes::Bytes;
use pgworkflows_core::id::{EventSeq, RunId};
use pgworkflows_core::store::{
    ClosedRun, ClosedStatus, Notice, OpenState, RunFilter, RunPage, Topic, Watch, Watched, What,
};

use super::Harness;
use super::fixture::{Ground, WORKFLOW, busy, closed_run, parked, stalled};

async fn list(ground: &Ground<'_>, filter: RunFilter, before: Option<RunId>, limit: u32) -> Vec<RunId> {
    let page = RunPage { before, limit };
    let runs = ground.store.query().list(&filter, &page).await.unwrap();
    runs.into_iter().map(|run| run.run).collect()
}

pub async fn unknown_run_has_no_description(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    assert_eq!(ground.store.query().describe(ground.run(0)).await.unwrap(), None);
    assert_eq!(ground.history_len(ground.run(0)).await, 0);
}

pub async fn unknown_key_finds_nothing(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    ground.accept(&ground.keyed(ground.run(0), "trial", "acme", None)).await;
    assert_eq!(ground.store.query().find("trial", "other").await.unwrap(), None);
    assert_eq!(ground.store.query().find("invoice", "acme").await.unwrap(), None);
}

pub async fn run_is_found_by_its_key(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let run = ground.run(0);
    ground.accept(&ground.keyed(run, "trial", "acme", None)).await;
    assert_eq!(ground.store.query().find("trial", "acme").await.unwrap(), Some(run));
}

/// The ends of the runs, as far as so many bytes of them go.
async fn watched(ground: &Ground<'_>, runs: &[RunId], bytes: usize) -> Watched {
    let topics = runs.iter().map(|run| Topic { run: *run, what: What::Closed }).collect();
    ground.store.watch(&Watch { topics, bytes }).await.unwrap()
}

/// The answer in which these runs have ended.
fn ended<const N: usize>(closed: [&ClosedRun; N]) -> Watched {
    Watched { notices: closed.map(|closed| Notice::Closed(closed.clone())).into(), cut: None }
}

pub async fn watch_tells_of_runs_that_are_over_only(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (over, open) = (ground.run(0), ground.run(0));
    writer.open(open, busy()).await;
    let outcome = ClosedRun { status: ClosedStatus::Failed, ..closed_run(over) };
    writer.write(writer.draft().event(over).close_with(outcome.clone())).await;

    let mut runs = [open, over, ground.run(0)];
    runs.sort();
    assert_eq!(watched(&ground, &runs, usize::MAX).await, ended([&outcome]));
    assert_eq!(watched(&ground, &[], usize::MAX).await, ended([]));
}

pub async fn notices_that_do_not_fit_are_cut_and_asked_for_again(harness: &dyn Harness) {
    // Given an open run between three that are over, the second with more bytes than the others
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let mut runs = [0; 4].map(|shard| ground.run(shard));
    runs.sort();
    let [one, open, long, last] = runs;
    let ends = [(one, 4), (long, 7), (last, 3)]
        .map(|(run, bytes)| ClosedRun { outcome: Bytes::from(vec![b'x'; bytes]), ..closed_run(run) });
    writer.open(open, busy()).await;
    for end in &ends {
        writer.write(writer.draft().event(end.run).close_with(end.clone())).await;
    }
    // Then an answer holds what fits, and says where it was cut
    let [first, second, third] = &ends;
    let cut = |run| Some(Topic { run, what: What::Closed });
    assert_eq!(watched(&ground, &runs, 14).await, ended([first, second, third]));
    assert_eq!(watched(&ground, &runs, 13).await, Watched { cut: cut(last), ..ended([first, second]) });
    assert_eq!(watched(&ground, &runs, 10).await, Watched { cut: cut(long), ..ended([first]) });
    // And one notice at least, however large it is
    assert_eq!(watched(&ground, &runs, 0).await, Watched { cut: cut(long), ..ended([first]) });
    assert_eq!(watched(&ground, &runs[2..], 3).await, Watched { cut: cut(last), ..ended([second]) });
    assert_eq!(watched(&ground, &runs[3..], 0).await, ended([third]));
}

pub async fn every_way_to_end_is_kept(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let ways =
        [ClosedStatus::Completed, ClosedStatus::Failed, ClosedStatus::Cancelled, ClosedStatus::Terminated];
    for status in ways {
        let run = ground.run(0);
        let outcome = ClosedRun { status, ..closed_run(run) };
        writer.write(writer.draft().event(run).close_with(outcome.clone())).await;
        assert_eq!(watched(&ground, &[run], usize::MAX).await, ended([&outcome]));
    }
}

pub async fn key_of_a_run_that_is_over_is_described(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.keyed(run, WORKFLOW, "acme", None)).await;
    let message = writer.inbox().await.remove(0);
    let outcome = ClosedRun { key: Some("acme".to_owned()), ..closed_run(run) };
    writer.write(writer.draft().event(run).close_with(outcome).consume(&message)).await;

    let described = ground.store.query().describe(run).await.unwrap().expect("it exists");
    assert_eq!((described.workflow.as_str(), described.key.as_deref()), (WORKFLOW, Some("acme")));
    assert_eq!(ground.store.query().find(WORKFLOW, "acme").await.unwrap(), Some(run));
}

pub async fn history_is_read_page_by_page(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, busy()).await;
    writer.write(writer.draft().event(run).event(run).event(run)).await;

    let query = ground.store.query();
    let seqs = |events: Vec<pgworkflows_core::store::EventRecord>| {
        events.iter().map(|event| event.seq.get()).collect::<Vec<_>>()
    };
    assert_eq!(seqs(query.history(run, None, 3).await.unwrap()), [1, 2, 3]);
    assert_eq!(seqs(query.history(run, Some(EventSeq::new(3)), 3).await.unwrap()), [4]);
    assert_eq!(seqs(query.history(run, Some(EventSeq::new(4)), 3).await.unwrap()), [0; 0]);
}

pub async fn list_is_newest_first_and_paged(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let mut runs = vec![ground.run(0), ground.run(1), ground.run(2), ground.run(3), ground.run(0)];
    writer.open(runs[0], busy()).await;
    writer.open(runs[1], parked(None)).await;
    writer.open_and_close(runs[2]).await;
    writer.open_and_close(runs[3]).await;
    ground.accept(&ground.start(runs[4])).await;
    runs.sort_unstable_by(|one, other| other.cmp(one));

    assert_eq!(list(&ground, RunFilter::default(), None, 100).await, runs);
    let mut paged = Vec::new();
    loop {
        let page = list(&ground, RunFilter::default(), paged.last().copied(), 2).await;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, runs);
}

pub async fn list_shows_what_matches_every_field_of_the_filter(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (idle, stuck, done, failed) = (ground.run(0), ground.run(0), ground.run(0), ground.run(0));
    let pending = ground.run(0);
    writer.open(idle, parked(None)).await;
    writer.open(stuck, stalled()).await;
    writer.open_and_close(done).await;
    let outcome = ClosedRun { status: ClosedStatus::Failed, ..closed_run(failed) };
    writer.write(writer.draft().event(failed).close_with(outcome)).await;
    ground.accept(&ground.keyed(pending, "trial", "acme", None)).await;

    let all = RunFilter::default;
    let state = |state| RunFilter { state: Some(state), ..all() };
    let status = |status| RunFilter { status: Some(status), ..all() };
    let cases = [
        (RunFilter { workflow: Some("trial".to_owned()), ..all() }, vec![pending]),
        (RunFilter { open: Some(true), ..all() }, vec![pending, stuck, idle]),
        (RunFilter { open: Some(false), ..all() }, vec![failed, done]),
        (state(OpenState::Parked), vec![idle]),
        (state(OpenState::Stalled), vec![stuck]),
        (state(OpenState::Pending), vec![pending]),
        (status(ClosedStatus::Failed), vec![failed]),
        (RunFilter { open: Some(true), ..status(ClosedStatus::Failed) }, vec![]),
        (RunFilter { workflow: Some(WORKFLOW.to_owned()), ..state(OpenState::Pending) }, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(list(&ground, filter.clone(), None, 100).await, expected, "{filter:?}");
    }
}
