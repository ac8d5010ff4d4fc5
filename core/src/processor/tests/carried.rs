//! Children that a run carries along when it continues as new: their outcomes reach the run that goes on, once.

use super::children::child_of;
use super::*;
use crate::store::inbox::Submitted;

/// The run that goes on in the chain of this one.
fn current(fixture: &Fixture, run: RunId) -> RunId {
    fixture.successors.get(&run).map_or(run, |successor| current(fixture, *successor))
}

/// Starts a chain that continues that often before it asks for its child.
fn start<W: Workflow<Input = Leg>>(fixture: &mut Fixture, rounds: u32) -> (RunId, RunId) {
    let parent = fixture.start_within::<W>(1, &(rounds, None), (None, None));
    fixture.run();
    (parent, child_of(fixture, parent))
}

fn go_on(fixture: &mut Fixture, parent: RunId) {
    fixture.signal(parent, 0);
    fixture.run();
}

/// Ends a child with that value.
fn end(fixture: &mut Fixture, child: RunId, value: u32) {
    fixture.signal(child, value);
    fixture.signal(child, 0);
    fixture.run();
}

/// Reads everything that can be read, and writes nothing.
fn read_all(fixture: &mut Fixture) {
    while let Some(read) = fixture.processor.next_read() {
        fixture.answer(read);
        fixture.work();
    }
}

fn last(fixture: &Fixture, run: RunId) -> String {
    fixture.history(run).lines().last().unwrap_or_default().trim().to_owned()
}

#[test]
fn outcome_of_a_carried_child_reaches_the_run_that_goes_on_whenever_the_child_ends() {
    // The child ends in the first, the second or the last run of the chain.
    for ends_in in 0..=2 {
        let mut fixture = Fixture::new();
        let (parent, child) = start::<Carries>(&mut fixture, 2);
        for round in 0..=2 {
            if round == ends_in {
                end(&mut fixture, child, 7);
            }
            fixture.take_over(0);
            if round < 2 {
                go_on(&mut fixture, parent);
            }
        }
        let run = current(&fixture, parent);
        assert_eq!(last(&fixture, run), format!("{} run.completed 7", fixture.history(run).lines().count()));
        let told: usize =
            fixture.log.keys().map(|run| fixture.history(*run).matches("child.completed").count()).sum();
        assert_eq!(told, [3, 2, 1][ends_in], "each run that had the outcome is told once");
        assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
        assert!(!fixture.history(child).contains("cancel"), "{}", fixture.history(child));
    }
}

#[test]
fn run_that_goes_on_has_its_child_before_its_code_begins() {
    let mut fixture = Fixture::new();
    let (parent, child) = start::<Carries>(&mut fixture, 1);
    end(&mut fixture, child, 7);
    go_on(&mut fixture, parent);
    let run = current(&fixture, parent);
    expect![[r#"
        1 run.started carries [0, "CHILD"] chain number 2 carried 1
        2 child.carried #1 waits
        3 messages.known messages 1
        4 child.completed #1 7
        5 run.resumed 3 released
        6 run.completed 7
    "#]]
    .assert_eq(&fixture.history(run).replace(&child.to_string(), "CHILD"));
}

#[test]
fn outcome_that_was_read_while_its_run_continued_reaches_the_run_that_goes_on() {
    // Given a run that continues in an append that is in flight
    let mut fixture = Fixture::new();
    let (parent, child) = start::<Carries>(&mut fixture, 1);
    fixture.signal(parent, 0);
    read_all(&mut fixture);
    let append = fixture.processor.cut().expect("it continues");
    assert_eq!(append.links.len(), 1);

    // When its child ends before the answer
    fixture.signal(child, 9);
    fixture.signal(child, 0);
    read_all(&mut fixture);
    fixture.append(&append);
    fixture.run();
    assert!(last(&fixture, current(&fixture, parent)).contains("run.completed 9"));
    assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
}

#[test]
fn carried_child_is_terminated_or_cancelled_with_the_run_that_has_it() {
    let mut fixture = Fixture::new();
    let (parent, child) = start::<Carries>(&mut fixture, 2);
    go_on(&mut fixture, parent);
    fixture.submit(child, &Message::Terminate { reason: "enough".to_owned(), parent: None });
    fixture.run();
    go_on(&mut fixture, parent);
    let run = current(&fixture, parent);
    assert!(last(&fixture, run).contains("child-terminated"), "{}", fixture.history(run));

    // A chain that is cancelled while it carries a child ends as its last run says, after the child.
    let mut fixture = Fixture::new();
    let (parent, child) = start::<Carries>(&mut fixture, 2);
    go_on(&mut fixture, parent);
    fixture.submit(parent, &Message::Cancel { reason: None, parent: None });
    fixture.run();
    let run = current(&fixture, parent);
    assert!(last(&fixture, child).contains("run.cancelled"), "{}", fixture.history(child));
    expect![[r#"
        1 run.started carries [1, "CHILD"] chain number 2 carried 1
        2 child.carried #1 waits
        3 messages.known messages 1
        4 run.resumed 2 released
        5 cancel.requested
        6 run.ending cancelled
        7 child.failed #1: the child was cancelled (child-cancelled)
        8 run.cancelled
    "#]]
    .assert_eq(&fixture.history(run).replace(&child.to_string(), "CHILD"));
    assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
}

#[test]
fn child_with_a_key_is_started_and_bound_by_the_run_that_goes_on() {
    for owner_dies in [false, true] {
        // Given a run that continues before it is known whether its child with a key exists
        let mut fixture = Fixture::new();
        let (parent, child) = start::<CarriesKeyed>(&mut fixture, 1);
        let first = fixture.child_starts.pop().expect("it is to be started");
        go_on(&mut fixture, parent);
        let run = current(&fixture, parent);
        if owner_dies {
            fixture.child_starts.clear();
            fixture.take_over(1);
        }

        // Then the successor starts it as well, and the child is bound once, whichever start came first
        let again = fixture.child_starts.pop().expect("the run that goes on starts it");
        assert_eq!((again.submission.run, again.submission.message), (child, first.submission.message));
        fixture.rows.insert(child, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
        fixture.put(child, first.submission.body.clone(), first.submission.message);
        for start in [first, again] {
            fixture.processor.child_submitted(&start, Ok(Submitted::Accepted), fixture.now);
            fixture.run();
        }
        assert_eq!(fixture.history(run).matches("child.bound").count(), 1, "{}", fixture.history(run));
        end(&mut fixture, child, 5);
        assert!(last(&fixture, run).contains("run.completed 5"), "{}", fixture.history(run));
        assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
    }
}

#[test]
fn key_that_another_run_has_fails_the_carried_child() {
    let mut fixture = Fixture::new();
    let (parent, _) = start::<CarriesKeyed>(&mut fixture, 1);
    go_on(&mut fixture, parent);
    let (again, run) = (fixture.child_starts.pop().unwrap(), current(&fixture, parent));
    fixture.processor.child_submitted(&again, Ok(Submitted::KeyConflict(run_id(7))), fixture.now);
    fixture.run();
    assert!(last(&fixture, run).contains("key-taken"), "{}", fixture.history(run));
}

#[test]
fn store_that_refuses_the_continuation_leaves_the_child_to_the_run_that_started_it() {
    let mut fixture = Fixture::new();
    let (parent, child) = start::<Carries>(&mut fixture, 1);
    fixture.refuses = |_, event| matches!(event, Event::RunContinued { .. });
    go_on(&mut fixture, parent);
    end(&mut fixture, child, 7);

    // When another owner may write it
    fixture.refuses = |_, _| false;
    fixture.take_over(0);
    let run = current(&fixture, parent);
    assert_ne!(run, parent);
    assert!(last(&fixture, run).contains("run.completed 7"), "{}", fixture.history(run));
    assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
}

#[test]
fn carried_child_takes_one_event_in_each_run_and_no_message() {
    let mut fixture = Fixture::new();
    let (parent, _) = start::<Carries>(&mut fixture, 1);
    fixture.signal(parent, 0);
    let counts = fixture.run_and_list().into_iter().map(|append| {
        let names: Vec<&str> = events(&append).iter().map(|(_, event)| event.name()).collect();
        (names, append.sent.len())
    });
    let counts: Vec<_> = counts.collect();
    let continued =
        vec!["signal.received", "run.continued", "run.started", "child.carried", "messages.known"];
    assert_eq!(counts, [(continued, 0), (vec!["run.resumed"], 0)]);
}
