//! The words for every reason.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::situation::{Call, Log, Service, Tasks};

const RUN: &str = "019b7a00-0000-7007-8000-000000000001";
const CHILD: &str = "019b7a00-0000-7007-8000-000000000002";

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-01-31T{text}Z").parse().unwrap()
}

fn wait(value: Value) -> Wait {
    serde_json::from_value(value).unwrap()
}

/// A run that a live worker owns, and of which nothing is known but this.
fn situation(status: RunStatus, waits: Vec<Value>) -> Situation {
    Situation {
        now: at("12:00:00"),
        run: RUN.parse().unwrap(),
        workflow: "order".to_owned(),
        key: None,
        parent: None,
        status,
        created_at: at("10:00:00"),
        closed_at: None,
        outcome: None,
        words: None,
        waits: waits.into_iter().map(wait).collect(),
        wake_at: None,
        service: Service {
            queue: Some("default".to_owned()),
            workers: 2,
            knowing: 1,
            owner: Some("host-1".to_owned()),
        },
        tasks: Vec::new(),
        log: Log {
            last: Some((at("11:57:00"), "activity.scheduled `charge` (call 2)".to_owned())),
            open: vec![
                (Call::Activity("charge".to_owned()), at("11:30:00")),
                (Call::Timer(at("13:00:00")), at("11:00:00")),
                (Call::Child(CHILD.parse().unwrap()), at("11:59:30")),
            ],
            starts_at: None,
        },
    }
}

/// The reasons alone.
fn reasons(situation: &Situation, expected: Expect) {
    let text = explain(situation).to_string();
    let reasons = text.split("\n\n").filter(|part| part.starts_with('*')).collect::<Vec<_>>();
    expected.assert_eq(&reasons.join("\n\n"));
}

fn waits_for(wait: Value, expected: Expect) {
    reasons(&situation(RunStatus::Waiting, vec![wait]), expected);
}

#[test]
fn explanation_has_a_summary_reasons_what_happened_last_and_the_parent() {
    let waits = vec![
        json!({"kind": "signal", "name": "approve", "source": "src/order.rs:20:14"}),
        json!({"kind": "timer", "until": "2026-01-31T13:00:00Z", "source": "src/order.rs:21:14"}),
    ];
    let key = Some("o-1".to_owned());
    let situation = Situation { key, parent: CHILD.parse().ok(), ..situation(RunStatus::Waiting, waits) };
    expect![[r#"
        Run 019b7a00-0000-7007-8000-000000000001 of workflow `order` (key `o-1`) waits for 2 things.

        * it waits for signal `approve`
            since          2026-01-31 11:57:00Z (3 min ago)
            in the code    src/order.rs:20:14
            what wakes it  whoever sends it: `pgworkflows runs signal 019b7a00-0000-7007-8000-000000000001 approve '<json>'`

        * its timer ends at 2026-01-31 13:00:00Z (in 1 h)
            since          2026-01-31 11:00:00Z (1 h ago)
            in the code    src/order.rs:21:14
            what wakes it  the time

        Last event: activity.scheduled `charge` (call 2), 2026-01-31 11:57:00Z (3 min ago).
        It is a child of run 019b7a00-0000-7007-8000-000000000002: `pgworkflows runs why 019b7a00-0000-7007-8000-000000000002`.
    "#]].assert_eq(&explain(&situation).to_string());
    expect![[r#"
        {
          "run_id": "019b7a00-0000-7007-8000-000000000001",
          "workflow": "order",
          "key": "o-1",
          "status": "waiting",
          "summary": "Run 019b7a00-0000-7007-8000-000000000001 of workflow `order` (key `o-1`) waits for 2 things.",
          "reasons": [
            {
              "kind": "signal",
              "what": "it waits for signal `approve`",
              "since": "2026-01-31T11:57:00Z",
              "source": "src/order.rs:20:14",
              "wakes": "whoever sends it: `pgworkflows runs signal 019b7a00-0000-7007-8000-000000000001 approve '<json>'`"
            },
            {
              "kind": "timer",
              "what": "its timer ends at 2026-01-31 13:00:00Z (in 1 h)",
              "since": "2026-01-31T11:00:00Z",
              "source": "src/order.rs:21:14",
              "again_at": "2026-01-31T13:00:00Z",
              "wakes": "the time"
            }
          ],
          "last_event": {
            "at": "2026-01-31T11:57:00Z",
            "what": "activity.scheduled `charge` (call 2)"
          },
          "notes": [
            "It is a child of run 019b7a00-0000-7007-8000-000000000002: `pgworkflows runs why 019b7a00-0000-7007-8000-000000000002`."
          ]
        }"#]].assert_eq(&serde_json::to_string_pretty(&explain(&situation)).unwrap());
}

#[test]
fn signal_is_sent_by_anybody() {
    waits_for(
        json!({"kind": "signal", "name": "approve"}),
        expect![[r#"
        * it waits for signal `approve`
            since          2026-01-31 11:57:00Z (3 min ago)
            what wakes it  whoever sends it: `pgworkflows runs signal 019b7a00-0000-7007-8000-000000000001 approve '<json>'`"#]],
    );
}

#[test]
fn update_comes_from_a_client() {
    waits_for(
        json!({"kind": "update", "name": "price"}),
        expect![[r#"
        * it waits for update `price`
            since          2026-01-31 11:57:00Z (3 min ago)
            what wakes it  a client that sends the update, which gets an answer"#]],
    );
}

#[test]
fn condition_follows_from_the_runs_own_state() {
    waits_for(
        json!({"kind": "condition", "source": "src/order.rs:7:1"}),
        expect![[r#"
        * it waits until its own state fulfils a condition
            since          2026-01-31 11:57:00Z (3 min ago)
            in the code    src/order.rs:7:1
            what wakes it  whatever changes that state: a handler of a signal or an update, or another part of its code"#]],
    );
}

#[test]
fn timer_ends_by_itself() {
    waits_for(
        json!({"kind": "timer", "until": "2026-01-31T13:00:00Z"}),
        expect![[r#"
        * its timer ends at 2026-01-31 13:00:00Z (in 1 h)
            since          2026-01-31 11:00:00Z (1 h ago)
            what wakes it  the time"#]],
    );
}

#[test]
fn timer_that_is_late_points_at_the_workers() {
    waits_for(
        json!({"kind": "timer", "until": "2026-01-31T11:58:00Z"}),
        expect![[r#"
        * its timer until 2026-01-31 11:58:00Z is late: it was due 2 min ago
            what wakes it  a live worker that owns its shard: see `pgworkflows queues`"#]],
    );
}

#[test]
fn activity_under_way_names_its_worker_and_what_failed_before() {
    let wait =
        json!({"kind": "activity", "name": "charge", "attempt": 2, "last_failure": "the bank is down (io)"});
    waits_for(
        wait,
        expect![[r#"
        * attempt 2 of activity `charge` is under way in worker `host-1`
            since          2026-01-31 11:30:00Z (30 min ago)
            failed last    the bank is down (io)
            what wakes it  its outcome, or its timeout; if it takes too long, look at the log of the worker"#]],
    );
}

#[test]
fn activity_in_back_off_says_when_and_how_to_hurry() {
    let wait = json!({"kind": "activity", "name": "charge", "attempt": 3, "last_failure": "the bank is down (io)",
                      "again_at": "2026-01-31T12:00:40Z", "source": "src/order.rs:12:10"});
    waits_for(
        wait,
        expect![[r#"
        * attempt 3 of activity `charge` begins at 2026-01-31 12:00:40Z (in 40 s)
            since          2026-01-31 11:30:00Z (30 min ago)
            in the code    src/order.rs:12:10
            failed last    the bank is down (io)
            what wakes it  the time; at once: `pgworkflows runs retry 019b7a00-0000-7007-8000-000000000001`"#]],
    );
}

#[test]
fn compensation_is_called_one() {
    let wait = json!({"kind": "activity", "name": "refund", "attempt": 1, "compensation": true});
    waits_for(
        wait,
        expect![[r#"
        * attempt 1 of compensation `refund` is under way in worker `host-1`
            what wakes it  its outcome, or its timeout; if it takes too long, look at the log of the worker"#]],
    );
}

fn with_tasks(tasks: Tasks) -> Situation {
    let wait = json!({"kind": "activity", "name": "charge", "attempt": 1, "queue": "gpu"});
    Situation { tasks: vec![tasks], ..situation(RunStatus::Waiting, vec![wait]) }
}

fn tasks(waiting: u64, running: u64, workers: u32, problem: Option<&str>) -> Tasks {
    Tasks {
        queue: "gpu".to_owned(),
        activity: "charge".to_owned(),
        waiting,
        running,
        workers,
        problem: problem.map(str::to_owned),
    }
}

#[test]
fn task_says_how_many_wait_with_it() {
    reasons(
        &with_tasks(tasks(3, 2, 2, None)),
        expect![[r#"
        * attempt 1 of activity `charge` is a task of activity queue `gpu`, executed by 2 workers: 2 under way, 3 waiting
            since          2026-01-31 11:30:00Z (30 min ago)
            what wakes it  its outcome; if many wait, more workers of the activity queue"#]],
    );
}

#[test]
fn task_that_no_worker_serves_asks_for_one() {
    reasons(
        &with_tasks(tasks(3, 0, 0, None)),
        expect![[r#"
        * attempt 1 of activity `charge` is one of 3 tasks that wait in activity queue `gpu`, which no live worker serves
            since          2026-01-31 11:30:00Z (30 min ago)
            what wakes it  a worker that serves the activity queue and knows the activity"#]],
    );
}

#[test]
fn task_that_a_worker_could_not_begin_says_why() {
    reasons(
        &with_tasks(tasks(1, 0, 1, Some("the input has no field `card`"))),
        expect![[r#"
        * attempt 1 of activity `charge` is a task of activity queue `gpu`, which a worker could not begin: the input has no field `card`
            since          2026-01-31 11:30:00Z (30 min ago)
            what wakes it  a worker whose code can; each tries again after half a minute"#]],
    );
}

#[test]
fn task_that_is_gone_says_so() {
    let elsewhere = Tasks { queue: "cpu".to_owned(), ..tasks(1, 0, 1, None) };
    reasons(
        &with_tasks(elsewhere),
        expect![[r#"
        * attempt 1 of activity `charge` is a task of activity queue `gpu`, which was just taken or ended
            since          2026-01-31 11:30:00Z (30 min ago)
            what wakes it  its outcome"#]],
    );
}

#[test]
fn step_is_executed_by_the_worker() {
    waits_for(
        json!({"kind": "step", "name": "read", "source": "src/order.rs:7:1"}),
        expect![[r#"
        * its worker executes step `read`
            since          2026-01-31 11:57:00Z (3 min ago)
            in the code    src/order.rs:7:1
            what wakes it  the end of the step; if it takes too long, look at the log of the worker"#]],
    );
}

#[test]
fn permit_is_held_by_another_branch() {
    waits_for(
        json!({"kind": "permit", "of": "mutex", "name": "stock"}),
        expect![[r#"
        * it waits for mutex `stock`
            since          2026-01-31 11:57:00Z (3 min ago)
            what wakes it  another branch of its code that gives it back: what that one waits for is in this list, too"#]],
    );
}

#[test]
fn child_leads_to_another_why() {
    waits_for(
        json!({"kind": "child", "workflow": "parcel", "run": CHILD}),
        expect![[r#"
        * it waits for the end of its child 019b7a00-0000-7007-8000-000000000002 of workflow `parcel`
            since          2026-01-31 11:59:30Z (30 s ago)
            what wakes it  that run; what it waits for: `pgworkflows runs why 019b7a00-0000-7007-8000-000000000002`"#]],
    );
}

#[test]
fn child_that_is_still_to_be_started_says_so() {
    waits_for(
        json!({"kind": "child", "workflow": "parcel", "run": CHILD, "starting": true}),
        expect![[r#"
        * its child 019b7a00-0000-7007-8000-000000000002 of workflow `parcel`, which has a key, is still to be started
            since          2026-01-31 11:59:30Z (30 s ago)
            what wakes it  the store: another open start may hold the key for a moment"#]],
    );
}

#[test]
fn wait_of_a_newer_build_is_shown_in_the_words_of_the_row() {
    let words = Some("the moon at src/order.rs:9:1".to_owned());
    reasons(
        &Situation { words, ..situation(RunStatus::Waiting, vec![json!({"kind": "moon"})]) },
        expect![[r#"
        * it waits for the moon at src/order.rs:9:1
            since          2026-01-31 11:57:00Z (3 min ago)
            what wakes it  a newer version of this program knows"#]],
    );
}

#[test]
fn pause_comes_first_and_what_follows_it_is_explained() {
    let waits = vec![
        json!({"kind": "resume", "reason": "the bank is being moved"}),
        json!({"kind": "signal", "name": "approve"}),
    ];
    expect![[r#"
        Run 019b7a00-0000-7007-8000-000000000001 of workflow `order` is paused.

        * a client paused it: the bank is being moved
            since          2026-01-31 11:57:00Z (3 min ago)
            what wakes it  `pgworkflows runs resume 019b7a00-0000-7007-8000-000000000001`

        * it waits for signal `approve`
            since          2026-01-31 11:57:00Z (3 min ago)
            what wakes it  whoever sends it: `pgworkflows runs signal 019b7a00-0000-7007-8000-000000000001 approve '<json>'`

        Last event: activity.scheduled `charge` (call 2), 2026-01-31 11:57:00Z (3 min ago).
        What follows the pause is what it waited for when it was paused.
    "#]].assert_eq(&explain(&situation(RunStatus::Paused, waits)).to_string());
}

#[test]
fn stall_has_its_diagnosis_and_what_to_do() {
    let words = Some("stalled: event 3 is timer.started, but the code called activity `charge`".to_owned());
    expect![[r#"
        Run 019b7a00-0000-7007-8000-000000000001 of workflow `order` is stalled: its code cannot go on.

        * event 3 is timer.started, but the code called activity `charge`
            since          2026-01-31 11:57:00Z (3 min ago)
            what wakes it  a worker whose code follows the history, by itself; with the same code, one more try: `pgworkflows runs resume 019b7a00-0000-7007-8000-000000000001`. What was recorded: `pgworkflows runs history 019b7a00-0000-7007-8000-000000000001`

        Last event: activity.scheduled `charge` (call 2), 2026-01-31 11:57:00Z (3 min ago).
    "#]].assert_eq(&explain(&Situation { words, ..situation(RunStatus::Stalled, vec![]) }).to_string());
}

#[test]
fn run_that_works_says_where() {
    expect![[r#"
        Run 019b7a00-0000-7007-8000-000000000001 of workflow `order` works.

        * its owner, worker `host-1`, executes its code or a step of it; nothing of it has failed
            since          2026-01-31 11:57:00Z (3 min ago)
            what wakes it  the end of that work; if it takes too long, look at the log of the worker

        Last event: activity.scheduled `charge` (call 2), 2026-01-31 11:57:00Z (3 min ago).
    "#]]
    .assert_eq(&explain(&situation(RunStatus::Running, vec![])).to_string());
}

#[test]
fn delayed_start_says_until_when() {
    let mut delayed = situation(RunStatus::Waiting, vec![]);
    delayed.log.starts_at = Some(at("18:00:00"));
    reasons(
        &delayed,
        expect![[r#"
        * its start was delayed until 2026-01-31 18:00:00Z (in 6 h)
            since          2026-01-31 10:00:00Z (2 h ago)
            what wakes it  the time"#]],
    );
}

#[test]
fn row_with_a_deadline_alone_says_when() {
    let wake_at = Some(at("12:05:00"));
    reasons(
        &Situation { wake_at, ..situation(RunStatus::Waiting, vec![]) },
        expect![[r#"
        * a deadline at 2026-01-31 12:05:00Z (in 5 min)
            since          2026-01-31 11:57:00Z (3 min ago)
            what wakes it  the time"#]],
    );
}

#[test]
fn row_with_words_alone_is_shown_as_it_is() {
    let words = Some("something old".to_owned());
    reasons(
        &Situation { words, ..situation(RunStatus::Waiting, vec![]) },
        expect![[r#"
        * something old
            since          2026-01-31 11:57:00Z (3 min ago)"#]],
    );
}

fn pending(service: Service, words: Option<&str>, created_at: &str) -> Situation {
    let words = words.map(str::to_owned);
    let created_at = at(created_at);
    Situation { service, words, created_at, log: Log::default(), ..situation(RunStatus::Pending, vec![]) }
}

#[test]
fn run_of_a_queue_without_a_worker_asks_for_one() {
    let service = Service { queue: Some("slow".to_owned()), ..Service::default() };
    expect![[r#"
        Run 019b7a00-0000-7007-8000-000000000001 of workflow `order` has not begun.

        * no live worker serves queue `slow`, so nothing of it happens
            since          2026-01-31 11:59:00Z (1 min ago)
            what wakes it  a worker of queue `slow` that knows workflow `order`
    "#]]
    .assert_eq(&explain(&pending(service.clone(), None, "11:59:00")).to_string());
    // One that had begun says the same, and what it waits for.
    let wait = json!({"kind": "signal", "name": "approve"});
    reasons(
        &Situation { service, ..situation(RunStatus::Waiting, vec![wait]) },
        expect![[r#"
        * no live worker serves queue `slow`, so nothing of it happens
            what wakes it  a worker of queue `slow` that knows workflow `order`

        * it waits for signal `approve`
            since          2026-01-31 11:57:00Z (3 min ago)
            what wakes it  whoever sends it: `pgworkflows runs signal 019b7a00-0000-7007-8000-000000000001 approve '<json>'`"#]],
    );
}

#[test]
fn run_of_an_unknown_queue_says_which_shard_it_has() {
    let wait = json!({"kind": "signal", "name": "approve"});
    let unknown = Situation { service: Service::default(), ..situation(RunStatus::Waiting, vec![wait]) };
    expect![[r#"
        Run 019b7a00-0000-7007-8000-000000000001 of workflow `order` has no worker that could continue it.

        * its shard, 7, belongs to no queue of this store, so no worker can own it
            what wakes it  a queue with that shard: somebody deleted it from the table `queues`

        * it waits for signal `approve`
            since          2026-01-31 11:57:00Z (3 min ago)
            what wakes it  whoever sends it: `pgworkflows runs signal 019b7a00-0000-7007-8000-000000000001 approve '<json>'`

        Last event: activity.scheduled `charge` (call 2), 2026-01-31 11:57:00Z (3 min ago).
    "#]].assert_eq(&explain(&unknown).to_string());
}

#[test]
fn run_whose_workflow_no_live_worker_knows_asks_for_one_that_does() {
    let service = Service { knowing: 0, ..situation(RunStatus::Pending, vec![]).service };
    expect![[r#"
        Run 019b7a00-0000-7007-8000-000000000001 of workflow `order` has not begun.

        * queue `default` has 2 live workers, and none knows workflow `order`
            since          2026-01-31 11:59:00Z (1 min ago)
            what wakes it  a worker that registers the workflow: a deploy may have lost it, or its name was changed
    "#]].assert_eq(&explain(&pending(service, None, "11:59:00")).to_string());
}

#[test]
fn run_whose_owner_does_not_know_its_workflow_says_who_that_is() {
    let words = "a worker that knows workflow `order`: worker `host-1`, which owns its shard, does not";
    let service = situation(RunStatus::Pending, vec![]).service;
    reasons(
        &pending(service, Some(words), "11:59:00"),
        expect![[r#"
        * it waits for a worker that knows workflow `order`: worker `host-1`, which owns its shard, does not
            since          2026-01-31 11:59:00Z (1 min ago)
            what wakes it  a worker of its queue that knows the workflow
    "#]],
    );
}

#[test]
fn run_that_is_to_begin_is_late_after_some_seconds() {
    let service = situation(RunStatus::Pending, vec![]).service;
    reasons(
        &pending(service.clone(), None, "11:59:59"),
        expect![[r#"
        * worker `host-1`, which owns its shard, is to begin it
            since          2026-01-31 11:59:59Z (1 s ago)
            what wakes it  that worker, usually within milliseconds
    "#]],
    );
    reasons(
        &pending(service.clone(), None, "11:59:00"),
        expect![[r#"
        * worker `host-1`, which owns its shard, is to begin it
            since          2026-01-31 11:59:00Z (1 min ago)
            what wakes it  that worker; it is late: look at its log, its load, and `pgworkflows workers`
    "#]],
    );
    reasons(
        &pending(Service { owner: None, ..service }, None, "11:59:59"),
        expect![[r#"
        * its shard has no owner at this moment: a live worker takes it within the time of a lease
            since          2026-01-31 11:59:59Z (1 s ago)
            what wakes it  that worker, usually within milliseconds
    "#]],
    );
}

#[test]
fn run_that_is_over_says_how_it_ended() {
    let over = |status, outcome: Option<&str>| Situation {
        closed_at: Some(at("11:00:00")),
        outcome: outcome.map(str::to_owned),
        log: Log::default(),
        ..situation(status, vec![])
    };
    let failed = over(RunStatus::Failed, Some("run.failed: no money (card-declined)"));
    expect![[r#"
        Run 019b7a00-0000-7007-8000-000000000001 of workflow `order` is over: it failed.

        * its last event: run.failed: no money (card-declined)
            since          2026-01-31 11:00:00Z (1 h ago)
            what wakes it  nothing: start another run
    "#]]
    .assert_eq(&explain(&failed).to_string());
    reasons(
        &over(RunStatus::Completed, None),
        expect![[r#"
        * this version cannot read how it ended: use a newer one
            since          2026-01-31 11:00:00Z (1 h ago)
            what wakes it  nothing: start another run
    "#]],
    );
    for status in [RunStatus::Completed, RunStatus::Cancelled, RunStatus::Terminated, RunStatus::TimedOut] {
        assert!(explain(&over(status, None)).to_string().contains("is over: it"), "{status:?}");
    }
}
