//! Runs that are tried again after somebody asked for it.

use super::*;

const DEADLY: u32 = limits::DEATHS_BEFORE_SUSPICION;

impl Fixture {
    fn resume(&mut self, run: RunId) {
        self.submit(run, &Message::Resume {});
    }

    /// A run that was set aside for what its first signal makes it do, and for which two more signals stay in the inbox.
    fn set_aside() -> (Self, RunId) {
        let (mut fixture, run) = Fixture::begun::<Waits>(0);
        fixture.signal(run, 1);
        fixture.take_over_without_work(DEADLY);
        fixture.kill_until_set_aside(&[run]);
        fixture.take_over(0);
        fixture.signal(run, 2);
        fixture.signal(run, 3);
        fixture.run();
        assert_eq!((fixture.rows[&run].state, fixture.inbox.len()), (OpenState::Stalled, 3));
        (fixture, run)
    }

    fn signals(&self, run: RunId) -> Vec<String> {
        let history = self.history(run);
        let signals = history.lines().filter_map(|line| line.split_once("signal.received go "));
        signals.map(|(_, content)| content.to_owned()).collect()
    }

    fn is_stalled(&self, run: RunId) -> bool {
        self.rows[&run].state == OpenState::Stalled
    }
}

#[test]
fn resumed_run_goes_on_at_once_with_the_signals_that_arrived_meanwhile() {
    // Given a run that was set aside
    let (mut fixture, run) = Fixture::set_aside();
    // When it is resumed, and the next signal is on the same page of the inbox
    fixture.resume(run);
    fixture.signal(run, 0);
    fixture.run();
    // Then the same owner brings it back, and its signals come in their order
    assert!(fixture.closed.contains(&run), "{}", fixture.history(run));
    assert_eq!(fixture.signals(run), ["1", "2", "3", "0"]);
    assert!(fixture.inbox.is_empty() && fixture.suspects.is_empty());
}

#[test]
fn resumed_run_that_still_kills_is_set_aside_after_as_many_deaths_again() {
    let (mut fixture, run) = Fixture::set_aside();
    for _ in 0..2 {
        fixture.resume(run);
        // The shard is suspicious, so the run's mark replaces its strikes before it is worked on.
        fixture.take_over_without_work(DEADLY);
        fixture.run_until(|fixture| !fixture.is_at(run, SuspectStage::SetAside));
        let deaths = fixture.kill_until_set_aside(&[run]);
        assert!(deaths > limits::DEATHS_ALONE_MAX, "it was set aside after {deaths} deaths");
        fixture.take_over(0);
        assert!(fixture.is_stalled(run));
    }
    // And its signals wait, until it is resumed for good
    assert_eq!(fixture.signals(run), [""; 0]);
    fixture.resume(run);
    fixture.run();
    assert_eq!(fixture.signals(run), ["1", "2", "3"]);
}

#[test]
fn request_to_resume_outlives_its_owner_at_any_moment() {
    for deaths in [0, 1, DEADLY] {
        for moment in 0.. {
            // Given an owner that dies, or hands over, in the middle of a resumption
            let (mut fixture, run) = Fixture::set_aside();
            fixture.resume(run);
            fixture.signal(run, 0);
            (0..moment).for_each(|_| fixture.proceed_without_trial());
            let is_over = fixture.closed.contains(&run);
            // Then the next one brings the run back
            fixture.take_over(deaths);
            assert!(fixture.closed.contains(&run), "after {moment} steps: {}", fixture.history(run));
            assert_eq!(fixture.signals(run), ["1", "2", "3", "0"], "after {moment} steps");
            assert!(fixture.inbox.is_empty() && fixture.suspects.is_empty(), "after {moment} steps");
            if is_over {
                break;
            }
        }
    }
}

#[test]
fn run_that_is_resumed_while_it_is_being_set_aside_goes_on() {
    // Given an owner that finds a run set aside, and has not read its history yet
    let (mut fixture, run) = Fixture::begun::<Waits>(0);
    fixture.signal(run, 0);
    fixture.take_over_without_work(DEADLY);
    fixture.kill_until_set_aside(&[run]);
    let before = fixture.history(run);
    for moment in 0..20 {
        let (history, rows, inbox) = (fixture.log.clone(), fixture.rows.clone(), fixture.inbox.clone());
        let (suspects, position) = (fixture.suspects.clone(), fixture.next_position);
        fixture.take_over_without_work(0);
        // When it is resumed at any moment
        (0..moment).for_each(|_| fixture.proceed_without_trial());
        fixture.resume(run);
        fixture.run();
        // Then it goes on, and its history gives no other reason for a stall
        assert!(fixture.closed.contains(&run), "after {moment} steps: {}", fixture.history(run));
        let stalls = fixture.history(run).matches("run.stalled").count();
        let told = fixture.history(run).matches("run.stalled: the run was set aside").count();
        assert!(stalls == told && stalls <= 1, "after {moment} steps: {}", fixture.history(run));
        (fixture.log, fixture.rows, fixture.inbox) = (history, rows, inbox);
        (fixture.suspects, fixture.next_position) = (suspects, position);
        fixture.closed.clear();
        assert_eq!(fixture.history(run), before);
    }
}

#[test]
fn run_that_was_set_aside_can_be_terminated_or_resumed_whichever_comes_first() {
    let end = Message::Terminate { reason: "enough".to_owned(), parent: None };
    for terminated_first in [true, false] {
        let (mut fixture, run) = Fixture::set_aside();
        if terminated_first {
            fixture.submit(run, &end);
        }
        fixture.resume(run);
        if !terminated_first {
            fixture.submit(run, &end);
        }
        fixture.run();
        assert!(fixture.closed.contains(&run), "{}", fixture.history(run));
        assert!(fixture.inbox.is_empty() && fixture.suspects.is_empty() && fixture.rows.is_empty());
    }
}

#[test]
fn resuming_a_run_that_goes_on_writes_no_history() {
    // Given a run in memory, one that is parked, and one that is over
    let mut fixture = Fixture::new();
    let works = fixture.start::<Works>(1, 5);
    let waits = fixture.start::<Waits>(2, 0);
    let over = fixture.start::<Waits>(3, 0);
    fixture.run();
    fixture.signal(over, 0);
    fixture.run();
    let histories = |fixture: &Fixture| [works, waits, over].map(|run| fixture.history(run));
    let before = histories(&fixture);
    // When they are resumed by this owner and by the next one
    for _ in 0..2 {
        [works, waits, over].into_iter().for_each(|run| fixture.resume(run));
        fixture.run();
        assert_eq!(histories(&fixture), before);
        assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
        assert!(!fixture.processor.runs.contains(waits), "it leaves memory again");
        assert_eq!((fixture.attempts_begun, fixture.in_flight().len()), (1, 1));
    }
    fixture.resume(waits);
    fixture.take_over(0);
    assert_eq!(fixture.history(waits), before[1]);
}

#[test]
fn stalled_run_is_tried_again_when_it_is_resumed() {
    // Given a run that stalled
    let (mut fixture, run) = Fixture::begun::<Waits>(0);
    deploy_broken_build(true);
    fixture.signal(run, 0);
    fixture.run();
    let stalled = fixture.history(run);
    // When it is resumed while the reason is there, then it stays as it is
    fixture.resume(run);
    fixture.run();
    assert_eq!(fixture.history(run), stalled);
    assert!(fixture.is_stalled(run) && fixture.inbox.is_empty());
    // When the reason is gone, then it goes on
    deploy_broken_build(false);
    fixture.resume(run);
    fixture.run();
    assert!(fixture.closed.contains(&run), "{}", fixture.history(run));
}

#[test]
fn stalled_run_with_an_activity_in_progress_is_tried_again_after_the_activity() {
    // Given a run that stalled while its activity is executed
    let (mut fixture, run) = Fixture::begun::<WorksBeside>(5);
    deploy_broken_build(true);
    fixture.signal(run, 1);
    fixture.run();
    assert!(fixture.is_stalled(run));
    deploy_broken_build(false);
    // When it is resumed
    fixture.resume(run);
    fixture.run();
    // Then the activity is not executed a second time
    assert!(fixture.is_stalled(run) && fixture.inbox.is_empty());
    fixture.end(run, 1, Ok(5));
    assert_eq!(fixture.attempts_begun, 1);
    expect![[r#"
        1 run.started works-beside 5
        2 activity.scheduled #1 work 5
        3 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        4 signal.received go 1
        5 activity.completed #1 5
        6 run.resumed 2 released
        7 run.completed 5
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn run_that_the_store_refused_is_tried_again_when_it_is_resumed() {
    // Given a run whose end the store refuses
    let (mut fixture, run) = Fixture::begun::<Waits>(0);
    fixture.refuses = |_, event| matches!(event, Event::RunCompleted { .. });
    fixture.signal(run, 0);
    fixture.run();
    assert!(fixture.is_stalled(run) && fixture.processor.runs.is_left_alone(run));
    // When it is resumed too early, then it is refused again
    fixture.resume(run);
    fixture.run();
    assert!(fixture.is_stalled(run) && fixture.processor.runs.is_left_alone(run));
    // When the store takes it, then it ends
    fixture.refuses = |_, _| false;
    fixture.resume(run);
    fixture.run();
    assert!(fixture.closed.contains(&run), "{}", fixture.history(run));
    assert!(fixture.inbox.is_empty());
}

#[test]
fn run_whose_damaged_history_was_repaired_goes_on_when_it_is_resumed() {
    // Given a parked run whose history was damaged
    let (mut fixture, run) = Fixture::begun::<Waits>(0);
    fixture.log.get_mut(&run).expect("it is logged")[0].seq = EventSeq::new(2);
    fixture.signal(run, 0);
    fixture.run();
    assert!(fixture.is_stalled(run));
    // When it is resumed before and after its history was repaired
    fixture.resume(run);
    fixture.run();
    assert!(fixture.is_stalled(run) && fixture.inbox.len() == 1);
    fixture.log.get_mut(&run).expect("it is logged")[0].seq = EventSeq::FIRST;
    fixture.resume(run);
    fixture.run();
    // Then it receives the signal that waited
    assert!(fixture.closed.contains(&run), "{}", fixture.history(run));
    assert!(fixture.inbox.is_empty());
}
