//! Replies to messages: a reply is kept from its append on, and the first one stays.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::store::{Notice, Reply, Submission, Submitted, Topic, Watch, Watched, What};

use super::fixture::Fixture;
use super::writer::{bodies, busy};

fn message(number: u128) -> MessageId {
    MessageId::from_u128(number)
}

fn topic(run: RunId, number: u128) -> Topic {
    Topic { run, what: What::Replied { message: message(number) } }
}

fn told(run: RunId, number: u128, body: &'static str) -> Notice {
    Notice::Replied(Reply { run, message: message(number), body: Bytes::from_static(body.as_bytes()) })
}

async fn watched(fixture: &Fixture, topics: &[Topic], bytes: usize) -> Watched {
    let mut topics = topics.to_vec();
    topics.sort();
    fixture.store.watch(&Watch { topics, bytes }).await.unwrap()
}

pub async fn reply_is_kept_and_the_first_one_stays(fixture: &Fixture) {
    // Given a run that replies to a message, and to another without an event
    let (mut writer, run) = fixture.open_run().await;
    let topics = [topic(run, 1), topic(run, 2), topic(run, 3)];
    assert_eq!(watched(fixture, &topics, 0).await, Watched { notices: Vec::new(), cut: None });
    let append = writer.draft().event(run).reply(run, message(1), "one").seal();
    writer.append(&append).await.unwrap();
    writer.session.append(&append).await.unwrap();
    writer.write(writer.draft().reply(run, message(2), "two")).await;

    // When it replies to the first again, then the first reply stays, also after the end of the run
    writer.write(writer.draft().reply(run, message(1), "other")).await;
    let expected = [told(run, 1, "one"), told(run, 2, "two")];
    for _ in 0..2 {
        let all = watched(fixture, &topics, usize::MAX).await;
        assert_eq!(all, Watched { notices: expected.to_vec(), cut: None });
        if fixture.store.query().describe(run).await.unwrap().is_some_and(|run| run.open.is_some()) {
            writer.write(writer.draft().event(run).close(run)).await;
        }
    }
}

pub async fn message_that_has_a_reply_is_accepted_and_not_delivered_again(fixture: &Fixture) {
    // Given a message that was refused: an append replied to it and consumed it
    let (mut writer, run) = fixture.open_run().await;
    let (refused, other) = (fixture.signal(run), fixture.signal(run));
    fixture.accept(&refused).await;
    let read = writer.inbox().await;
    writer.write(writer.draft().reply(run, refused.message, "no").consume(&read[0])).await;

    // When it arrives again, together with another, then only that one is read
    assert_eq!(fixture.submit(&[refused.clone(), other.clone()]).await, [Submitted::Accepted; 2]);
    fixture.accept(&refused).await;
    assert_eq!(bodies(&writer.inbox().await), [other.body]);

    // A reply of another run says nothing
    let stranger = fixture.run(1);
    writer.open(stranger, busy()).await;
    let stray = Submission { message: refused.message, ..fixture.signal(stranger) };
    fixture.accept(&stray).await;
    assert_eq!(writer.inbox().await.len(), 2);

    // After the end of the run, it is too late
    writer.write(writer.draft().event(run).close(run)).await;
    assert_eq!(fixture.submit(&[refused]).await, [Submitted::RunOver]);
}

pub async fn answer_with_replies_is_cut_by_its_bytes(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let mut runs = [0; 2].map(|shard| fixture.run(shard));
    runs.sort();
    let [one, other] = runs;
    writer.open(one, busy()).await;
    writer.open(other, busy()).await;
    let draft = writer.draft().reply(one, message(1), "long").reply(one, message(2), "longer");
    writer.write(draft.reply(other, message(1), "last")).await;
    let topics = [topic(one, 1), topic(one, 2), topic(other, 1)];
    // The first is returned whatever its size.
    for (bytes, count) in [(0, 1), (9, 1), (10, 2), (13, 2), (14, 3)] {
        let watched = watched(fixture, &topics, bytes).await;
        let all = [told(one, 1, "long"), told(one, 2, "longer"), told(other, 1, "last")];
        assert_eq!(watched, Watched { notices: all[..count].to_vec(), cut: topics.get(count).copied() });
    }
}
