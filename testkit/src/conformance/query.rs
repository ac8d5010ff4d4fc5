//! Queries for people: descriptions, lists, histories, outcomes.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use bytes::Bytes;
use pgworkflows_core::id::{EventSeq, RunId};
use pgworkflows_core::store::{
    ChainLink, ClosedRun, ClosedStatus, KeyPage, KeyedRun, LeaseHeartbeat, Notice, OpenState, RunFilter,
    RunPage, Topic, Watch, Watched, What,
};

use super::fixture::Fixture;
use super::writer::{
    LONG, MANY_BYTES, QUEUE, SHARDS, WORKER, WORKFLOW, all_pages, busy, closed_run, parked, stalled,
};

async fn list(fixture: &Fixture, filter: RunFilter, before: Option<RunId>, limit: u32) -> Vec<RunId> {
    let page = RunPage { before, limit };
    let runs = fixture.store.query().list(&filter, &page).await.unwrap();
    runs.into_iter().map(|run| run.run).collect()
}

pub async fn unknown_run_has_no_description(fixture: &Fixture) {
    assert_eq!(fixture.describe_any(fixture.run(0)).await, None);
    assert_eq!(fixture.history_len(fixture.run(0)).await, 0);
}

pub async fn run_is_found_by_its_workflow_and_its_key(fixture: &Fixture) {
    let run = fixture.run(0);
    fixture.accept(&fixture.keyed(run, "trial", "acme", None)).await;
    assert_eq!(fixture.find("trial", "acme").await, Some(run));
    assert_eq!(fixture.find("trial", "other").await, None);
    assert_eq!(fixture.find("invoice", "acme").await, None);
}

/// The ends of the runs, at most that many bytes of them.
async fn watched(fixture: &Fixture, runs: &[RunId], bytes: usize) -> Watched {
    let topics = runs.iter().map(|run| Topic { run: *run, what: What::Closed }).collect();
    fixture.store.watch(&Watch { topics, bytes }).await.unwrap()
}

/// The answer that these runs have ended.
fn ended<const N: usize>(closed: [&ClosedRun; N]) -> Watched {
    Watched { notices: closed.map(|closed| Notice::Closed(closed.clone())).into(), cut: None }
}

pub async fn watch_tells_only_of_runs_that_are_over(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let (over, open) = (fixture.run(0), fixture.run(0));
    writer.open(open, busy()).await;
    let outcome = ClosedRun { status: ClosedStatus::Failed, ..closed_run(over) };
    writer.write(writer.draft().event(over).close_with(outcome.clone())).await;

    let mut runs = [open, over, fixture.run(0)];
    runs.sort();
    assert_eq!(watched(fixture, &runs, usize::MAX).await, ended([&outcome]));
    assert_eq!(watched(fixture, &[], usize::MAX).await, ended([]));
}

pub async fn notices_that_do_not_fit_are_cut_and_asked_for_again(fixture: &Fixture) {
    // Given an open run between three ended runs, of which the second has more bytes than the others
    let mut writer = fixture.writer().await;
    let mut runs = [0; 4].map(|shard| fixture.run(shard));
    runs.sort();
    let [one, open, long, last] = runs;
    let ends = [(one, 4), (long, 7), (last, 3)]
        .map(|(run, bytes)| ClosedRun { outcome: Bytes::from(vec![b'x'; bytes]), ..closed_run(run) });
    writer.open(open, busy()).await;
    for end in &ends {
        writer.write(writer.draft().event(end.run).close_with(end.clone())).await;
    }
    // Then an answer holds the notices that fit, and says where it was cut
    let [first, second, third] = &ends;
    let cut = |run| Some(Topic { run, what: What::Closed });
    assert_eq!(watched(fixture, &runs, 14).await, ended([first, second, third]));
    assert_eq!(watched(fixture, &runs, 13).await, Watched { cut: cut(last), ..ended([first, second]) });
    assert_eq!(watched(fixture, &runs, 10).await, Watched { cut: cut(long), ..ended([first]) });
    // And at least one notice, however large it is
    assert_eq!(watched(fixture, &runs, 0).await, Watched { cut: cut(long), ..ended([first]) });
    assert_eq!(watched(fixture, &runs[2..], 3).await, Watched { cut: cut(last), ..ended([second]) });
    assert_eq!(watched(fixture, &runs[3..], 0).await, ended([third]));
}

/// The number of the event with the newest value of a view, and the number of the first event of its frame.
async fn found(fixture: &Fixture, run: RunId, view: &str) -> Option<(u32, u32)> {
    let found = fixture.store.query().view(run, view).await.unwrap()?;
    let frames = fixture.history(run).await;
    assert!(frames.contains(&found.frame), "the whole frame is returned: {found:?}");
    Some((found.seq.get(), found.frame.seq.get()))
}

pub async fn newest_value_of_a_view_is_found_in_its_frame(fixture: &Fixture) {
    // Given a run that publishes two views, and one of them again
    let (mut writer, run) = fixture.writer_and_run().await;
    assert_eq!(found(fixture, run, "stage").await, None);
    let first = writer.draft().frame(run, 3).open(run, busy());
    writer.write(first.publish(run, "stage", 3).publish(run, "count", 2)).await;
    assert_eq!(
        (found(fixture, run, "stage").await, found(fixture, run, "count").await),
        (Some((3, 1)), Some((2, 1)))
    );
    let second = writer.draft().frame(run, 2).frame(run, 3).publish(run, "stage", 7);
    writer.write(second).await;
    // Then the newest value is in the last frame that begins at or before its event
    assert_eq!(
        (found(fixture, run, "stage").await, found(fixture, run, "count").await),
        (Some((7, 6)), Some((2, 1)))
    );
    // And names are compared exactly, and runs do not share them
    assert_eq!(found(fixture, run, "Stage").await, None);
    assert_eq!(found(fixture, fixture.run(0), "stage").await, None);
    // And the end of the run, which publishes for the last time, changes nothing else
    writer.write(writer.draft().frame(run, 2).publish(run, "count", 9).close(run)).await;
    assert_eq!(
        (found(fixture, run, "stage").await, found(fixture, run, "count").await),
        (Some((7, 6)), Some((9, 9)))
    );
    // And a run that began and ended within one append has a view as well
    let short = fixture.run(0);
    writer.write(writer.draft().frame(short, 3).publish(short, "stage", 2).close(short)).await;
    assert_eq!(found(fixture, short, "stage").await, Some((2, 1)));
}

pub async fn repeated_append_publishes_once(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let append = writer.draft().event(run).publish(run, "stage", 2).seal();
    writer.session.append(&append).await.unwrap();
    writer.session.append(&append).await.unwrap();
    assert_eq!(found(fixture, run, "stage").await, Some((2, 2)));
}

pub async fn watch_tells_of_views_that_were_published_since(fixture: &Fixture) {
    // Given two runs that have published views, of which one is over, and one that has not
    let mut writer = fixture.writer().await;
    let mut runs = [0; 3].map(|shard| fixture.run(shard));
    runs.sort();
    let [open, over, silent] = runs;
    let first = writer.draft().frame(open, 2).open(open, busy()).publish(open, "stage", 1);
    writer.write(first.publish(open, "count", 2)).await;
    writer.write(writer.draft().frame(over, 3).publish(over, "stage", 2).close(over)).await;
    writer.open(silent, busy()).await;

    // Then each is told of the last event that published any view, if it came later than the one that was asked about
    let published = |run, after: u32| Topic {
        run,
        what: What::Published { after: (after > 0).then_some(EventSeq::new(after)) },
    };
    let topics = runs.iter().flat_map(|run| [0, 1, 2].map(|after| published(*run, after)));
    let mut topics: Vec<Topic> = topics.chain([Topic { run: over, what: What::Closed }]).collect();
    topics.sort();
    let watched = fixture.store.watch(&Watch { topics, bytes: 0 }).await.unwrap();
    let told = |run, after, seq| {
        let What::Published { after } = published(run, after).what else { unreachable!("it is no end") };
        Notice::Published { run, after, seq: EventSeq::new(seq) }
    };
    let end = Notice::Closed(closed_run(over));
    let expected = [told(open, 0, 2), told(open, 1, 2), end, told(over, 0, 2), told(over, 1, 2)];
    assert_eq!(watched, Watched { notices: expected.into(), cut: None });
}

pub async fn every_way_to_end_is_kept(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let ways = [
        ClosedStatus::Completed,
        ClosedStatus::Failed,
        ClosedStatus::Cancelled,
        ClosedStatus::Terminated,
        ClosedStatus::TimedOut,
    ];
    for status in ways {
        let run = fixture.run(0);
        let outcome = ClosedRun { status, ..closed_run(run) };
        writer.write(writer.draft().event(run).close_with(outcome.clone())).await;
        assert_eq!(watched(fixture, &[run], usize::MAX).await, ended([&outcome]));
    }
}

pub async fn key_of_a_run_that_is_over_is_described(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    fixture.accept(&fixture.keyed(run, WORKFLOW, "acme", None)).await;
    let message = writer.inbox().await.remove(0);
    let outcome = ClosedRun { key: Some("acme".to_owned()), ..closed_run(run) };
    writer.write(writer.draft().event(run).close_with(outcome).consume(&message)).await;

    let described = fixture.describe(run).await;
    assert_eq!((described.workflow.as_str(), described.key.as_deref()), (WORKFLOW, Some("acme")));
    assert_eq!(fixture.find(WORKFLOW, "acme").await, Some(run));
}

pub async fn people_read_histories_as_a_processor_loads_them(fixture: &Fixture) {
    // Given a run whose frames begin at its events 1, 2 and 4, one that is over, one that has not begun, and none
    let (mut writer, run) = fixture.open_run().await;
    writer.write(writer.draft().frame(run, 2).event(run)).await;
    let runs = [run, fixture.run(0), fixture.run(0), fixture.run(0)];
    writer.open_and_close(runs[1]).await;
    fixture.accept(&fixture.start(runs[2])).await;

    // Then both read the same, whichever part it is
    let whole = fixture.load(&runs, None, MANY_BYTES).await;
    let frames: Vec<_> = whole.histories.iter().map(|history| (history.run, history.frames.len())).collect();
    assert_eq!((frames, whole.cut), (vec![(run, 3), (runs[1], 2), (runs[2], 0)], None));
    for after in [None, Some(1), Some(2), Some(3), Some(4), Some(5)].map(|after| after.map(EventSeq::new)) {
        for bytes in [0, 150, 300, 450, MANY_BYTES] {
            let read = fixture.load(&runs, after, bytes).await;
            assert_eq!(read, writer.load(&runs, after, bytes).await, "{bytes} bytes after {after:?}");
        }
    }
}

pub async fn list_is_newest_first_and_paged(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let mut runs = vec![fixture.run(0), fixture.run(1), fixture.run(2), fixture.run(3), fixture.run(0)];
    writer.open(runs[0], busy()).await;
    writer.open(runs[1], parked(None)).await;
    writer.open_and_close(runs[2]).await;
    writer.open_and_close(runs[3]).await;
    fixture.accept(&fixture.start(runs[4])).await;
    runs.sort_unstable_by(|one, other| other.cmp(one));

    assert_eq!(list(fixture, RunFilter::default(), None, 100).await, runs);
    let paged = all_pages(2, async |last| list(fixture, RunFilter::default(), last, 2).await).await;
    assert_eq!(paged, runs);
}

pub async fn list_that_goes_no_further_than_its_horizon_looks_at_so_many_open_runs_and_others(
    fixture: &Fixture,
) {
    // Given three open runs before two that are over
    let mut writer = fixture.writer().await;
    let mut runs = Vec::new();
    for number in 0..5_u8 {
        let run = fixture.run(0);
        match number {
            0..3 => writer.open(run, busy()).await,
            _ => writer.open_and_close(run).await,
        }
        runs.push(run);
    }
    let [oldest, older, open, over, newest] = runs[..] else { panic!("{runs:?}") };
    let horizon = async |filter: &RunFilter, before, limit| {
        fixture.store.query().horizon(filter, &RunPage { before, limit }).await.unwrap()
    };
    let all = RunFilter::default;
    let (opened, closed) =
        (RunFilter { open: Some(true), ..all() }, RunFilter { open: Some(false), ..all() });
    let completed = RunFilter { status: Some(ClosedStatus::Completed), ..all() };
    let parked = RunFilter { state: Some(OpenState::Parked), ..all() };
    for (filter, before, count, expected) in [
        // The last one of either kind that comes first
        (&all(), None, 1, Some(newest)),
        (&all(), None, 2, Some(over)),
        (&all(), None, 3, Some(oldest)),
        (&all(), None, 4, None),
        (&all(), Some(over), 1, Some(open)),
        (&all(), Some(oldest), 1, None),
        (&opened, None, 1, Some(open)),
        (&opened, None, 3, Some(oldest)),
        (&closed, None, 2, Some(over)),
        (&closed, None, 3, None),
        // Whatever their workflow and state
        (&RunFilter { workflow: Some("rare".to_owned()), ..all() }, None, 1, Some(newest)),
        (&completed, None, 2, Some(over)),
        (&parked, None, 2, Some(older)),
    ] {
        assert_eq!(horizon(filter, before, count).await, expected, "{filter:?} {before:?} {count}");
    }
    // And a list has what is not older than it
    let since = |since| RunFilter { since: Some(since), ..all() };
    assert_eq!(list(fixture, since(open), None, 100).await, [newest, over, open]);
    assert_eq!(list(fixture, since(open), Some(over), 100).await, [open]);
    assert_eq!(list(fixture, RunFilter { since: Some(older), ..opened }, None, 100).await, [open, older]);
}

pub async fn list_shows_runs_that_match_every_field_of_the_filter(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let (idle, stuck, done, failed) = (fixture.run(0), fixture.run(0), fixture.run(0), fixture.run(0));
    let (pending, begun) = (fixture.run(0), fixture.run(0));
    writer.open(idle, parked(None)).await;
    writer.open(stuck, stalled()).await;
    writer.open_and_close(done).await;
    let outcome = ClosedRun { status: ClosedStatus::Failed, ..closed_run(failed) };
    writer.write(writer.draft().event(failed).close_with(outcome)).await;
    fixture.accept(&fixture.keyed(pending, "trial", "acme", None)).await;
    fixture.accept(&fixture.start(begun)).await;
    writer.write(writer.draft().event(begun)).await;

    let all = RunFilter::default;
    let state = |state| RunFilter { state: Some(state), ..all() };
    let status = |status| RunFilter { status: Some(status), ..all() };
    let cases = [
        (RunFilter { workflow: Some("trial".to_owned()), ..all() }, vec![pending]),
        (RunFilter { open: Some(true), ..all() }, vec![begun, pending, stuck, idle]),
        (RunFilter { open: Some(false), ..all() }, vec![failed, done]),
        (state(OpenState::Parked), vec![idle]),
        (state(OpenState::Stalled), vec![stuck]),
        (state(OpenState::Paused), vec![]),
        (state(OpenState::Pending), vec![pending]),
        // Its row is still that of its start
        (state(OpenState::Busy), vec![begun]),
        (status(ClosedStatus::Failed), vec![failed]),
        (RunFilter { open: Some(true), ..status(ClosedStatus::Failed) }, vec![]),
        (RunFilter { workflow: Some(WORKFLOW.to_owned()), ..state(OpenState::Pending) }, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(list(fixture, filter.clone(), None, 100).await, expected, "{filter:?}");
    }
}

pub async fn children_of_a_run_are_listed_open_or_over_and_those_of_others_are_not(fixture: &Fixture) {
    // Given a run with children: one that is pending, one with a key, one that is over, and one that another run continues
    let (mut writer, parent) = fixture.open_run().await;
    let (other, stranger) = (fixture.run(1), fixture.run(2));
    let [pending, done, first] = [0; 3].map(|shard| fixture.run(shard));
    let starts = [pending, done, first].map(|run| fixture.child_of(parent, run));
    let starts = starts.iter().chain([&fixture.child_of(other, stranger)]).cloned().collect::<Vec<_>>();
    writer.write(starts.iter().fold(writer.draft().event(parent), |draft, start| draft.send(start))).await;
    let mut keyed = fixture.keyed(fixture.run(0), WORKFLOW, "child", None);
    keyed.opens.iter_mut().for_each(|new| new.parent = Some(parent));
    fixture.accept(&keyed).await;
    let inbox = writer.inbox().await;
    let of = |run| inbox.iter().find(|message| message.run == run).expect("its start is in the inbox");
    let closed = |run| ClosedRun { parent: Some(parent), ..closed_run(run) };
    let draft = writer.draft().event(done).close_with(closed(done)).consume(of(done));
    writer.write(draft.event(first).update(first, busy()).consume(of(first))).await;
    let second = fixture.run(0);
    let continued = ClosedRun { status: ClosedStatus::Continued, ..closed(first) };
    let draft = writer.draft().event(first).close_with(continued).event(second);
    let link = ChainLink { first, predecessor: first, number: 2 };
    writer.write(draft.open_child(second, parent, busy()).link(second, link)).await;
    writer.open(fixture.run(0), busy()).await;

    // Then a list has all of them, in pages, and each shows its parent
    let of_parent = || RunFilter { parent: Some(parent), ..RunFilter::default() };
    let mut children = vec![pending, done, first, second, keyed.run];
    children.sort_unstable_by(|one, other| other.cmp(one));
    assert_eq!(list(fixture, of_parent(), None, 100).await, children);
    let paged = all_pages(2, async |last| list(fixture, of_parent(), last, 2).await).await;
    assert_eq!(paged, children);
    for child in children {
        assert_eq!(fixture.describe(child).await.parent, Some(parent));
    }
    // And the other fields of the filter count as well
    let closed = RunFilter { status: Some(ClosedStatus::Completed), ..of_parent() };
    assert_eq!(list(fixture, closed, None, 100).await, [done]);
    let open = RunFilter { state: Some(OpenState::Busy), ..of_parent() };
    assert_eq!(list(fixture, open, None, 100).await, [second]);
    let foreign = RunFilter { workflow: Some("trial".to_owned()), ..of_parent() };
    assert_eq!(list(fixture, foreign, None, 100).await, []);
    let of_other = RunFilter { parent: Some(other), ..RunFilter::default() };
    assert_eq!(list(fixture, of_other, None, 100).await, [stranger]);
    assert_eq!(fixture.describe(parent).await.parent, None);
}

pub async fn queue_is_described_with_its_live_leases(fixture: &Fixture) {
    // Given two live leases, one that was released and one that expired
    let mut one = fixture.claim(1, LONG).await;
    let other = fixture.claim(2, LONG).await;
    fixture.claim(0, LONG).await.release().await;
    fixture.claim(1, fixture.harness.lease_ttl()).await;
    fixture.harness.let_lease_expire().await;
    let before = one.heartbeat(None).await.now;
    let heartbeat = one.lease_heartbeat();
    one.look(LeaseHeartbeat { live_runs: 17, renew: Some(LONG), ..heartbeat }).await;

    // Then people see the two, the older one first
    let query = fixture.store.query();
    let described = query.describe_queue(QUEUE).await.unwrap().expect("the queue exists");
    assert_eq!((described.name.as_str(), described.shard_count), (QUEUE, SHARDS));
    let [first, second] = &described.leases[..] else { panic!("{described:?}") };
    assert_eq!((first.lease, &first.shards, first.live_runs), (one.lease, &one.shards, 17));
    assert_eq!((second.lease, &second.shards, second.live_runs), (other.lease, &other.shards, 0));
    assert_eq!((first.worker.as_str(), second.worker.as_str()), (WORKER, WORKER));
    assert!(first.renewed_at >= before && second.renewed_at < before);
    assert_eq!(query.describe_queue("unknown").await.unwrap(), None);
}

pub async fn keyed_runs_are_listed_by_prefix_in_the_order_of_the_bytes_of_keys(fixture: &Fixture) {
    // Given runs whose keys people would sort otherwise, one of which is over, and others beside them
    let mut writer = fixture.writer().await;
    let keys = ["a", "a:", "a:B", "a:a", "a:b", "a:ä", "a:\u{10FFFF}x", "b"];
    let mut runs = Vec::new();
    for key in keys {
        let start = fixture.keyed(fixture.run(0), WORKFLOW, key, None);
        fixture.accept(&start).await;
        runs.push(start.run);
    }
    fixture.accept(&fixture.start(fixture.run(0))).await;
    fixture.accept(&fixture.keyed(fixture.run(0), "trial", "a:a", None)).await;
    let start = writer.inbox().await.remove(3);
    writer.write(writer.draft().event(start.run).event(start.run).close(start.run).consume(&start)).await;

    // When they are listed in pages, then each appears once, in order
    let list = async |prefix: &str, after: Option<&str>, limit| {
        let (workflow, prefix, after) = (WORKFLOW.into(), prefix.to_owned(), after.map(str::to_owned));
        let page = KeyPage { workflow, prefix, after, limit };
        fixture.store.query().keyed_runs(&page).await.expect("the store answers")
    };
    let keyed =
        |index: usize| KeyedRun { key: keys[index].to_owned(), run: runs[index], is_open: index != 3 };
    assert_eq!(list("a:", None, 4).await, [1, 2, 3, 4].map(keyed));
    assert_eq!(list("a:", Some("a:b"), 4).await, [5, 6].map(keyed));
    assert_eq!(list("a:", Some("a"), 2).await, [1, 2].map(keyed));
    assert_eq!(list("", None, 100).await, [0, 1, 2, 3, 4, 5, 6, 7].map(keyed));
    assert_eq!(list("a:", Some("b"), 4).await, []);
    assert_eq!(list("c", None, 4).await, []);
}
