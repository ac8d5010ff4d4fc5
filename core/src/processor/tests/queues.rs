//! Children of other queues: what the worker does not know, it asks the store, and the log has the answer.

use super::*;
use crate::store::Queue;

const FIRST: u16 = 64;

/// A processor that knows no other queue.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.queues = Some(Arc::default());
    fixture.take_over(0);
    fixture
}

/// The store answers to all lookups.
fn answer(fixture: &mut Fixture, queues: &[&str]) {
    let queue = |name: &&str| Queue {
        name: (*name).to_owned(),
        first_shard: ShardId::new(FIRST).expect("a small number"),
        shard_count: 8,
        now: BORN,
    };
    let queues: Vec<Queue> = queues.iter().map(queue).collect();
    let asked = std::mem::take(&mut fixture.queue_lookups);
    let runs = asked.iter().map(|(_, run)| *run).collect();
    fixture.queues.as_ref().expect("it has some").learn(&queues, asked);
    fixture.processor.queues_known(runs);
    fixture.run();
}

/// The start that a run has sent, if it has.
fn child_of(fixture: &Fixture, parent: RunId) -> Option<RunId> {
    fixture.rows.keys().copied().find(|run| *run != parent)
}

#[test]
fn child_starts_in_the_queue_that_was_looked_up_also_if_its_owner_dies_meanwhile() {
    let mut fixture = fixture();
    let parent = fixture.start::<ParentElsewhere>(1, 0);
    fixture.run();
    assert_eq!(fixture.queue_lookups, [(Name::from("gpu"), parent)]);
    assert_eq!(fixture.rows[&parent].state, OpenState::Stalled);

    // The first owner dies before it is answered, and the second asks again
    fixture.queue_lookups.clear();
    fixture.take_over(1);
    assert_eq!(fixture.queue_lookups.len(), 1);
    answer(&mut fixture, &["gpu"]);
    let child = child_of(&fixture, parent).expect("it is started");
    assert!((FIRST..FIRST + 8).contains(&child.shard().get()));
    expect![[r#"
        1 run.stalled: the child at core/src/processor/tests/definitions.rs:LINE is to live in queue `gpu`, for which the store is being asked; then the run resumes
        2 run.started parent-elsewhere 0
        3 run.adopted lease 3
        4 run.resumed 1 released
        5 queue.resolved queue gpu first_shard 64 shard_count 8
        6 child.started #1 waits 0
    "#]]
    .assert_eq(&fixture.history(parent));

    // An owner that knows no queue any more finds the same id in the log
    fixture.queues = Some(Arc::default());
    fixture.take_over(0);
    fixture.submit(parent, &Message::Terminate { reason: "enough".to_owned(), parent: None });
    fixture.run();
    assert!(fixture.queue_lookups.is_empty());
    let asked =
        fixture.inbox.values().find(|message| message.run == child && !fixture.rows.contains_key(&parent));
    assert!(asked.is_some(), "{}", fixture.history(parent));
}

#[test]
fn queue_that_does_not_exist_is_a_failure_that_names_it_and_is_asked_again_later() {
    let mut fixture = fixture();
    let parent = fixture.start::<ParentElsewhere>(1, 0);
    fixture.run();
    answer(&mut fixture, &["cpu"]);
    let history = fixture.history(parent);
    assert!(history.contains("queue.resolved queue gpu first_shard 0 shard_count 0"), "{history}");
    let failed = "there is no queue `gpu`: a worker that serves it, or a client that starts a run in it, creates it; check \
                  the name (unknown-queue)";
    assert!(history.contains("run.failed") && history.contains(failed), "{history}");
    assert_eq!((child_of(&fixture, parent), fixture.processor.live_runs()), (None, 0));

    // Another run asks the store again.
    let other = fixture.start::<ParentElsewhere>(2, 0);
    fixture.run();
    assert_eq!(fixture.queue_lookups, [(Name::from("gpu"), other)]);
    answer(&mut fixture, &["cpu", "gpu"]);
    assert!(fixture.history(other).contains("child.started"), "{}", fixture.history(other));
}

#[test]
fn queue_is_looked_up_when_code_asks_for_it_after_a_lost_task() {
    let mut fixture = fixture();
    let parent = fixture.start::<RendersThenAsks>(1, 0);
    fixture.run();
    let task = fixture.tasks.keys().next().expect("it is a task").seq;
    fixture.submit(parent, &Message::TaskLost { id: call(1), task, losses: 1 });
    fixture.run();
    assert_eq!(fixture.queue_lookups, [(Name::from("gpu"), parent)]);
    answer(&mut fixture, &["gpu"]);
    assert!(child_of(&fixture, parent).is_some(), "{}", fixture.history(parent));
}
