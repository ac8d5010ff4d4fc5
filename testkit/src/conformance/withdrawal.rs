//! Tasks whose outcome is not awaited any more: they go, whoever has them, and their runs are told if they wait for that.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use bytes::Bytes;
use pgworkflows_core::store::{NewTask, Withdrawal};

use super::executor::Executor;
use super::fixture::Fixture;
use super::tasks::{ids, run_with_tasks, task, told, with_tasks};
use super::writer::{LONG, bodies, parked};

pub async fn withdrawn_task_is_gone_whoever_has_it(fixture: &Fixture) {
    let (mut writer, _, tasks) = run_with_tasks(fixture, 3).await;
    let mut executor = Executor::new(fixture, LONG).await;
    let claims = executor.claim(1).await;
    let withdrawn = [&tasks[0], &tasks[1]].map(|task| Withdrawal { task: task.id, tells: None });
    for _ in 0..2 {
        let locked = executor.session.withdraw_tasks(&withdrawn).await.expect("the store answers");
        assert_eq!(locked, []);
    }
    assert_eq!(executor.settle(&claims).await, [false]);
    assert_eq!(executor.renew().await, []);
    assert_eq!(ids(&executor.claim(9).await), [3]);
    assert_eq!(told(&mut writer).await, [""; 0]);
}

pub async fn withdrawn_task_tells_its_run_once_if_it_is_asked_to(fixture: &Fixture) {
    let (mut writer, run, tasks) = run_with_tasks(fixture, 3).await;
    let mut executor = Executor::new(fixture, LONG).await;
    let claims = executor.claim(2).await;
    assert_eq!(executor.settle(&claims[..1]).await, [true]);
    let withdrawal = |task: &NewTask| {
        let tells = Some(Bytes::from(format!("no outcome of {}", task.id.seq)));
        Withdrawal { task: task.id, tells }
    };
    let withdrawals: Vec<_> = tasks.iter().map(withdrawal).collect();
    for _ in 0..2 {
        executor.session.withdraw_tasks(&withdrawals).await.expect("the store answers");
    }
    // The first was settled before, and the second cannot be settled any more.
    assert_eq!(executor.settle(&claims[1..]).await, [false]);
    let messages = writer.inbox().await;
    assert_eq!(bodies(&messages), ["outcome of 1", "no outcome of 2", "no outcome of 3"]);
    assert_eq!((messages[1].run, messages[1].message), (run, tasks[1].message));
}

pub async fn renewal_deletes_tasks_of_runs_that_are_over(fixture: &Fixture) {
    // Given tasks of a run that is over, which nobody serves, and one of a run that is open
    let (mut writer, run, _) = run_with_tasks(fixture, 2).await;
    let other = fixture.run(1);
    let unserved = NewTask { queue: "nobody".into(), ..task(other, 1) };
    let draft = writer.draft().event(run).close(run).open(other, parked(None)).event(other);
    writer.write(draft.change(|append| with_tasks(append, &[unserved]))).await;
    let mut executor = Executor::new(fixture, LONG).await;
    executor.renew().await;
    let left = fixture.store.query().activity_queues().await.expect("the store answers");
    assert_eq!(left.iter().map(|queue| (&*queue.queue, queue.waiting)).collect::<Vec<_>>(), [("nobody", 1)]);
}
