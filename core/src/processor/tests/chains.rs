//! Chains: what was read for a run reaches the one that continues it.

use super::tasks::completed;
use super::*;

#[test]
fn messages_that_wait_for_a_run_reach_its_successor_if_it_continues_as_soon_as_it_begins() {
    // Given a run whose start may have been logged already, so that the signals read with it wait until that is known
    let mut fixture = Fixture::new();
    let run = run_id(1);
    fixture.submit_repeated::<Relays>(run, 3);
    fixture.rows.insert(run, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
    fixture.signal(run, 7);

    // When it continues as new in its first poll, and so does the next one
    fixture.run();

    // Then the last run takes the signal
    let received = |id: &&RunId| fixture.history(**id).contains("signal.received");
    let last = *fixture.log.keys().find(received).expect("the signal is in a history");
    expect![[r#"
        1 run.started relays 1 chain number 3
        2 signal.received go 7
        3 run.resumed 2 released
        4 run.completed 7
    "#]]
    .assert_eq(&fixture.history(last));
    assert_eq!(fixture.log.len(), 3);
    assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
}

#[test]
fn run_of_a_chain_takes_three_events_and_one_commit() {
    let mut fixture = Fixture::new();
    fixture.start::<CountsDown>(1, 3);
    let counts = fixture.run_and_list().into_iter().map(|append| {
        let names: Vec<&str> = events(&append).iter().map(|(_, event)| event.name()).collect();
        (names, append.frames.len(), append.opened.len() + append.closed.len() + append.links.len())
    });
    let counts: Vec<_> = counts.collect();
    let goes_on = (vec!["run.resumed", "run.continued", "run.started"], 2, 3);
    assert_eq!(
        counts,
        [
            (vec!["run.started", "run.continued", "run.started"], 2, 3),
            goes_on.clone(),
            goes_on,
            (vec!["run.resumed", "run.completed"], 1, 1),
        ]
    );
}

#[test]
fn signal_that_finds_no_room_beside_compensations_is_undelivered_and_the_others_reach_the_next_attempt() {
    // Given a run whose code has failed, and whose compensation is executed elsewhere
    let (mut fixture, run) = (Fixture::new(), run_id(1));
    let start = Message::Start {
        workflow: Name::from_static(RendersLast::NAME),
        input: payload(&5),
        key: None,
        start_at: None,
        repeated: Flag(false),
        parent: None,
        retry: RetryPolicy::exponential().max_attempts(2),
        deadline: None,
        grace_until: None,
        trace: None,
        attributes: Attributes::default(),
    };
    fixture.submit(run, &start);
    fixture.rows.insert(run, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
    fixture.run();
    fixture.end(run, 2, Err(broken()));
    let task = fixture.task();
    // When signals arrive that are too large together
    let payload = payload(&"x".repeat(2_000_000));
    for _ in 0..34 {
        let (signal, payload) = (Name::from_static("other"), payload.clone());
        fixture.submit(run, &Message::Signal { signal, payload, key: None, trace: None });
        fixture.run();
    }
    // Then the last one is undelivered
    assert_eq!((fixture.undelivered.len(), fixture.inbox.len()), (1, 0));
    fixture.settle(task.id, completed(0));
    fixture.run();
    let next = fixture.successors[&run];
    assert_eq!(fixture.history(next).matches("signal.received").count(), 33);
    assert_eq!(fixture.undelivered.len(), 1);
}
