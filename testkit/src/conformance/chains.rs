//! Chains: runs that continue one another. Every id of a chain leads to its current run, and to what any run of it replied.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::store::{
    ChainLink, ClosedRun, ClosedStatus, Notice, Reply, Submission, Submitted, Topic, Watch, What,
};

use super::fixture::Fixture;
use super::writer::{Draft, Writer, busy, closed_run};

/// A chain of three runs, of which the last is open. The first two reply to a message each.
async fn chain(fixture: &Fixture, writer: &mut Writer) -> [RunId; 3] {
    let chain = [fixture.run(0), fixture.run(0), fixture.run(0)];
    let [first, second, third] = chain;
    writer.open(first, busy()).await;
    writer.write(writer.draft().event(first).reply(first, message(1), "of the first")).await;
    let link = ChainLink { first, predecessor: first, number: 2 };
    writer.write(continued(writer.draft(), second, link)).await;
    writer.write(writer.draft().event(second).reply(second, message(2), "of the second")).await;
    let link = ChainLink { first, predecessor: second, number: 3 };
    writer.write(continued(writer.draft(), third, link)).await;
    chain
}

/// Ends a run, and begins the one that continues it.
fn continued(draft: Draft, run: RunId, link: ChainLink) -> Draft {
    let ended = ClosedRun { status: ClosedStatus::Continued, ..closed_run(link.predecessor) };
    draft.event(link.predecessor).close_with(ended).event(run).open(run, busy()).link(run, link)
}

fn message(number: u128) -> MessageId {
    MessageId::from_u128(number)
}

/// What has occurred of a topic.
async fn watched(fixture: &Fixture, run: RunId, what: What) -> Option<Notice> {
    let watch = Watch { topics: vec![Topic { run, what }], bytes: usize::MAX };
    fixture.store.watch(&watch).await.expect("the store answers").notices.pop()
}

async fn reply(fixture: &Fixture, run: RunId, number: u128) -> Option<Bytes> {
    match watched(fixture, run, What::Replied { message: message(number) }).await {
        Some(Notice::Replied(Reply { run: of, body, .. })) => {
            assert_eq!(of, run, "it is told about the run that was asked for");
            Some(body)
        }
        other => {
            assert_eq!(other, None);
            None
        }
    }
}

pub async fn every_run_of_a_chain_leads_to_the_current_one(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let chain = chain(fixture, &mut writer).await;
    let [first, second, third] = chain;

    // Descriptions show each run by itself, its place, and where it leads
    let places = [None, Some((first, 2)), Some((second, 3))];
    for (run, place) in chain.into_iter().zip(places) {
        let described = fixture.describe(run).await;
        let link = place.map(|(predecessor, number)| ChainLink { first, predecessor, number });
        assert_eq!(described.link, link);
        assert_eq!(described.current, Some(third).filter(|current| *current != run));
    }
    // Messages to any of them are accepted, and read for the current one
    let mut signals = chain.map(|run| fixture.signal(run));
    signals.iter_mut().zip(10..).for_each(|(signal, number)| signal.message = message(number));
    assert_eq!(fixture.submit(&signals).await, [Submitted::Accepted; 3]);
    let read: Vec<(RunId, RunId)> =
        writer.inbox().await.into_iter().map(|message| (message.run, message.current)).collect();
    assert_eq!(read, chain.map(|run| (run, third)));
}

pub async fn end_of_a_chain_is_that_of_each_of_its_runs(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let chain = chain(fixture, &mut writer).await;
    for run in chain {
        assert_eq!(watched(fixture, run, What::Closed).await, None);
    }
    let ended = closed_run(chain[2]);
    writer.write(writer.draft().event(chain[2]).close_with(ended.clone())).await;
    for run in chain {
        let expected = Notice::Closed(ClosedRun { run, ..ended.clone() });
        assert_eq!(watched(fixture, run, What::Closed).await, Some(expected));
        assert_eq!(fixture.submit(&[fixture.signal(run)]).await, [Submitted::RunOver]);
    }
}

pub async fn reply_of_any_run_of_a_chain_is_found_by_each_of_its_runs(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let chain = chain(fixture, &mut writer).await;
    // Given a run outside of the chain, which replied to a message of the same id
    let stranger = fixture.run(0);
    writer.open(stranger, busy()).await;
    writer.write(writer.draft().event(stranger).reply(stranger, message(3), "of a stranger")).await;

    for run in chain {
        assert_eq!(reply(fixture, run, 1).await.as_deref(), Some(&b"of the first"[..]));
        assert_eq!(reply(fixture, run, 2).await.as_deref(), Some(&b"of the second"[..]));
    }
    assert_eq!(reply(fixture, stranger, 1).await, None, "it belongs to no chain");
    // No run of the chain is sent again what another one has replied to
    for run in chain {
        let again = Submission { message: message(1), ..fixture.signal(run) };
        fixture.accept(&again).await;
    }
    assert_eq!(writer.inbox().await, []);
    assert_eq!(reply(fixture, stranger, 3).await.as_deref(), Some(&b"of a stranger"[..]));
    // What the current run replies is found as well, and stays when the chain is over
    let third = chain[2];
    let draft = writer.draft().event(third).reply(third, message(4), "of the third");
    writer.write(draft.event(third).close(third)).await;
    for run in chain {
        assert_eq!(reply(fixture, run, 4).await.as_deref(), Some(&b"of the third"[..]));
    }
}
