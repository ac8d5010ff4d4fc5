//! Turns: what is too much for one is worked on in several, and everything else goes on in between.

use std::cell::Cell;

use super::*;

impl Desk {
    /// Does one piece of work.
    fn work_once(&mut self) -> bool {
        self.processor.work(&Turn::new(self.now, &|| true))
    }

    fn next_read(&mut self) -> Read {
        self.processor.next_read().expect("there is something to read")
    }

    /// Answers the list of busy runs that a new owner asks for first.
    fn answer_list(&mut self) {
        let read = self.next_read();
        assert!(matches!(read, Read::List(_)), "{read:?}");
        self.answer(read);
    }
}

#[test]
fn page_of_messages_is_delivered_one_at_a_time_and_cut_in_between() {
    let mut desk = Desk::new();
    for number in 1..=3 {
        desk.start::<Works>(number, 5);
    }
    desk.answer_list();
    let read = desk.next_read();
    desk.answer(read);
    // Nothing of the page was polled when it came
    assert_eq!(desk.processor.live_runs(), 0);
    assert!(desk.work_once());
    assert_eq!(desk.processor.live_runs(), 1);
    let append = desk.processor.cut().expect("the first start is written while others wait");
    desk.append(&append);
    // What is left counts as a read under way
    desk.processor.has_mail();
    assert!(!matches!(desk.processor.next_read(), Some(Read::Inbox(_))));
    desk.run();
    assert_eq!((desk.processor.live_runs(), desk.inbox.len()), (3, 0));
}

#[test]
fn shards_that_come_while_a_page_is_delivered_have_nothing_delivered_twice() {
    // Given a page of which one message is delivered, and its append is done
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.signal(run, 7);
    desk.answer_list();
    let read = desk.next_read();
    desk.answer(read);
    assert!(desk.work_once());
    let append = desk.processor.cut().expect("the start");
    desk.append(&append);
    // When shards are claimed, so that the inbox is read from its beginning
    let other = ShardId::new(9).expect("9 is a shard");
    desk.processor.claimed(&claimed(1, other, Position::FIRST, 0));
    desk.run();
    // Then the signal was taken once
    assert!(desk.history(run).ends_with("2 signal.received go 7\n"), "{}", desk.history(run));
    assert!(desk.inbox.is_empty());
}

#[test]
fn long_history_is_replayed_in_turns_while_new_runs_go_on() {
    // Given a busy run with a history that takes several turns
    let mut desk = Desk::new();
    let long = desk.start::<FansOut>(1, 100);
    desk.run();
    for number in 1..=60 {
        desk.end(long, number, Ok(1));
    }
    desk.take_over_without_work(0);
    desk.answer_list();
    let read = desk.next_read();
    assert!(matches!(read, Read::Load(_)), "{read:?}");
    desk.answer(read);
    // When a start comes after its replay began
    let polled = Cell::new(0);
    let over = || polled.replace(polled.get() + 1) >= 2;
    assert!(desk.processor.work(&Turn::new(desk.now, &over)));
    let short = desk.start::<Works>(2, 5);
    let read = desk.next_read();
    assert!(matches!(read, Read::Inbox(_)), "{read:?}");
    desk.answer(read);
    while !desk.rows.get(&short).is_some_and(|row| row.state == OpenState::Busy) {
        assert!(desk.work_once());
        if let Some(append) = desk.processor.cut() {
            desk.append(&append);
        }
    }
    // Then it begins before the long one is back
    assert_eq!(desk.processor.live_runs(), 1);
    desk.run();
    assert_eq!(desk.processor.live_runs(), 2);
    assert_eq!(desk.in_flight().iter().filter(|(run, _)| *run == long).count(), 40);
}

#[test]
fn history_that_comes_in_parts_is_replayed_as_a_whole() {
    for load_bytes_max in [1, 100, 1_000] {
        // Given runs whose histories are too long for one read
        let mut desk = Desk::new();
        let runs: Vec<RunId> = (1..=3).map(|number| desk.start::<FansOut>(number, 10)).collect();
        desk.run();
        for number in 1..=5 {
            runs.iter().for_each(|run| desk.end(*run, number, Ok(1)));
        }
        desk.load_bytes_max = load_bytes_max;
        // When another owner takes over, and a signal waits for one of them
        desk.signal(runs[1], 3);
        desk.take_over(0);
        // Then all go on where they were
        assert_eq!(desk.in_flight().len(), 15);
        for number in 6..=10 {
            runs.iter().for_each(|run| desk.end(*run, number, Ok(1)));
        }
        assert_eq!(desk.closed, runs.into_iter().collect());
        assert!(desk.inbox.is_empty());
    }
}

#[test]
fn stalled_run_is_released_in_turns() {
    // Given a stalled run for which three signals wait
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.run();
    deploy_broken_build(true);
    for number in [1, 2, 0] {
        desk.signal(run, number);
        desk.run();
    }
    // When code that matches takes over, and its turns are short
    deploy_broken_build(false);
    desk.take_over_without_work(0);
    desk.answer_list();
    let read = desk.next_read();
    desk.answer(read);
    while desk.work_once() {}
    desk.run();
    // Then each turn takes one of them in
    let history = desk.history(run);
    assert_eq!(history.matches("run.resumed 1 released").count(), 3, "{history}");
    assert!(history.ends_with("run.completed 3\n"), "{history}");
}

#[test]
fn part_of_a_history_that_could_not_be_read_is_read_again() {
    let mut desk = Desk::new();
    let run = desk.start::<FansOut>(1, 10);
    desk.run();
    desk.take_over_without_work(0);
    desk.load_bytes_max = 100;
    desk.answer_list();
    for _ in 0..2 {
        let read = desk.next_read();
        desk.processor.read_failed(read);
        let read =
            std::iter::from_fn(|| desk.processor.next_read()).find(|read| matches!(read, Read::Load(_)));
        desk.answer(read.expect("it is to be loaded all the same"));
        desk.work();
    }
    desk.run();
    assert_eq!(desk.in_flight().len(), 10);
    assert_eq!(desk.in_flight()[0].0, run);
}

#[test]
fn damaged_history_of_a_run_that_is_over_costs_no_lease() {
    // Given a run that is over, and an event after its end
    let mut desk = Desk::new();
    let run = desk.start::<Works>(1, 5);
    desk.run();
    desk.end(run, 1, Ok(6));
    let events = desk.log.get_mut(&run).expect("it is logged");
    let last = events.last().cloned().expect("it has events");
    let first = EventRecord { seq: last.seq.next(), ..events[0].clone() };
    events.push(first);
    // When a message comes late, then it stays in the inbox, and no row is written that is not there
    desk.signal(run, 1);
    desk.run();
    assert_eq!((desk.inbox.len(), desk.rows.len()), (1, 0));
}

#[test]
fn damaged_history_is_left_alone_visibly_and_its_neighbours_come() {
    // Given three busy runs, of which one lost an event and one has something after its end
    let mut desk = Desk::new();
    let runs: Vec<RunId> = (1..=3).map(|number| desk.start::<Works>(number, 5)).collect();
    desk.run();
    desk.log.get_mut(&runs[0]).expect("it is logged").remove(0);
    let signal = desk.signal(runs[0], 1);
    // When another owner takes over
    desk.take_over(0);
    // Then the others go on
    assert_eq!(desk.in_flight().iter().map(|(run, _)| *run).collect::<Vec<_>>(), runs[1..]);
    // And the damaged one is seen, and keeps its message
    let row = &desk.rows[&runs[0]];
    assert_eq!(row.state, OpenState::Stalled);
    let waiting_on = row.waiting_on.as_deref().unwrap_or_default();
    assert!(waiting_on.contains("its history is not whole: event 2 is where 1 should be"), "{waiting_on}");
    assert_eq!(desk.inbox.keys().copied().collect::<Vec<_>>(), [signal]);
}
