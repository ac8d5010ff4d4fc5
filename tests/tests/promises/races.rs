//! Branches of one run: how they race, how many there are at a time, and what they share.

use pgworkflows::prelude::*;
use pgworkflows::select;
use pgworkflows_tests::{
    ActivityFn, Env, Gate, Journal, activity, assert_contains, count, history_text, logged, promises,
    stall_reason, workflow,
};

promises![
    first_arm_in_the_written_order_wins_and_the_others_are_cancelled,
    arm_of_a_loop_is_made_anew_and_a_borrowed_one_stays_even_after_a_crash,
    select_whose_arms_are_all_done_stalls_without_complete,
    select_in_random_order_stalls_with_the_macros_that_must_not_be_used,
    spawned_call_is_executed_while_the_code_waits_for_something_else,
    spawned_call_that_is_dropped_is_cancelled,
    for_each_keeps_to_its_limit,
    for_each_fails_with_the_first_failure_and_cancels_the_others,
    settled_branches_all_end_even_if_the_worker_crashes,
    cancelled_run_begins_no_further_branch,
    timeout_of_a_branch_and_of_for_each_cancels_what_is_open,
    mutex_is_held_over_a_crash,
    semaphore_bounds_what_branches_do_at_a_time,
    deadlock_stalls_and_names_all_lines,
    mutex_locked_twice_by_one_branch_stalls,
    step_with_an_input_is_repeated_with_a_clone,
];

activity!(Answer, "answer", u32 => u32);

const NUMBER: Signal<u32> = Signal::new("number");
const GO: Signal<()> = Signal::new("go");

/// Answers with the number. Numbers from 100 on wait at the gate first, and those from 1,000 on are refused.
fn answering(journal: &Journal, gate: &Gate) -> Answer {
    Answer(ActivityFn::with((journal.clone(), gate.clone()), |(journal, gate), _, number: u32| async move {
        journal.note(format!("begun {number}"));
        if (100..1_000).contains(&number) {
            gate.pass().await;
        }
        if number >= 1_000 {
            return Err(ActivityError::fatal("refused", number.to_string()));
        }
        Ok(number)
    }))
}

async fn first_arm_in_the_written_order_wins_and_the_others_are_cancelled(env: Env) {
    workflow!(Race, "race", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        // Both signals are there when the race begins.
        ctx.activity::<Answer>(100).await?;
        select! {
            number = ctx.wait_for(NUMBER) => Ok(format!("number {}", number?)),
            go = ctx.wait_for(GO) => go.map(|()| "go".to_owned()),
            answer = ctx.activity::<Answer>(101) => Ok(format!("answer {}", answer?)),
        }
    });

    let gate = Gate::closed();
    env.run(env.worker().workflow::<Race>().activity(answering(&Journal::default(), &gate)));
    let run = env.client.start::<Race>(()).await.unwrap();
    run.signal(GO, ()).await.unwrap();
    run.signal(NUMBER, 7).await.unwrap();
    logged(&run, "signal.received", 2).await;
    gate.open();
    assert_eq!(run.result().await.unwrap(), "number 7");
    // An arm after the first that is ready is not polled, so its activity is not scheduled.
    assert_eq!(count(&run, "activity.scheduled").await, 1);
}

async fn arm_of_a_loop_is_made_anew_and_a_borrowed_one_stays_even_after_a_crash(env: Env) {
    workflow!(Collect, "collect", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
        let mut closing = ctx.branch(async {
            ctx.activity::<Answer>(100).await?;
            ctx.wait_for(GO).await
        });
        let mut sum = 0;
        loop {
            select! {
                number = ctx.wait_for(NUMBER) => sum += number?,
                slept = ctx.sleep(Duration::from_secs(3600)) => slept?,
                closed = &mut closing => return closed.map(|()| sum),
            }
        }
    });

    // Given a run that took a signal, and a worker that is killed then
    let (journal, gate) = (Journal::default(), Gate::closed());
    let answer = answering(&journal, &gate);
    let worker = env.run_killable(|worker| worker.workflow::<Collect>().activity(answer)).await;
    let run = env.client.start::<Collect>(()).await.unwrap();
    run.signal(NUMBER, 2).await.unwrap();
    logged(&run, "timer.started", 2).await;
    worker.kill().await;

    // When another worker takes over
    gate.open();
    env.run(env.worker().workflow::<Collect>().activity(answering(&journal, &gate)));
    run.signal(NUMBER, 3).await.unwrap();
    run.signal(GO, ()).await.unwrap();

    // Then each round has its own timer, and all rounds have one branch
    assert_eq!(run.result().await.unwrap(), 5);
    assert_eq!(count(&run, "activity.scheduled").await, 1);
    assert_eq!(count(&run, "timer.started").await, count(&run, "timer.cancelled").await);
}

async fn select_whose_arms_are_all_done_stalls_without_complete(env: Env) {
    workflow!(Done, "done", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let mut answer = ctx.activity::<Answer>(1);
        loop {
            select! { answer = &mut answer => _ = answer? }
        }
    });

    env.run(env.worker().workflow::<Done>().activity(answering(&Journal::default(), &Gate::opened())));
    let run = env.client.start::<Done>(()).await.unwrap();
    assert_contains(stall_reason(&run).await, &["all arms of `select!` at", "races.rs", "complete =>"]);
}

async fn select_in_random_order_stalls_with_the_macros_that_must_not_be_used(env: Env) {
    workflow!(Chance, "chance", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        for _ in 0..32 {
            // Whether the activity or the timer is the first call is decided by chance.
            tokio::select! {
                answer = ctx.activity::<Answer>(1) => { answer?; }
                slept = ctx.sleep(Duration::from_secs(3600)) => slept?,
            }
        }
        ctx.wait_for(GO).await
    });

    // Given a run that went one of many ways
    let answer = || answering(&Journal::default(), &Gate::opened());
    let worker = env.run(env.worker().workflow::<Chance>().activity(answer()));
    let run = env.client.start::<Chance>(()).await.unwrap();
    logged(&run, "activity.completed", 32).await;
    worker.stop().await;

    // When the same code replays it
    env.run(env.worker().workflow::<Chance>().activity(answer()));
    run.signal(GO, ()).await.unwrap();

    // Then it goes another way, and the diagnosis says why
    let parts = ["cannot be replayed", "`pgworkflows::select!`", "`tokio::select!`", "`futures::select!`"];
    assert_contains(stall_reason(&run).await, &parts);
}

async fn spawned_call_is_executed_while_the_code_waits_for_something_else(env: Env) {
    workflow!(Spawned, "spawned", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
        let answer = ctx.spawn(ctx.activity::<Answer>(7));
        ctx.wait_for(GO).await?;
        answer.await
    });

    let journal = Journal::default();
    env.run(env.worker().workflow::<Spawned>().activity(answering(&journal, &Gate::opened())));
    let run = env.client.start::<Spawned>(()).await.unwrap();
    journal.has("begun 7", 1).await;
    logged(&run, "activity.completed", 1).await;
    run.signal(GO, ()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 7);
}

async fn spawned_call_that_is_dropped_is_cancelled(env: Env) {
    workflow!(Dropped, "dropped", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let answer = ctx.spawn(ctx.activity::<Answer>(100));
        ctx.wait_for(GO).await?;
        drop(answer);
        Ok(())
    });

    env.run(env.worker().workflow::<Dropped>().activity(answering(&Journal::default(), &Gate::closed())));
    let run = env.client.start::<Dropped>(()).await.unwrap();
    run.signal(GO, ()).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(
        history_text(&run).await,
        [
            "run.started",
            "activity.scheduled answer",
            "signal.received go",
            "activity.cancelled",
            "run.completed"
        ]
    );
}

workflow!(Each, "each", |ctx: Context, input: (Vec<u32>, usize)| -> WorkflowResult<Vec<u32>> {
    let (numbers, limit) = input;
    ctx.for_each(numbers, |number| ctx.activity::<Answer>(number)).limit(limit).await
});

workflow!(Settle, "settle", |ctx: Context, numbers: Vec<u32>| -> WorkflowResult<Vec<Option<u32>>> {
    let results = ctx.for_each(numbers, |number| ctx.activity::<Answer>(number)).limit(3).settle().await?;
    Ok(results.into_iter().map(Result::ok).collect())
});

async fn for_each_keeps_to_its_limit(env: Env) {
    let (journal, gate) = (Journal::default(), Gate::closed());
    env.run(env.worker().workflow::<Each>().activity(answering(&journal, &gate)));
    let numbers: Vec<u32> = (100..120).collect();
    let run = env.client.start::<Each>((numbers.clone(), 4)).await.unwrap();
    for number in 100..104 {
        journal.has(&format!("begun {number}"), 1).await;
    }
    assert_eq!(count(&run, "activity.scheduled").await, 4);
    gate.open();
    assert_eq!(run.result().await.unwrap(), numbers);
    // No more than four were open at any time.
    let mut open = 0;
    for event in history_text(&run).await {
        open += i32::from(event.starts_with("activity.scheduled")) - i32::from(event == "activity.completed");
        assert!((0..=4).contains(&open), "{open} activities are open");
    }
}

async fn for_each_fails_with_the_first_failure_and_cancels_the_others(env: Env) {
    env.run(env.worker().workflow::<Each>().activity(answering(&Journal::default(), &Gate::closed())));
    let run = env.client.start::<Each>((vec![100, 1_000, 101, 102], 3)).await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(error.is_run_failed() && error.failure().unwrap().is("refused"), "{error}");
    // The branch that the end of the failed one would have made room for does not begin.
    assert_eq!(count(&run, "activity.scheduled").await, 3);
    assert_eq!(count(&run, "activity.cancelled").await, 2);
}

async fn settled_branches_all_end_even_if_the_worker_crashes(env: Env) {
    // Given a worker that is killed while some branches are done, some are open, and others have not begun
    let (journal, gate) = (Journal::default(), Gate::closed());
    let answer = answering(&journal, &gate);
    let worker = env.run_killable(|worker| worker.workflow::<Settle>().activity(answer)).await;
    let numbers = vec![1, 1_000, 100, 101, 2, 1_001, 102, 3];
    let run = env.client.start::<Settle>(numbers).await.unwrap();
    logged(&run, "activity.scheduled", 7).await;
    logged(&run, "activity.failed", 2).await;
    worker.kill().await;

    // When another worker takes over
    gate.open();
    env.run(env.worker().workflow::<Settle>().activity(answering(&journal, &gate)));

    // Then all results are there, in the order of the items
    let results = run.result().await.unwrap();
    assert_eq!(results, [Some(1), None, Some(100), Some(101), Some(2), None, Some(102), Some(3)]);
}

async fn cancelled_run_begins_no_further_branch(env: Env) {
    let journal = Journal::default();
    env.run(env.worker().workflow::<Settle>().activity(answering(&journal, &Gate::closed())));
    let run = env.client.start::<Settle>(vec![100, 101, 102, 103, 104]).await.unwrap();
    logged(&run, "activity.scheduled", 3).await;
    run.cancel().await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_cancelled());
    assert_eq!(count(&run, "activity.scheduled").await, 3);
    assert_eq!(count(&run, "activity.cancelled").await, 3);
}

async fn timeout_of_a_branch_and_of_for_each_cancels_what_is_open(env: Env) {
    workflow!(Late, "late", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        let limit = Duration::from_millis(50);
        let branch = ctx.branch(async { ctx.activity::<Answer>(100).await });
        let branch = branch.timeout(limit).await.unwrap_err();
        let each = ctx.for_each([101, 102], |number| ctx.activity::<Answer>(number)).limit(1);
        let each = each.settle().timeout(limit).await.unwrap_err();
        let mutex = ctx.mutex("accounts", ());
        let _guard = mutex.lock().await?;
        let lock = mutex.lock().timeout(limit).await.unwrap_err();
        assert!(branch.is_timeout() && each.is_timeout());
        Ok(lock.to_string())
    });

    env.run(env.worker().workflow::<Late>().activity(answering(&Journal::default(), &Gate::closed())));
    let run = env.client.start::<Late>(()).await.unwrap();
    assert_eq!(
        run.result().await.unwrap(),
        "the wait for mutex `accounts` did not complete within 50ms (timed-out)"
    );
    assert_eq!(count(&run, "activity.scheduled").await, 2);
    assert_eq!(count(&run, "activity.cancelled").await, 2);
}

async fn mutex_is_held_over_a_crash(env: Env) {
    workflow!(Locked, "locked", |ctx: Context, _input: ()| -> WorkflowResult<Vec<u32>> {
        let order = ctx.mutex("order", Vec::new());
        let branch = async |number: u32| {
            let mut order = order.lock().await?;
            let answer = ctx.activity::<Answer>(number).await?;
            order.push(answer);
            WorkflowResult::Ok(())
        };
        ctx.when_all((branch(100), branch(2), branch(3))).await?;
        Ok(order.into_inner())
    });

    let (journal, gate) = (Journal::default(), Gate::closed());
    let answer = answering(&journal, &gate);
    let worker = env.run_killable(|worker| worker.workflow::<Locked>().activity(answer)).await;
    let run = env.client.start::<Locked>(()).await.unwrap();
    journal.has("begun 100", 1).await;
    worker.kill().await;
    gate.open();
    env.run(env.worker().workflow::<Locked>().activity(answering(&journal, &gate)));
    assert_eq!(run.result().await.unwrap(), [100, 2, 3]);
    // The activities followed one another.
    let done = ["activity.scheduled answer", "activity.completed"];
    let all = history_text(&run).await;
    let calls: Vec<&str> = all.iter().map(String::as_str).filter(|event| done.contains(event)).collect();
    assert_eq!(calls, [done, done, done].concat());
}

async fn semaphore_bounds_what_branches_do_at_a_time(env: Env) {
    workflow!(Shared, "shared", |ctx: Context, _input: ()| -> WorkflowResult<u32> {
        let permits = ctx.semaphore("gpus", 2);
        let branch = async |number: u32| {
            let _permit = permits.acquire().await?;
            ctx.activity::<Answer>(number).await
        };
        Ok(ctx.when_all((0..6).map(branch)).await?.into_iter().sum())
    });

    env.run(env.worker().workflow::<Shared>().activity(answering(&Journal::default(), &Gate::opened())));
    let run = env.client.start::<Shared>(()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 15);
    let mut open = 0;
    for event in history_text(&run).await {
        open += i32::from(event.starts_with("activity.scheduled")) - i32::from(event == "activity.completed");
        assert!((0..=2).contains(&open), "{open} activities are open");
    }
}

async fn deadlock_stalls_and_names_all_lines(env: Env) {
    workflow!(Deadlock, "deadlock", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let (one, two) = (ctx.mutex("one", ()), ctx.mutex("two", ()));
        let there = async {
            let _one = one.lock().await?;
            ctx.activity::<Answer>(1).await?;
            two.lock().await.map(drop)
        };
        let back = async {
            let _two = two.lock().await?;
            ctx.activity::<Answer>(2).await?;
            one.lock().await.map(drop)
        };
        ctx.when_all((there, back)).await?;
        Ok(())
    });

    env.run(env.worker().workflow::<Deadlock>().activity(answering(&Journal::default(), &Gate::opened())));
    let run = env.client.start::<Deadlock>(()).await.unwrap();
    let reason = stall_reason(&run).await;
    assert_contains(
        &reason,
        &["`deadlock` is deadlocked", "mutex `one`", "mutex `two`", "races.rs", "same order"],
    );
    assert_eq!(reason.matches("races.rs:").count(), 4, "{reason}");
}

async fn mutex_locked_twice_by_one_branch_stalls(env: Env) {
    workflow!(Twice, "twice", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let accounts = ctx.mutex("accounts", 1);
        let _first = accounts.lock().await?;
        ctx.activity::<Answer>(1).await?;
        accounts.lock().await.map(drop)
    });

    env.run(env.worker().workflow::<Twice>().activity(answering(&Journal::default(), &Gate::opened())));
    let run = env.client.start::<Twice>(()).await.unwrap();
    let reason = stall_reason(&run).await;
    assert_contains(&reason, &["mutex `accounts`", "for ever", "twice", "drop(guard)"]);
    assert_eq!(reason.matches("races.rs:").count(), 2, "{reason}");
}

async fn step_with_an_input_is_repeated_with_a_clone(env: Env) {
    workflow!(Stepped, "stepped", |ctx: Context, name: String| -> WorkflowResult<String> {
        let mut attempt = 0;
        ctx.step_with("greet", name, move |name| {
            attempt += 1;
            async move {
                match attempt {
                    1 => Err(ActivityError::new("busy", name)),
                    _ => Ok(format!("Hello, {name}!")),
                }
            }
        })
        .retry(RetryPolicy::exponential().initial(Duration::from_millis(5)))
        .await
    });

    env.run(env.worker().workflow::<Stepped>());
    let run = env.client.start::<Stepped>("Ada".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
}
