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
