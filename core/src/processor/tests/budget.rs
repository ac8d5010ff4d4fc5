//! The budget of memory: what is held back when it is used, and that everything goes on however small it is.

use super::tasks::completed;
use super::*;
use crate::data::attributes::Attributes;

/// What one run of the fixture's workflows takes in memory at most, with what waits to be written for it.
pub(super) fn bytes_of_one_run() -> usize {
    let mut fixture = Fixture::new();
    fixture.start::<Works>(1, 5);
    fixture.run();
    fixture.processor.memory.used()
}

impl Fixture {
    /// Gives the next owner another budget.
    pub(super) fn set_budget(&mut self, bytes: usize) {
        self.config.memory = MemoryBudget::new(bytes);
        self.config.outbox_bytes_max = bytes / 4;
        self.config.page_bytes_max = bytes / 16;
    }
}

/// A processor with room for this many of the fixture's runs, half of which is for starts.
fn with_room_for(runs: usize) -> Fixture {
    let mut fixture = Fixture::new();
    fixture.set_budget(runs * bytes_of_one_run());
    fixture.take_over(0);
    fixture
}

#[test]
fn starts_wait_in_the_inbox_while_messages_for_open_runs_are_delivered() {
    // Given a memory that is half full of busy runs, and a run that waits for signals
    let mut fixture = with_room_for(20);
    let waits = fixture.start::<Waits>(1, 0);
    fixture.run();
    let runs: Vec<RunId> = (2..=101).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    let live = fixture.processor.live_runs();
    assert!((5..=12).contains(&live), "{live} runs");
    // When a signal comes after all the starts
    fixture.signal(waits, 7);
    fixture.signal(waits, 0);
    fixture.run();
    // Then it is delivered, although no more starts are
    assert!(fixture.history(waits).ends_with("4 run.completed 7\n"), "{}", fixture.history(waits));
    assert_eq!(fixture.processor.live_runs(), live);
    assert_eq!(fixture.inbox.len(), 100 - live);
    // And the others begin in their order, as the runs before them end
    while let Some((run, call)) = fixture.in_flight().first().copied() {
        fixture.end(run, call.get(), Ok(6));
        assert!(fixture.processor.live_runs() <= live);
    }
    assert!(runs.iter().all(|run| fixture.closed.contains(run)));
    assert!(fixture.inbox.is_empty());
}

#[test]
fn twenty_thousand_starts_at_once_stay_within_the_budget() {
    const COUNT: u64 = 20_000;
    const BUDGET: usize = 1 << 20;
    let mut fixture = Fixture::new();
    fixture.set_budget(BUDGET);
    fixture.take_over(0);
    (1..=COUNT).for_each(|number| _ = fixture.start::<Works>(number, 5));
    while fixture.closed.len() < COUNT as usize {
        fixture.run();
        let is_over = fixture.closed.len() == COUNT as usize;
        assert!(is_over || !fixture.attempts.is_empty(), "{} are over", fixture.closed.len());
        for ((run, call), attempt) in std::mem::take(&mut fixture.attempts) {
            fixture.processor.attempt_ended(run, call, attempt.attempt, Ok(payload(&6)), fixture.now);
        }
    }
    assert!(fixture.inbox.is_empty());
    let most = fixture.most_memory;
    assert!((BUDGET / 2..BUDGET).contains(&most), "{most} bytes");
}

#[test]
fn large_starts_stay_within_the_budget() {
    // Given starts of forty times the budget, each with a tenth of it
    const BUDGET: usize = 1 << 20;
    let mut fixture = Fixture::new();
    fixture.set_budget(BUDGET);
    fixture.take_over(0);
    let text = payload(&"x".repeat(BUDGET / 10));
    for number in 1..=400 {
        let (workflow, input) = (Name::from_static(Lengths::NAME), text.clone());
        let start = Message::Start {
            workflow,
            input,
            key: None,
            start_at: None,
            repeated: Flag(false),
            parent: None,
            retry: RetryPolicy::none(),
            deadline: None,
            grace_until: None,
            trace: None,
            attributes: Attributes::default(),
        };
        fixture.submit(run_id(number), &start);
        fixture.rows.insert(run_id(number), OpenRow { state: OpenState::Pending, ..OpenRow::default() });
    }
    while fixture.closed.len() < 400 {
        fixture.run();
        for ((run, call), attempt) in std::mem::take(&mut fixture.attempts) {
            fixture.processor.attempt_ended(run, call, attempt.attempt, Ok(payload(&6)), fixture.now);
        }
    }
    // Then they take the budget at most, and what one run takes
    let most = fixture.most_memory;
    assert!((BUDGET / 2..BUDGET * 3 / 2).contains(&most), "{most} bytes");
}

#[test]
fn message_to_a_run_whose_start_is_held_back_waits_for_it() {
    let mut fixture = with_room_for(4);
    let busy: Vec<RunId> = (1..=10).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    // Given signals to a run whose start was read, or is still to be read
    let waits = fixture.start::<Waits>(11, 0);
    fixture.signal(waits, 1);
    fixture.run();
    fixture.signal(waits, 2);
    fixture.signal(waits, 0);
    fixture.run();
    assert!(!fixture.log.contains_key(&waits));
    // When there is room for it
    while let Some((run, call)) = fixture.in_flight().first().copied() {
        fixture.end(run, call.get(), Ok(6));
    }
    // Then it begins, and gets them in their order
    assert!(busy.iter().all(|run| fixture.closed.contains(run)));
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 1
        3 signal.received go 2
        4 signal.received go 0
        5 run.completed 3
    "#]]
    .assert_eq(&fixture.history(waits));
    assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
}

#[test]
fn runs_that_wait_for_messages_tasks_and_timers_end_in_memory_for_one() {
    // Given a budget that not even one run fits into
    let mut fixture = Fixture::new();
    fixture.set_budget(1);
    fixture.take_over(0);
    // When many runs wait for signals, tasks, timers and activities
    let signalled: Vec<RunId> = (1..=5).map(|number| fixture.start::<Waits>(number, 0)).collect();
    let rendering: Vec<RunId> = (6..=10).map(|number| fixture.start::<Renders>(number, 5)).collect();
    let sleeping: Vec<RunId> = (11..=15).map(|number| fixture.start::<Sleeps>(number, 60)).collect();
    let working: Vec<RunId> = (16..=20).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    for run in &signalled {
        fixture.signal(*run, 7);
        fixture.signal(*run, 0);
    }
    fixture.run();
    let mut passed = 0;
    while passed < 200 && fixture.closed.len() < 20 {
        for task in fixture.tasks.keys().copied().collect::<Vec<_>>() {
            fixture.settle(task, completed(5));
        }
        fixture.run();
        for (run, call) in fixture.in_flight() {
            fixture.end(run, call.get(), Ok(6));
        }
        assert!(fixture.processor.live_runs() <= 3, "{} runs", fixture.processor.live_runs());
        fixture.now = fixture.now.saturating_add(SECOND);
        fixture.heartbeat(4 * SECOND);
        passed += 1;
    }
    // Then all of them end
    for runs in [signalled, rendering, sleeping, working] {
        assert!(runs.iter().all(|run| fixture.closed.contains(run)));
    }
    assert!(fixture.inbox.is_empty());
}

#[test]
fn memory_is_counted_until_everything_is_over() {
    let mut fixture = Fixture::new();
    let before = fixture.processor.memory.used();
    let run = fixture.start::<Works>(1, 5);
    let waits = fixture.start::<Waits>(2, 0);
    fixture.run();
    assert!(fixture.processor.memory.used() > before);
    fixture.processor.publish_memory(fixture.now);
    assert_eq!(fixture.config.memory.used(), fixture.processor.memory.used());
    fixture.end(run, 1, Ok(6));
    fixture.signal(waits, 0);
    fixture.run();
    assert_eq!(fixture.processor.memory.used(), before);
    // A lease that is lost gives back what its processor had.
    fixture.start::<Works>(3, 5);
    fixture.run();
    fixture.processor.publish_memory(fixture.now);
    assert!(fixture.config.memory.used() > 0);
    fixture.config.memory = MemoryBudget::new(1 << 20);
    let budget = fixture.processor.setup.config.memory.clone();
    fixture.take_over(0);
    assert_eq!(budget.used(), 0);
}
