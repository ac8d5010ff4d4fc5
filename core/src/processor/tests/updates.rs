//! Updates: a reply is written with what causes it, once.

use super::*;
use crate::log::reply::Reply;
use crate::log::wire::reply::decode_reply;

/// The replies of an append, each with the last digits of its message's id.
fn replies(append: &Append) -> Vec<(u128, Reply)> {
    let reply = |reply: &crate::store::append::Reply| {
        (reply.message.as_u128(), decode_reply(&reply.body).expect("the reply was just written"))
    };
    append.replies.iter().map(reply).collect()
}

fn update(request: u32) -> Message {
    Message::Update { update: Name::from_static("raise"), request: payload(&request), key: None, trace: None }
}

impl Fixture {
    /// Delivers a message, and returns the append that results from it.
    fn deliver(&mut self, run: RunId, message: &Message, id: u128) -> Arc<Append> {
        self.submit_again(run, message, MessageId::from_u128(id));
        loop {
            let reads: Vec<_> = std::iter::from_fn(|| self.processor.next_read()).collect();
            let is_idle = reads.is_empty();
            reads.into_iter().for_each(|read| self.answer(read));
            self.work();
            match self.processor.cut() {
                Some(append) if !append.consumed.is_empty() => {
                    self.append(&append);
                    return append;
                }
                Some(append) => self.append(&append),
                None => assert!(!is_idle, "the message has no consequence"),
            }
        }
    }
}

#[test]
fn answer_leaves_with_its_event_and_a_repeated_update_changes_nothing() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Raises>(1, 0);
    fixture.run();
    let answered = fixture.deliver(run, &update(3), 71);
    assert_eq!(replies(&answered), [(71, Reply::Answered(payload(&3)))]);
    let unreplied = Append { replies: Vec::new(), ..(*answered).clone() };
    assert_ne!(unreplied.content_digest(), answered.digest);
    let history = fixture.history(run);

    let again = fixture.deliver(run, &update(3), 71);
    assert_eq!((again.consumed.len(), replies(&again)), (1, Vec::new()));
    assert_eq!(fixture.history(run), history);
}

#[test]
fn update_takes_two_events_and_one_commit_beside_that_of_its_message() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Raises>(1, 0);
    fixture.run();
    for number in 0..3 {
        let appends = fixture.appends;
        let append = fixture.deliver(run, &update(1), 80 + number);
        fixture.run();
        assert_eq!(fixture.appends, appends + 1);
        // One frame with two events, one message that is deleted, and one reply.
        let frames: Vec<u32> = append.frames.iter().map(|frame| frame.count).collect();
        assert_eq!((frames, append.consumed.len(), append.replies.len()), (vec![2], 1, 1));
        assert!(append.sent.is_empty() && append.tasks.is_empty());
    }
    let history = fixture.history(run);
    assert!(history.contains("update.received") && history.contains("update.replied"), "{history}");
}

#[test]
fn refusal_is_written_by_the_append_that_consumes_the_message_and_touches_no_history() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Raises>(1, 0);
    fixture.run();
    let history = fixture.history(run);
    for id in [72, 72, 73] {
        let refused = fixture.deliver(run, &update(0), id);
        assert_eq!(replies(&refused), [(id, Reply::Refused("a raise of nothing".to_owned()))]);
        assert_eq!((refused.consumed.len(), refused.frames.len()), (1, 0));
    }
    assert_eq!(fixture.history(run), history);
    assert!(fixture.inbox.is_empty());

    // Another owner refuses it, too.
    fixture.take_over(0);
    let refused = fixture.deliver(run, &update(0), 72);
    assert_eq!(replies(&refused), [(72, Reply::Refused("a raise of nothing".to_owned()))]);
}

#[test]
fn update_that_comes_after_the_end_is_consumed_without_a_reply() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Raises>(1, 0);
    fixture.run();
    let last = fixture.deliver(run, &update(100), 74);
    assert_eq!(replies(&last), [(74, Reply::Answered(payload(&100)))]);
    assert_eq!(last.closed.len(), 1);
    let late = fixture.deliver(run, &update(1), 75);
    assert_eq!((late.consumed.len(), late.undelivered.len(), replies(&late)), (1, 0, Vec::new()));
    assert!(fixture.undelivered.is_empty());
}

#[test]
fn of_a_hundred_thousand_updates_that_nothing_takes_ten_thousand_wait_and_the_others_are_refused() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    for number in 0..100_000 {
        fixture.submit_again(run, &update(1), MessageId::from_u128(1_000 + number));
    }
    let mut refused = 0;
    while !fixture.inbox.is_empty() {
        fixture.work();
        if let Some(append) = fixture.processor.cut() {
            refused += replies(&append).iter().filter(|(_, reply)| *reply == Reply::TooMany).count();
            fixture.append(&append);
        } else if let Some(read) = fixture.processor.next_read() {
            fixture.answer(read);
        }
    }
    assert_eq!(fixture.history(run).matches("update.received").count(), limits::UPDATES_OPEN_MAX);
    assert_eq!(refused, 100_000 - limits::UPDATES_OPEN_MAX);
}
