//! Turns: work that is too much for one turn is done in several, and other work continues between them.

use std::cell::Cell;

use super::*;

impl Fixture {
    /// Does one piece of work.
    fn work_once(&mut self) -> bool {
        self.processor.work(&Turn::new(self.now, &|| true))
    }

    fn next_read(&mut self) -> StoreRead {
        self.processor.next_read().expect("there is something to read")
    }

    /// Answers the list of busy runs, which a new owner requests first.
    fn answer_list(&mut self) {
        let read = self.next_read();
        assert!(matches!(read, StoreRead::List(_)), "{read:?}");
        self.answer(read);
    }
}

#[test]
fn messages_of_a_page_are_delivered_one_at_a_time_with_appends_in_between() {
    let mut fixture = Fixture::new();
    for number in 1..=3 {
        fixture.start::<Works>(number, 5);
    }
    fixture.answer_list();
    let read = fixture.next_read();
    fixture.answer(read);
    // No run was polled when the page arrived
    assert_eq!(fixture.processor.live_runs(), 0);
    assert!(fixture.work_once());
    assert_eq!(fixture.processor.live_runs(), 1);
    let append = fixture.processor.cut().expect("the first start is written while others wait");
    fixture.append(&append);
    // The rest of the page counts as a read in progress
    fixture.processor.has_mail();
    assert!(!matches!(fixture.processor.next_read(), Some(StoreRead::Inbox(_))));
    fixture.run();
    assert_eq!((fixture.processor.live_runs(), fixture.inbox.len()), (3, 0));
}

#[test]
fn shards_claimed_while_a_page_is_delivered_cause_no_second_delivery() {
    // Given a page with one message delivered and appended
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.signal(run, 7);
    fixture.answer_list();
    let read = fixture.next_read();
    fixture.answer(read);
    assert!(fixture.work_once());
    let append = fixture.processor.cut().expect("the start");
    fixture.append(&append);
    // When shards are claimed, so that the inbox is read from its beginning
    let other = ShardId::new(9).expect("9 is a shard");
    fixture.processor.claimed(&claimed(1, other, Position::FIRST, 0));
    fixture.run();
    // Then the signal was delivered once
    assert!(fixture.history(run).ends_with("2 signal.received go 7\n"), "{}", fixture.history(run));
    assert!(fixture.inbox.is_empty());
}

#[test]
fn long_history_is_replayed_in_turns_while_new_runs_proceed() {
    // Given a busy run with a history that takes several turns
    let mut fixture = Fixture::new();
    let long = fixture.start::<FansOut>(1, 100);
    fixture.run();
    for number in 1..=60 {
        fixture.end(long, number, Ok(1));
    }
    fixture.take_over_without_work(0);
    fixture.answer_list();
    let read = fixture.next_read();
    assert!(matches!(read, StoreRead::Load(_)), "{read:?}");
    fixture.answer(read);
    // When a start arrives after its replay began
    let polled = Cell::new(0);
    let over = || polled.replace(polled.get() + 1) >= 2;
    assert!(fixture.processor.work(&Turn::new(fixture.now, &over)));
    let short = fixture.start::<Works>(2, 5);
    let read = fixture.next_read();
    assert!(matches!(read, StoreRead::Inbox(_)), "{read:?}");
    fixture.answer(read);
    while !fixture.log.contains_key(&short) {
        assert!(fixture.work_once());
        if let Some(append) = fixture.processor.cut() {
            fixture.append(&append);
        }
    }
    // Then the new run begins before the long one is replayed
    assert_eq!(fixture.processor.live_runs(), 1);
    fixture.run();
    assert_eq!(fixture.processor.live_runs(), 2);
    assert_eq!(fixture.in_flight().iter().filter(|(run, _)| *run == long).count(), 40);
}

#[test]
fn history_that_arrives_in_parts_is_replayed() {
    for load_bytes_max in [1, 100, 1_000] {
        // Given runs whose histories are too long for one read
        let mut fixture = Fixture::new();
        let runs: Vec<RunId> = (1..=3).map(|number| fixture.start::<FansOut>(number, 10)).collect();
        fixture.run();
        for number in 1..=5 {
            runs.iter().for_each(|run| fixture.end(*run, number, Ok(1)));
        }
        fixture.load_bytes_max = load_bytes_max;
        // When another owner takes over, and a signal waits for one of them
        fixture.signal(runs[1], 3);
        fixture.take_over(0);
        // Then all runs resume where they were
        assert_eq!(fixture.in_flight().len(), 15);
        for number in 6..=10 {
            runs.iter().for_each(|run| fixture.end(*run, number, Ok(1)));
        }
        assert_eq!(fixture.closed, runs.into_iter().collect());
        assert!(fixture.inbox.is_empty());
    }
}

#[test]
fn stalled_run_is_released_in_turns() {
    // Given a stalled run with three waiting signals
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    deploy_broken_build(true);
    for number in [1, 2, 0] {
        fixture.signal(run, number);
        fixture.run();
    }
    // When matching code takes over, and its turns are short
    deploy_broken_build(false);
    fixture.take_over_without_work(0);
    fixture.answer_list();
    let read = fixture.next_read();
    fixture.answer(read);
    while fixture.work_once() {}
    fixture.run();
    // Then each turn handles one of them
    let history = fixture.history(run);
    assert_eq!(history.matches("run.resumed 1 released").count(), 3, "{history}");
    assert!(history.ends_with("run.completed 3\n"), "{history}");
}

#[test]
fn messages_that_arrived_before_their_run_are_delivered_one_at_a_time() {
    // Given a run that left memory, and three signals that have it loaded
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    assert_eq!(fixture.processor.live_runs(), 0);
    for number in [1, 2, 0] {
        fixture.signal(run, number);
    }
    let read = fixture.next_read();
    fixture.answer(read);
    fixture.work();
    let read = fixture.next_read();
    assert!(matches!(read, StoreRead::Load(_)), "{read:?}");
    fixture.answer(read);
    // When it is replayed
    assert!(fixture.work_once());
    assert!(fixture.processor.cut().is_none(), "no signal was delivered with its replay");
    // Then each piece of work delivers one signal, and the run stays in memory for the next
    for _ in 0..3 {
        assert!(fixture.work_once());
        let append = fixture.processor.cut().expect("a signal was delivered");
        assert_eq!(append.consumed.len(), 1);
        fixture.append(&append);
    }
    assert!(fixture.history(run).ends_with("run.completed 3\n"), "{}", fixture.history(run));
}

#[test]
fn part_of_a_history_that_could_not_be_read_is_read_again() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<FansOut>(1, 10);
    fixture.run();
    (1..=4).for_each(|number| fixture.end(run, number, Ok(1)));
    fixture.take_over_without_work(0);
    fixture.load_bytes_max = 1;
    fixture.answer_list();
    for _ in 0..2 {
        let read = fixture.next_read();
        fixture.processor.read_failed(read);
        let read = std::iter::from_fn(|| fixture.processor.next_read())
            .find(|read| matches!(read, StoreRead::Load(_)));
        fixture.answer(read.expect("it is still to be loaded"));
        fixture.work();
    }
    fixture.run();
    assert_eq!(fixture.in_flight(), (5..=10).map(|number| (run, call(number))).collect::<Vec<_>>());
}

#[test]
fn damaged_history_of_a_run_that_is_over_costs_no_lease() {
    // Given a run that is over, and an event after its end
    let mut fixture = Fixture::new();
    let run = fixture.start::<Works>(1, 5);
    fixture.run();
    fixture.end(run, 1, Ok(6));
    let frames = fixture.log.get_mut(&run).expect("it is logged");
    let seq = frames.last().expect("it has frames").next_seq();
    let first = Frame { seq, ..frames[0].clone() };
    frames.push(first);
    // When a message arrives late, then it stays in the inbox, and no row is written, because there is none
    fixture.signal(run, 1);
    fixture.run();
    assert_eq!((fixture.inbox.len(), fixture.rows.len()), (1, 0));
}

#[test]
fn damaged_frames_stall_their_runs_and_their_neighbours_are_recovered() {
    // Given busy runs whose frames are damaged in different ways, and one that is not
    type Damage = fn(&mut Frame);
    let damages: [(Damage, &str); 5] = [
        (|frame| frame.count = 3, "the frame of 3 events at event 1"),
        (|frame| frame.count = 1, "the frame of 1 events at event 1"),
        (|frame| frame.seq = EventSeq::new(2), "it continues with event 2, where event 1 should be"),
        (|frame| frame.body.truncate(9), "cut short"),
        (|frame| frame.body = [&[0x86, 0x18, 77], &frame.body[2..]].concat().into(), "`kind-77`"),
    ];
    let mut fixture = Fixture::new();
    let runs: Vec<RunId> = (1..=6).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    for (run, (damage, _)) in runs.iter().zip(&damages) {
        damage(&mut fixture.log.get_mut(run).expect("it is logged")[0]);
    }
    // When another owner takes over, then that one resumes, and the rows of the others say what is wrong
    fixture.take_over(0);
    assert_eq!(fixture.in_flight(), [(runs[5], call(1))]);
    for (run, (_, problem)) in runs.iter().zip(&damages) {
        let OpenRow { state, waiting_on, .. } = &fixture.rows[run];
        let waiting_on = waiting_on.as_deref().unwrap_or_default();
        assert!(*state == OpenState::Stalled && waiting_on.contains(problem), "{problem}: {waiting_on}");
    }
}

#[test]
fn frame_that_claims_to_be_empty_is_noticed_wherever_a_turn_ends() {
    // Given a busy run whose second frame claims to have no event
    let mut fixture = Fixture::new();
    let run = fixture.start::<FansOut>(1, 2);
    fixture.run();
    fixture.end(run, 1, Ok(1));
    fixture.log.get_mut(&run).expect("it is logged")[1].count = 0;
    // When another owner replays it one event at a time
    fixture.take_over_without_work(0);
    fixture.answer_list();
    let read = fixture.next_read();
    fixture.answer(read);
    while fixture.work_once() {}
    fixture.run();
    // Then it is left alone, and its row says why
    let OpenRow { state, waiting_on, .. } = &fixture.rows[&run];
    let waiting_on = waiting_on.as_deref().unwrap_or_default();
    let problem = "the frame of 0 events at event 4";
    assert!(*state == OpenState::Stalled && waiting_on.contains(problem), "{state:?}: {waiting_on}");
}

#[test]
fn damaged_history_stalls_its_run_and_its_neighbours_are_recovered() {
    // Given three busy runs: one lost an event, and one has an event after its end
    let mut fixture = Fixture::new();
    let runs: Vec<RunId> = (1..=3).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    fixture.log.get_mut(&runs[0]).expect("it is logged")[0].seq = EventSeq::new(2);
    let signal = fixture.signal(runs[0], 1);
    // When another owner takes over
    fixture.take_over(0);
    // Then the other runs resume
    assert_eq!(fixture.in_flight().iter().map(|(run, _)| *run).collect::<Vec<_>>(), runs[1..]);
    // And the row of the damaged run says so, and its message stays
    let row = &fixture.rows[&runs[0]];
    assert_eq!(row.state, OpenState::Stalled);
    let waiting_on = row.waiting_on.as_deref().unwrap_or_default();
    assert!(
        waiting_on.contains("its history is incomplete: it continues with event 2, where event 1 should be"),
        "{waiting_on}"
    );
    assert_eq!(fixture.inbox.keys().copied().collect::<Vec<_>>(), [signal]);
}
