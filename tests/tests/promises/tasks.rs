//! Tasks: activities that another worker executes than the one that owns their run, and what happens when that worker dies.

use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows::worker::Health;
use pgworkflows_tests::{
    ActivityFn, Env, Gate, Journal, activity, assert_contains, count, eventually, history_text, logged,
    promises, reached, workflow,
};

promises![
    activity_of_an_activity_queue_is_executed_by_a_worker_that_serves_it,
    run_that_waits_for_a_task_is_parked_and_survives_its_owner,
    activity_that_the_owner_does_not_know_is_executed_by_a_worker_that_does,
    task_whose_worker_dies_is_executed_by_another,
    at_most_once_task_is_not_repeated_after_its_worker_died,
    failed_task_is_retried_by_its_policy,
    task_that_its_run_gives_up_is_withdrawn_or_told_so,
    worker_that_stops_finishes_its_tasks_or_gives_them_back,
    task_that_a_worker_cannot_read_waits_for_one_that_can,
    activity_queue_without_a_worker_is_shown,
    fan_out_uses_every_worker,
    no_more_tasks_run_at_a_time_than_there_are_slots,
    worker_that_stops_finishes_its_running_activity_for_the_next_owner_at_once,
    activities_can_follow_to_the_same_worker_and_are_lost_with_it,
];

activity!(Render, "render", String => String);

workflow!(Film, "film", |ctx: Context, scene: String| -> WorkflowResult<String> {
    ctx.activity::<Render>(scene).queue("gpu").await
});

workflow!(FilmOnce, "film-once", |ctx: Context, scene: String| -> WorkflowResult<String> {
    ctx.activity::<Render>(scene).queue("gpu").at_most_once().await
});

workflow!(Plain, "plain", |ctx: Context, scene: String| -> WorkflowResult<String> {
    ctx.activity::<Render>(scene).await
});

const GO: Signal<()> = Signal::new("go");

/// Notes what it renders.
fn render(journal: &Journal, by: &'static str) -> Render {
    Render(ActivityFn::with(journal.clone(), move |journal, _, scene: String| async move {
        journal.note(format!("{by} renders {scene}"));
        Ok(format!("{scene}, rendered"))
    }))
}

/// Notes what it renders, and never ends unless it is cancelled.
fn hang(journal: &Journal, by: &'static str) -> Render {
    Render(ActivityFn::with(journal.clone(), move |journal, ctx, scene: String| async move {
        journal.note(format!("{by} hangs on {scene}"));
        ctx.cancellation().cancelled().await;
        journal.note(format!("{by} was told to stop"));
        Err(ActivityError::new("stopped", "it was told to stop"))
    }))
}

async fn activity_of_an_activity_queue_is_executed_by_a_worker_that_serves_it(env: Env) {
    // Given the owner of the run, which has the activity and does not serve the queue, and a worker that does
    let journal = Journal::default();
    env.run(env.worker().workflow::<Film>().activity(render(&journal, "the owner")));
    let gpu = env
        .executor()
        .name("gpu")
        .activity(render(&journal, "gpu"))
        .activity_queue("gpu", 2)
        .build()
        .unwrap();
    let health = gpu.health();
    let gpu = pgworkflows_tests::RunningWorker::start(gpu);
    let run = env.client.start::<Film>("Earth".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "Earth, rendered");
    assert_eq!(journal.lines(), ["gpu renders Earth"]);
    assert_eq!(
        history_text(&run).await,
        [
            "run.started",
            "activity.scheduled render",
            "activity.enqueued",
            "activity.completed",
            "run.completed"
        ]
    );
    assert_eq!(health.check(), Health::Healthy);
    gpu.stop().await;
}

async fn run_that_waits_for_a_task_is_parked_and_survives_its_owner(env: Env) {
    let journal = Journal::default();
    let first = env.run(env.worker().workflow::<Film>());
    let run = env.client.start::<Film>("Earth".to_owned()).await.unwrap();
    let info = reached(&run, RunStatus::Waiting).await;
    let waiting_on = info.waiting_on.unwrap();
    assert_contains(&waiting_on, &["activity `render` (a task of activity queue `gpu`)", "tasks.rs"]);
    // When the owner is gone, the task is executed nevertheless
    first.stop().await;
    let gpu = env.run(env.executor().activity(render(&journal, "gpu")).activity_queue("gpu", 2));
    journal.has("gpu renders Earth", 1).await;
    gpu.stop().await;
    // And the next owner takes its outcome
    env.run(env.worker().workflow::<Film>());
    assert_eq!(run.result().await.unwrap(), "Earth, rendered");
    assert_eq!(journal.lines(), ["gpu renders Earth"]);
}

async fn activity_that_the_owner_does_not_know_is_executed_by_a_worker_that_does(env: Env) {
    let journal = Journal::default();
    env.run(env.worker().workflow::<Plain>());
    env.run(env.executor().activity(render(&journal, "another")));
    let run = env.client.start::<Plain>("Earth".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "Earth, rendered");
    assert_eq!(journal.lines(), ["another renders Earth"]);
}

async fn task_whose_worker_dies_is_executed_by_another(env: Env) {
    // Given a worker that dies during an attempt
    let journal = Journal::default();
    env.run(env.worker().workflow::<Film>());
    let hangs = hang(&journal, "the first");
    let first = env.run_killable_executor(|worker| worker.activity(hangs).activity_queue("gpu", 2)).await;
    let run = env.client.start::<Film>("Earth".to_owned()).await.unwrap();
    journal.has("the first hangs on Earth", 1).await;
    first.kill().await;
    // Then another one repeats the attempt when the lease is over, and the run notices nothing
    env.run(env.executor().activity(render(&journal, "the second")).activity_queue("gpu", 2));
    assert_eq!(run.result().await.unwrap(), "Earth, rendered");
    assert_eq!(journal.count("the second renders Earth"), 1);
    assert_eq!(count(&run, "activity.enqueued").await, 1);
}

async fn at_most_once_task_is_not_repeated_after_its_worker_died(env: Env) {
    let journal = Journal::default();
    env.run(env.worker().workflow::<FilmOnce>());
    let hangs = hang(&journal, "the first");
    let first = env.run_killable_executor(|worker| worker.activity(hangs).activity_queue("gpu", 2)).await;
    let run = env.client.start::<FilmOnce>("Earth".to_owned()).await.unwrap();
    journal.has("the first hangs on Earth", 1).await;
    first.kill().await;
    env.run(env.executor().activity(render(&journal, "the second")).activity_queue("gpu", 2));
    let error = run.result().await.unwrap_err();
    assert_contains(error, &["`render`, which may run only once, died or lost its lease"]);
    assert_eq!(journal.lines(), ["the first hangs on Earth"]);
}

async fn failed_task_is_retried_by_its_policy(env: Env) {
    workflow!(Stubborn, "stubborn", |ctx: Context, scene: String| -> WorkflowResult<String> {
        let retry = RetryPolicy::exponential().initial(Duration::from_millis(10)).max_attempts(3);
        ctx.activity::<Render>(scene).queue("gpu").retry(retry).await
    });

    let journal = Journal::default();
    env.run(env.worker().workflow::<Stubborn>());
    let render = Render(ActivityFn::with(journal.clone(), |journal, ctx, scene: String| async move {
        journal.note(format!("attempt {}", ctx.attempt()));
        if ctx.attempt() < 3 { Err(ActivityError::new("busy", "not yet")) } else { Ok(scene) }
    }));
    env.run(env.executor().activity(render).activity_queue("gpu", 1));
    let run = env.client.start::<Stubborn>("Earth".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "Earth");
    assert_eq!(journal.lines(), ["attempt 1", "attempt 2", "attempt 3"]);
    assert_eq!(count(&run, "activity.attempt-failed").await, 2);
    assert_eq!(count(&run, "activity.enqueued").await, 3);
}

async fn task_that_its_run_gives_up_is_withdrawn_or_told_so(env: Env) {
    // Given a task that a worker executes, and one that waits
    let journal = Journal::default();
    env.run(env.worker().workflow::<Film>());
    let running = env.client.start::<Film>("Earth".to_owned()).await.unwrap();
    let gpu = env.run(env.executor().activity(hang(&journal, "gpu")).activity_queue("gpu", 1));
    journal.has("gpu hangs on Earth", 1).await;
    let waiting = env.client.start::<Film>("Mars".to_owned()).await.unwrap();
    logged(&waiting, "activity.enqueued", 1).await;
    // When their runs are cancelled
    for run in [&waiting, &running] {
        run.cancel().await.unwrap();
        assert!(run.result().await.unwrap_err().is_run_cancelled());
    }
    // Then the worker is told so, the other task is never executed, and nothing is left
    journal.has("gpu was told to stop", 1).await;
    let none = async || env.client.activity_queues().await.unwrap().is_empty().then_some(());
    eventually("no task is left", none).await;
    assert_eq!(journal.lines(), ["gpu hangs on Earth", "gpu was told to stop"]);
    gpu.stop().await;
}

async fn worker_that_stops_finishes_its_tasks_or_gives_them_back(env: Env) {
    // Given a worker with a task that ends soon after it was told to stop, and one that does not
    let (journal, gate) = (Journal::default(), Gate::closed());
    env.run(env.worker().workflow::<Film>());
    let state = (journal.clone(), gate.clone());
    let render_slowly = Render(ActivityFn::with(state, |(journal, gate), ctx, scene: String| async move {
        journal.note(format!("the first begins {scene}"));
        match &*scene {
            "Earth" => gate.pass().await,
            _ => ctx.cancellation().cancelled().await,
        }
        Ok(scene)
    }));
    let first = env.executor().activity(render_slowly).activity_queue("gpu", 2);
    let first = env.run(first.shutdown_grace(Duration::from_millis(500)));
    let (soon, never) = ("Earth".to_owned(), "Mars".to_owned());
    let (soon, never) =
        (env.client.start::<Film>(soon).await.unwrap(), env.client.start::<Film>(never).await.unwrap());
    for scene in ["Earth", "Mars"] {
        journal.has(&format!("the first begins {scene}"), 1).await;
    }
    // When it stops
    let opens = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        gate.open();
    };
    tokio::join!(first.stop(), opens);
    // Then the outcome of one is recorded, and the other is executed elsewhere at once, although leases are long
    assert_eq!(soon.result().await.unwrap(), "Earth");
    env.run(env.executor().activity(render(&journal, "the second")).activity_queue("gpu", 2));
    assert_eq!(never.result().await.unwrap(), "Mars, rendered");
    assert_eq!(journal.count("the second renders Mars"), 1);
}

async fn task_that_a_worker_cannot_read_waits_for_one_that_can(env: Env) {
    activity!(RenderNumber, "render", u64 => String);

    // Given a worker whose activity expects another input
    let journal = Journal::default();
    env.run(env.worker().workflow::<Film>());
    let wrong = RenderNumber(ActivityFn::new(async |_, _| Ok(String::new())));
    let wrong = env.run(env.executor().activity(wrong).activity_queue("gpu", 1));
    let run = env.client.start::<Film>("Earth".to_owned()).await.unwrap();
    let problem = async || {
        let queues = env.client.activity_queues().await.unwrap();
        queues.into_iter().find_map(|queue| queue.problem)
    };
    let problem = eventually("the problem is shown", problem).await;
    assert_contains(problem, &["the input of activity `render`", "u64", "deploy code that can read it"]);
    wrong.stop().await;
    // Then its run is not stalled, and a worker that can read it executes it when the task has rested
    assert_eq!(run.status().await.unwrap(), RunStatus::Waiting);
    env.run(env.executor().activity(render(&journal, "the right one")).activity_queue("gpu", 1));
    assert_eq!(run.result().await.unwrap(), "Earth, rendered");
}

async fn activity_queue_without_a_worker_is_shown(env: Env) {
    let journal = Journal::default();
    env.run(env.worker().workflow::<Film>());
    // A worker that serves the queue and has another activity does not count.
    activity!(Other, "other", () => ());
    env.run(env.executor().activity(Other(ActivityFn::new(async |_, ()| Ok(())))).activity_queue("gpu", 1));
    let run = env.client.start::<Film>("Earth".to_owned()).await.unwrap();
    let (described, began) =
        (run.describe().await.unwrap(), async || env.client.activity_queues().await.unwrap().pop());
    let shown = eventually("the task is enqueued", began).await;
    assert_eq!((&*shown.queue, &*shown.activity), ("gpu", "render"));
    assert_eq!((shown.waiting, shown.running, shown.workers, shown.problem), (1, 0, 0, None));
    assert!(shown.waiting_since.unwrap() >= described.created_at);
    // When a worker comes, then it is shown, too
    env.run(env.executor().activity(hang(&journal, "gpu")).activity_queue("gpu", 1));
    let served = async || {
        let shown = env.client.activity_queues().await.unwrap().pop()?;
        (shown.running == 1).then_some(shown)
    };
    let shown = eventually("the task is executed", served).await;
    assert_eq!((shown.waiting, shown.workers, shown.waiting_since), (0, 1, None));
}

async fn fan_out_uses_every_worker(env: Env) {
    const COUNT: usize = 400;

    workflow!(FanOut, "fan-out", |ctx: Context, count: usize| -> WorkflowResult<usize> {
        let scenes =
            ctx.when_all((0..count).map(|number| ctx.activity::<Render>(number.to_string()))).await?;
        Ok(scenes.len())
    });

    // Given the owner of a run and another worker, each with few slots
    let journal = Journal::default();
    let slow = |by: &'static str| {
        Render(ActivityFn::with(journal.clone(), move |journal, _, scene: String| async move {
            journal.note(by);
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(scene)
        }))
    };
    env.run(env.worker().workflow::<FanOut>().activity(slow("the owner")).activities_max(4));
    env.run(env.executor().activity(slow("another")).activities_max(4));
    let run = env.client.start::<FanOut>(COUNT).await.unwrap();
    assert_eq!(run.result().await.unwrap(), COUNT);
    // Then each did a good part of the work, and nothing was done twice
    let (owner, another) = (journal.count("the owner"), journal.count("another"));
    assert_eq!(owner + another, COUNT);
    assert!(owner > COUNT / 10 && another > COUNT / 10, "{owner} and {another}");
}

async fn no_more_tasks_run_at_a_time_than_there_are_slots(env: Env) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let state = (Arc::clone(&running), Arc::clone(&most));
    let counts = Render(ActivityFn::with(state, |(running, most), _, scene: String| async move {
        most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
        tokio::time::sleep(Duration::from_millis(3)).await;
        running.fetch_sub(1, SeqCst);
        Ok(scene)
    }));
    env.run(env.worker().workflow::<Film>());
    env.run(env.executor().activity(counts).activity_queue("gpu", 3));
    let mut runs = Vec::new();
    for number in 0..60 {
        runs.push(env.client.start::<Film>(number.to_string()).await.unwrap());
    }
    for run in runs {
        run.result().await.unwrap();
    }
    assert_eq!(most.load(SeqCst), 3);
}

async fn worker_that_stops_finishes_its_running_activity_for_the_next_owner_at_once(env: Env) {
    // Given a run whose activity is in progress, and a worker that could take over
    let (journal, gate) = (Journal::default(), Gate::closed());
    let held = gate.clone();
    let holds =
        Render(ActivityFn::with((journal.clone(), held), |(journal, gate), _, scene: String| async move {
            journal.note(format!("the first renders {scene}"));
            gate.pass().await;
            Ok(format!("{scene}, rendered"))
        }));
    let first = env.run(env.worker().workflow::<Plain>().activity(holds));
    let run = env.client.start::<Plain>("Earth".to_owned()).await.unwrap();
    journal.has("the first renders Earth", 1).await;

    // When the first one is told to stop
    let stopped = first.stop();
    let taken_over = async {
        // Then the run goes to the other one while the activity goes on
        env.run(env.worker().workflow::<Plain>().activity(render(&journal, "the second")));
        logged(&run, "activity.enqueued", 1).await;
        reached(&run, RunStatus::Waiting).await;
        gate.open();
        assert_eq!(run.result().await.unwrap(), "Earth, rendered");
    };
    futures::join!(stopped, taken_over);
    assert_eq!(journal.lines(), ["the first renders Earth"]);
}

async fn activities_can_follow_to_the_same_worker_and_are_lost_with_it(env: Env) {
    activity!(Download, "download", String => String);
    workflow!(Local, "local", |ctx: Context, scene: String| -> WorkflowResult<String> {
        let worker = ctx.activity::<Download>(scene.clone()).queue("gpu").await?;
        let first = ctx.activity::<Render>(scene.clone()).queue(worker.clone()).await?;
        ctx.wait_for(GO).await?;
        match ctx.activity::<Render>(scene).queue(worker).await {
            Err(lost) if lost.failure().is_some_and(|failure| failure.is("worker-lost")) => {
                Ok(format!("{first}, then lost"))
            }
            other => other,
        }
    });

    let journal = Journal::default();
    let download = || {
        Download(ActivityFn::new(
            |ctx: ActivityContext, _scene: String| async move { ctx.worker_queue().await },
        ))
    };
    // Given two workers of one activity queue
    env.run(env.worker().workflow::<Local>());
    let gpu =
        |by| env.executor().activity(render(&journal, by)).activity(download()).activity_queue("gpu", 1);
    let (one, other) = (env.run(gpu("one")), env.run(gpu("other")));

    // When runs send what follows to where their first activity was executed, then it is executed there
    let many = 6;
    let mut runs = Vec::new();
    for number in 0..many {
        runs.push(env.client.start::<Local>(format!("scene {number}")).await.unwrap());
    }
    for run in &runs {
        logged(run, "activity.completed", 2).await;
    }
    // And after these workers have ended, nobody else executes it
    one.stop().await;
    other.stop().await;
    env.run(gpu("a third"));
    for (number, run) in runs.iter().enumerate() {
        run.signal(GO, ()).await.unwrap();
        assert_eq!(run.result().await.unwrap(), format!("scene {number}, rendered, then lost"));
    }
    assert_eq!(journal.lines().len(), many);
    assert_eq!(journal.lines().iter().filter(|line| line.starts_with("a third")).count(), 0);
}
