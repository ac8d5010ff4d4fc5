//! Messages to other runs are sent with the append of their group.

use super::*;
use crate::processor::group::Group;
use crate::store::append::SentMessage;

#[test]
fn messages_of_a_group_are_sent_with_its_append_and_no_other() {
    // Given two groups that only write messages
    let mut fixture = Fixture::new();
    let sent = |number: u64| SentMessage {
        message: MessageId::from_u128(number.into()),
        run: run_id(number),
        key: None,
        otherwise: None,
        body: Bytes::from_static(b"hello"),
        opens: None,
    };
    for numbers in [1..3, 3..4] {
        let mut group = Group::new(run_id(0));
        group.sent.extend(numbers.map(sent));
        assert_eq!(group.bytes(), 5 * group.sent.len());
        fixture.processor.outbox.push(group);
    }

    // When an append is cut, then it sends them in order, and its digest covers them
    let append = fixture.processor.cut().expect("there is something to write");
    assert_eq!(append.sent, [1, 2, 3].map(sent));
    let silent = Append { sent: Vec::new(), ..(*append).clone() };
    assert_eq!(append.digest, append.content_digest());
    assert_ne!(append.digest, silent.content_digest());

    // Then nothing is left to send
    fixture.processor.appended(Appended { now: fixture.now });
    assert!(fixture.processor.cut().is_none());
}

/// The signals that an append sends: to whom, and their contents.
fn signals(append: &Append) -> Vec<(RunId, u32)> {
    let signal = |sent: &SentMessage| match wire::decode_message(&sent.body) {
        Ok(Message::RunSignal { payload, .. }) => (sent.run, payload.decode().expect("it is a number")),
        other => panic!("{other:?} is no signal of a run"),
    };
    append.sent.iter().map(signal).collect()
}

#[test]
fn signals_leave_with_the_append_of_their_events_and_are_received_in_order() {
    // Given a run that waits, and one that sends it two signals
    let mut fixture = Fixture::new();
    let waits = fixture.start::<Waits>(1, 0);
    fixture.run();
    fixture.start::<Tells>(2, 1);
    let reads: Vec<_> = std::iter::from_fn(|| fixture.processor.next_read()).collect();
    reads.into_iter().for_each(|read| fixture.answer(read));
    fixture.work();
    let append = fixture.processor.cut().expect("the run began");
    assert_eq!(signals(&append), [(waits, 5), (waits, 0)]);
    assert!(fixture.sent.is_empty(), "nothing leaves before the commit");

    // When they are written, then the receiver gets them in order, with their sender
    fixture.append(&append);
    fixture.run();
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 5
        3 signal.received go 0
        4 run.completed 5
    "#]]
    .assert_eq(&fixture.history(waits));
    assert!(fixture.undelivered.is_empty() && fixture.inbox.is_empty());
}

#[test]
fn signal_to_a_run_that_is_over_goes_to_undelivered() {
    let mut fixture = Fixture::new();
    let over = fixture.start::<Waits>(1, 0);
    fixture.signal(over, 0);
    fixture.run();
    fixture.start::<Tells>(2, 1);
    fixture.run();
    assert_eq!((fixture.undelivered.len(), fixture.inbox.len()), (2, 0));
}

#[test]
fn signal_to_a_run_that_does_not_exist_comes_back_and_is_undelivered() {
    let mut fixture = Fixture::new();
    let to_an_id = fixture.start::<Tells>(2, 77);
    let to_a_key = fixture.start::<TellsNobody>(3, 8);
    fixture.run();
    assert_eq!((fixture.undelivered.len(), fixture.inbox.len()), (3, 0));

    // The senders go on, and receive nothing.
    for run in [to_an_id, to_a_key] {
        assert!(!fixture.history(run).contains("signal.received"), "{}", fixture.history(run));
        assert!(fixture.rows.contains_key(&run));
    }
}

#[test]
fn signal_that_came_back_to_a_sender_that_is_over_is_undelivered() {
    let mut fixture = Fixture::new();
    let sender = fixture.start::<TellsNobody>(3, 8);
    fixture.signal(sender, 1);
    fixture.run();
    assert_eq!((fixture.undelivered.len(), fixture.inbox.len()), (1, 0));
    assert!(fixture.closed.contains(&sender));
}

#[test]
fn poll_that_stalls_sends_nothing_and_sends_once_when_it_is_released() {
    // Given code that panics between two signals
    let mut fixture = Fixture::new();
    let waits = fixture.start::<Waits>(1, 0);
    fixture.run();
    deploy_broken_build(true);
    fixture.start::<Tells>(2, 1);
    fixture.run();
    assert!(fixture.sent.is_empty());

    // When mended code takes over, both are sent; another owner sends none
    deploy_broken_build(false);
    fixture.take_over(0);
    assert_eq!(fixture.sent.len(), 2);
    fixture.take_over(0);
    assert_eq!(fixture.sent.len(), 2);
    assert!(fixture.closed.contains(&waits) && fixture.undelivered.is_empty());
}

#[test]
fn run_that_signals_itself_without_an_end_stalls_at_the_limit_of_its_history() {
    let mut fixture = Fixture::new();
    fixture.config.history_events_max = 20;
    fixture.take_over(0);
    let run = fixture.start::<Echoes>(1, 7);
    fixture.run();
    let row = fixture.rows[&run].waiting_on.clone().unwrap_or_default();
    assert!(row.contains("the limit is 20"), "{row}");
    let history = fixture.history(run);
    let (sent, received) =
        (history.matches("signal.sent").count(), history.matches("signal.received").count());
    assert!(sent >= received && sent - received <= 1, "nothing is lost: {history}");
}
