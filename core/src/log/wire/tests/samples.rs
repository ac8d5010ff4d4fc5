//! The values whose stored form the golden files pin: for every kind its minimum, its maximum, and special cases.

use std::time::Duration;

use bytes::Bytes;

use crate::data::attributes::Attributes;
use crate::data::chain::{ChainLink, KnownMessage, KnownMessages, LeftMessages, RunRetry};
use crate::data::child::{ChildPolicy, GivenUp, Parent};
use crate::data::failure::Failure;
use crate::data::id::{CommandId, EventSeq, ExecutorId, LeaseId, MessageId, RunId};
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::{Encoding, Payload};
use crate::data::recipient::Recipient;
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::log::message::{Flag, Message};
use crate::testing::trace;

const NOTHING: Payload = Payload::from_parts(Encoding::CBOR, Bytes::from_static(&[0xf6]));
const ENCRYPTED: Payload = Payload::from_parts(Encoding::from_number(7), Bytes::from_static(b"secret"));
const JSON: Payload =
    Payload::from_parts(Encoding::JSON, Bytes::from_static(br#"{"company": "Acme", "seats": 5}"#));
const NOON: Timestamp = Timestamp::from_micros(1_767_268_800_123_456);
const MESSAGE: MessageId = MessageId::from_u128(0x0198_c0de_7fff_4000_8000_0123_4567_89ab);
const RUN: RunId = RunId::from_u128(0x0198_c0de_7fff_7011_8000_0123_4567_89ab);
const SUCCESSOR: RunId = RunId::from_u128(0x0198_c0de_8fff_7011_8000_89ab_0123_4567);
const ID: CommandId = CommandId::FIRST;
const LATE_ID: CommandId = CommandId::new(100_000);

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn name(text: &'static str) -> Name {
    Name::from_static(text)
}

fn greeting() -> Payload {
    Payload::encode(&("Acme", 3)).expect("a pair can be encoded")
}

fn broken() -> Failure {
    Failure::new("io", "broken pipe")
}

/// A failure with every field set.
fn declined() -> Failure {
    Failure {
        cause: Some(Box::new(Failure {
            cause: Some(Box::new(broken())),
            ..Failure::new("http", "status 402")
        })),
        details: Some(greeting()),
        ..Failure::new("card-declined", "the card was declined").non_retryable()
    }
}

fn all_options() -> ActivityOptions {
    let policy = RetryPolicy::exponential()
        .initial(Duration::from_millis(200))
        .delay_max(Duration::from_secs(30))
        .max_attempts(5)
        .non_retryable(["card-declined", "no-such-user"]);
    ActivityOptions::default()
        .retry(policy)
        .start_to_close(Duration::from_secs(30))
        .schedule_to_close(Duration::new(3600, 1))
        .at_most_once()
}

fn two_attributes() -> Attributes {
    [(name("customer"), "42".to_owned()), (name("größe"), "groß".to_owned())].into_iter().collect()
}

fn uncompensated() -> Vec<Uncompensated> {
    let entry = |activity: &str, failure| Uncompensated { activity: activity.to_owned(), failure };
    vec![entry("refund", broken()), entry("release", declined())]
}

/// Events, each with the name of its case: `least`, `all`, or a special one.
pub(super) fn events() -> Vec<(&'static str, Event)> {
    let mut events = run_events();
    events.extend(activity_events());
    events.extend(step_timer_and_message_events());
    events.extend(compensation_events());
    events.extend(child_events());
    events
}

#[expect(clippy::too_many_lines, reason = "a list")]
fn run_events() -> Vec<(&'static str, Event)> {
    let limited = |input, lease, key, start_at, deadline, grace_until| Event::RunStarted {
        workflow: name("trial-onboarding"),
        input,
        key,
        start_at,
        lease: LeaseId::new(lease),
        parent: None,
        parent_call: None,
        chain: None,
        run_retry: None,
        deadline,
        grace_until,
        trace: None,
        carried: None,
        attributes: Attributes::default(),
    };
    let started = |input, lease, key, start_at| limited(input, lease, key, start_at, None, None);
    let timed_out = |grace_until, uncompensated, skipped| Event::RunTimedOut {
        deadline: NOON,
        grace_until,
        uncompensated,
        skipped,
    };
    let child = |parent, trace| Event::RunStarted {
        workflow: name("trial-onboarding"),
        input: NOTHING,
        key: None,
        start_at: None,
        lease: LeaseId::FIRST,
        parent: Some(parent),
        parent_call: Some(LATE_ID),
        chain: None,
        run_retry: None,
        deadline: None,
        grace_until: None,
        trace,
        carried: None,
        attributes: Attributes::default(),
    };
    let continuing = |run_retry, carried, attributes| Event::RunStarted {
        workflow: name("trial-onboarding"),
        input: greeting(),
        key: some("signup:42"),
        start_at: Some(NOON),
        lease: LeaseId::FIRST,
        parent: None,
        parent_call: None,
        chain: Some(ChainLink { first: RUN, predecessor: SUCCESSOR, number: 3 }),
        run_retry,
        deadline: None,
        grace_until: None,
        trace: None,
        carried,
        attributes,
    };
    let retry = |attempt| {
        let policy = RetryPolicy::exponential().max_attempts(5).non_retryable(["card-declined"]);
        Some(Box::new(RunRetry { attempt, policy }))
    };
    let retried = |failure, uncompensated| Event::RunRetried {
        successor: SUCCESSOR,
        failure,
        retry_at: NOON,
        uncompensated,
    };
    let known = |messages| Event::MessagesKnown { messages: KnownMessages(messages) };
    let ending = |outcome, left| Event::RunEnding { outcome, left };
    let failed = |failure, uncompensated| Event::RunFailed { failure, uncompensated };
    let cancelled = |reason, uncompensated| Event::RunCancelled { reason, uncompensated };
    let terminated =
        |reason: &str, skipped| Event::RunTerminated { message: MESSAGE, reason: reason.to_owned(), skipped };
    vec![
        ("least", started(NOTHING, 1, None, None)),
        ("all", limited(greeting(), u64::MAX, some("signup:42"), Some(NOON), Some(NOON), Some(NOON))),
        ("with a deadline", limited(NOTHING, 1, None, None, Some(NOON), None)),
        ("in JSON", started(JSON, 1, some("signup:43"), None)),
        ("delayed without a key", started(ENCRYPTED, 1, None, Some(Timestamp::from_micros(-1)))),
        ("of a child", child(RUN, None)),
        ("of a traced child", child(RUN, Some(trace()))),
        ("continuing another", continuing(None, None, Attributes::default())),
        ("continuing another with its children", continuing(None, Some(2), Attributes::default())),
        ("another attempt", continuing(retry(2), None, Attributes::default())),
        ("with attributes", continuing(None, None, two_attributes())),
        ("least", Event::RunAdopted { lease: LeaseId::FIRST, worker: String::new() }),
        ("all", Event::RunAdopted { lease: LeaseId::new(70_000), worker: "host-7:4242".to_owned() }),
        ("least", Event::RunStalled { reason: String::new() }),
        ("all", Event::RunStalled { reason: "the code asked for `a`, the log has `b` – line 12".to_owned() }),
        ("least", Event::RunResumed { released: 0 }),
        ("all", Event::RunResumed { released: u32::MAX }),
        ("least", Event::DeadlinePassed { deadline: Timestamp::from_micros(0) }),
        ("all", Event::DeadlinePassed { deadline: NOON }),
        ("least", Event::RunPaused { message: MESSAGE, reason: None }),
        ("all", Event::RunPaused { message: MESSAGE, reason: some("maintenance") }),
        ("least", Event::RunUnpaused { message: MessageId::from_u128(0) }),
        ("all", Event::RunUnpaused { message: MESSAGE }),
        ("least", ending(Outcome::Cancelled, None)),
        ("all", ending(Outcome::Failed(declined()), Some(LeftMessages(vec![MESSAGE; 2])))),
        ("completed", ending(Outcome::Completed(greeting()), None)),
        ("least", Event::RunContinued { successor: SUCCESSOR }),
        ("all", Event::RunContinued { successor: RUN }),
        ("least", retried(broken(), Vec::new())),
        ("all", retried(declined(), uncompensated())),
        ("least", known(Vec::new())),
        ("all", known(vec![KnownMessage { message: MESSAGE, at: NOON }; 2])),
        ("least", Event::RunCompleted { result: NOTHING }),
        ("all", Event::RunCompleted { result: ENCRYPTED }),
        ("least", failed(broken(), Vec::new())),
        ("all", failed(declined(), uncompensated())),
        ("least", cancelled(None, Vec::new())),
        ("all", cancelled(some("no longer needed"), uncompensated())),
        ("without a reason", cancelled(None, uncompensated())),
        ("least", timed_out(None, Vec::new(), Vec::new())),
        ("all", timed_out(Some(NOON), uncompensated(), vec!["refund".to_owned(), "release".to_owned()])),
        ("least", terminated("", Vec::new())),
        ("all", terminated("stuck", vec!["refund".to_owned(), "release".to_owned()])),
    ]
}

fn activity_events() -> Vec<(&'static str, Event)> {
    let scheduled =
        |id, input, options| Event::ActivityScheduled { id, activity: name("send-welcome"), input, options };
    let retried = |policy| scheduled(ID, NOTHING, ActivityOptions::default().retry(policy));
    let attempt_failed =
        |id, attempt, failure| Event::ActivityAttemptFailed { id, attempt, failure, retry_at: NOON };
    vec![
        ("least", scheduled(ID, NOTHING, ActivityOptions::default())),
        ("all", scheduled(LATE_ID, greeting(), all_options())),
        ("with endless attempts", retried(RetryPolicy::exponential())),
        ("with three attempts", retried(RetryPolicy::exponential().max_attempts(3))),
        ("with a cap on delays", retried(RetryPolicy::exponential().delay_max(Duration::from_secs(7)))),
        ("at most once", scheduled(ID, NOTHING, ActivityOptions::default().at_most_once())),
        ("transactional", scheduled(ID, NOTHING, ActivityOptions::default().transactional())),
        ("in an activity queue", scheduled(ID, NOTHING, ActivityOptions::default().queue("gpu"))),
        ("least", Event::ActivityAttemptStarted { id: ID, attempt: 1 }),
        ("all", Event::ActivityAttemptStarted { id: LATE_ID, attempt: u32::MAX }),
        ("least", attempt_failed(ID, 1, broken())),
        ("all", attempt_failed(LATE_ID, 300, declined())),
        ("least", Event::ActivityAttemptLost { id: ID, attempt: 1 }),
        ("all", Event::ActivityAttemptLost { id: LATE_ID, attempt: 24 }),
        ("least", Event::RetryRequested { message: MESSAGE }),
        ("all", Event::RetryRequested { message: MessageId::from_u128(u128::MAX) }),
        ("least", Event::ActivityEnqueued { id: ID, attempt: 1, queue: name("gpu"), executor: None }),
        (
            "all",
            Event::ActivityEnqueued {
                id: LATE_ID,
                attempt: u32::MAX,
                queue: name("größe"),
                executor: Some(ExecutorId::new(u64::MAX)),
            },
        ),
        ("least", Event::ActivityCompleted { id: ID, result: NOTHING }),
        ("all", Event::ActivityCompleted { id: LATE_ID, result: ENCRYPTED }),
        ("with a value", Event::ActivityCompleted { id: CommandId::new(23), result: greeting() }),
        ("least", Event::ActivityFailed { id: ID, failure: broken() }),
        ("all", Event::ActivityFailed { id: LATE_ID, failure: declined() }),
        ("least", Event::ActivityCancelled { id: ID }),
        ("all", Event::ActivityCancelled { id: CommandId::new(u32::MAX) }),
    ]
}

fn step_timer_and_message_events() -> Vec<(&'static str, Event)> {
    let signal = |payload, key, sender, trace| Event::SignalReceived {
        message: MESSAGE,
        signal: name("upgrade"),
        payload,
        key,
        sender,
        trace,
    };
    let sent = |id, to, payload| Event::SignalSent { id, to, signal: name("upgrade"), payload };
    let updated = |update, request, key, trace| {
        let message = MESSAGE;
        Event::UpdateReceived { message, update, request, key, trace }
    };
    let replied = |id, answer| Event::UpdateReplied { id, message: MESSAGE, update: name("cancel"), answer };
    vec![
        ("least", Event::StepCompleted { id: ID, step: name("charge"), result: NOTHING }),
        ("all", Event::StepCompleted { id: LATE_ID, step: name("größe"), result: ENCRYPTED }),
        ("least", Event::StepFailed { id: ID, step: name("charge"), failure: broken() }),
        ("all", Event::StepFailed { id: LATE_ID, step: name("charge"), failure: declined() }),
        ("least", Event::TimerStarted { id: ID, fire_at: Timestamp::from_micros(0) }),
        ("all", Event::TimerStarted { id: LATE_ID, fire_at: Timestamp::MAX_DEADLINE }),
        ("before 1970", Event::TimerStarted { id: ID, fire_at: Timestamp::MIN }),
        ("least", Event::QueueResolved { queue: name("gpu"), first_shard: 0, shard_count: 0 }),
        ("all", Event::QueueResolved { queue: name("größe"), first_shard: 4032, shard_count: 64 }),
        ("least", Event::ValueRecorded { name: name("region"), value: NOTHING }),
        ("all", Event::ValueRecorded { name: name("größe"), value: ENCRYPTED }),
        ("least", Event::ViewPublished { view: name("stage"), value: NOTHING }),
        ("all", Event::ViewPublished { view: name("größe"), value: ENCRYPTED }),
        ("least", Event::AttributeSet { attribute: name("region"), value: None }),
        ("all", Event::AttributeSet { attribute: name("größe"), value: some("groß") }),
        ("least", Event::TimerFired { id: CommandId::new(0) }),
        ("all", Event::TimerFired { id: LATE_ID }),
        ("least", Event::TimerCancelled { id: ID }),
        ("all", Event::TimerCancelled { id: LATE_ID }),
        ("least", signal(NOTHING, None, None, None)),
        ("all", signal(ENCRYPTED, some("click:7"), Some(RUN), Some(trace()))),
        ("from a client", signal(ENCRYPTED, some("click:7"), None, None)),
        ("from a run", signal(ENCRYPTED, None, Some(RUN), None)),
        ("traced", signal(NOTHING, None, None, Some(trace()))),
        ("least", sent(ID, Recipient::Run(RUN), NOTHING)),
        ("all", sent(LATE_ID, Recipient::named("trial-onboarding", "signup:42"), ENCRYPTED)),
        ("least", updated(name("cancel"), NOTHING, None, None)),
        ("all", updated(name("größe"), ENCRYPTED, some("click:7"), Some(trace()))),
        ("without a trace", updated(name("größe"), ENCRYPTED, some("click:7"), None)),
        ("least", replied(ID, NOTHING)),
        ("all", replied(LATE_ID, ENCRYPTED)),
        ("least", Event::UpdateDropped { id: ID, message: MESSAGE, update: name("cancel") }),
        ("all", Event::UpdateDropped { id: LATE_ID, message: MESSAGE, update: name("größe") }),
        ("least", Event::CancelRequested { message: MessageId::from_u128(0), reason: None }),
        ("all", Event::CancelRequested { message: MESSAGE, reason: some("no longer needed") }),
    ]
}

fn compensation_events() -> Vec<(&'static str, Event)> {
    let registered =
        |id, input, options| Event::CompensationRegistered { id, activity: name("refund"), input, options };
    vec![
        ("least", registered(ID, NOTHING, ActivityOptions::default())),
        ("all", registered(LATE_ID, greeting(), all_options())),
        ("least", Event::CompensationScheduled { id: ID }),
        ("all", Event::CompensationScheduled { id: LATE_ID }),
        ("least", Event::CompensationCompleted { id: ID }),
        ("all", Event::CompensationCompleted { id: LATE_ID }),
        ("least", Event::CompensationFailed { id: ID, failure: broken() }),
        ("all", Event::CompensationFailed { id: LATE_ID, failure: declined() }),
        ("least", Event::CompensationDiscarded { id: ID }),
        ("all", Event::CompensationDiscarded { id: LATE_ID }),
        ("least", Event::CompensationsBegun { id: ID }),
        ("all", Event::CompensationsBegun { id: LATE_ID }),
        ("least", Event::CompensationsEnded { id: ID, uncompensated: Vec::new() }),
        ("all", Event::CompensationsEnded { id: LATE_ID, uncompensated: uncompensated() }),
    ]
}

fn child_events() -> Vec<(&'static str, Event)> {
    let started = |id, input, key, at_end, [deadline, grace_until]: [_; 2]| Event::ChildStarted {
        id,
        child: RUN,
        workflow: name("trial-onboarding"),
        input,
        key,
        at_end,
        deadline,
        grace_until,
    };
    let carried = |id, key, input, policy, at, given_up| Event::ChildCarried {
        id,
        child: RUN,
        workflow: name("trial-onboarding"),
        on_cancel: policy,
        at_end: policy,
        key,
        input,
        deadline: at,
        grace_until: at,
        given_up,
    };
    let given_up = Some(GivenUp(ChildPolicy::RequestAndWait));
    let cancelled = |id, policy| Event::ChildCancelled { id, policy };
    vec![
        ("least", started(ID, NOTHING, None, ChildPolicy::RequestAndWait, [None; 2])),
        ("all", started(LATE_ID, greeting(), some("signup:42"), ChildPolicy::Leave, [Some(NOON); 2])),
        ("least", carried(ID, None, None, ChildPolicy::RequestAndWait, None, None)),
        (
            "all",
            carried(LATE_ID, some("signup:42"), Some(greeting()), ChildPolicy::Leave, Some(NOON), given_up),
        ),
        ("least", Event::ChildBound { id: ID }),
        ("all", Event::ChildBound { id: LATE_ID }),
        ("least", Event::ChildCompleted { id: ID, result: NOTHING }),
        ("all", Event::ChildCompleted { id: LATE_ID, result: ENCRYPTED }),
        ("least", Event::ChildFailed { id: ID, failure: broken() }),
        ("all", Event::ChildFailed { id: LATE_ID, failure: declined() }),
        ("least", Event::ChildCancelRequested { id: ID }),
        ("all", Event::ChildCancelRequested { id: LATE_ID }),
        ("least", cancelled(ID, ChildPolicy::RequestAndWait)),
        ("all", cancelled(LATE_ID, ChildPolicy::Terminate)),
        ("request", cancelled(ID, ChildPolicy::Request)),
        ("leave", cancelled(ID, ChildPolicy::Leave)),
    ]
}

/// Messages, each with the name of its case.
#[expect(clippy::too_many_lines, reason = "a list")]
pub(super) fn messages() -> Vec<(&'static str, Message)> {
    let limited = |input, key, start_at, repeated, deadline, grace_until| {
        let (workflow, repeated) = (name("trial-onboarding"), Flag(repeated));
        Message::Start {
            workflow,
            input,
            key,
            start_at,
            repeated,
            parent: None,
            retry: RetryPolicy::none(),
            deadline,
            grace_until,
            trace: None,
            attributes: Attributes::default(),
        }
    };
    let start = |input, key, start_at, repeated| limited(input, key, start_at, repeated, None, None);
    let with = |parent, retry, trace, attributes| Message::Start {
        workflow: name("trial-onboarding"),
        input: NOTHING,
        key: None,
        start_at: None,
        repeated: Flag(false),
        parent,
        retry,
        deadline: None,
        grace_until: None,
        trace,
        attributes,
    };
    let like_least = |parent, retry, trace| with(parent, retry, trace, Attributes::default());
    let labelled = with(None, RetryPolicy::none(), None, two_attributes());
    let retried = like_least(None, RetryPolicy::exponential().max_attempts(5), None);
    let start_of_child = like_least(Some(Parent { run: RUN, call: LATE_ID }), RetryPolicy::none(), None);
    let traced = like_least(None, RetryPolicy::none(), Some(trace()));
    let child_ended = |id, outcome| Message::ChildEnded { id, child: RUN, outcome };
    let ended = |id, task, outcome, committed| {
        let (task, committed) = (EventSeq::new(task), Flag(committed));
        Message::TaskEnded { id, task, outcome, committed }
    };
    let signal = |payload, key, trace| Message::Signal { signal: name("upgrade"), payload, key, trace };
    let run_signal = |payload, to, trace| {
        let (signal, sender) = (name("upgrade"), RUN);
        Message::RunSignal { signal, payload, sender, to, trace }
    };
    let update = |update, request, key, trace| Message::Update { update, request, key, trace };
    vec![
        ("least", start(NOTHING, None, None, false)),
        ("all", limited(greeting(), some("signup:42"), Some(NOON), true, Some(NOON), Some(NOON))),
        ("with a deadline", limited(NOTHING, None, None, false, Some(NOON), None)),
        ("in JSON", start(JSON, None, None, false)),
        ("delayed without a key", start(ENCRYPTED, None, Some(NOON), false)),
        ("repeated", start(NOTHING, None, None, true)),
        ("of a child", start_of_child),
        ("retried", retried),
        ("traced", traced),
        ("with attributes", labelled),
        ("least", signal(NOTHING, None, None)),
        ("all", signal(ENCRYPTED, some("click:7"), Some(trace()))),
        ("in JSON", signal(JSON, None, None)),
        ("with a key", signal(ENCRYPTED, some("click:7"), None)),
        ("traced", signal(NOTHING, None, Some(trace()))),
        ("least", Message::Cancel { reason: None, parent: None }),
        ("all", Message::Cancel { reason: some("no longer needed"), parent: None }),
        ("least", Message::Terminate { reason: String::new(), parent: None }),
        ("all", Message::Terminate { reason: "stuck".to_owned(), parent: None }),
        ("least", ended(ID, 1, Outcome::Completed(NOTHING), false)),
        ("all", ended(LATE_ID, u32::MAX, Outcome::Failed(declined()), true)),
        ("with a value", ended(ID, 2, Outcome::Completed(greeting()), false)),
        ("committed", ended(ID, 3, Outcome::Completed(greeting()), true)),
        ("least", Message::TaskLost { id: ID, task: EventSeq::FIRST, losses: 1 }),
        ("all", Message::TaskLost { id: LATE_ID, task: EventSeq::new(u32::MAX), losses: 6 }),
        ("least", Message::Pause { reason: None }),
        ("all", Message::Pause { reason: some("maintenance") }),
        ("least", Message::Resume {}),
        ("least", run_signal(NOTHING, Recipient::Run(RUN), None)),
        ("all", run_signal(ENCRYPTED, Recipient::named("trial-onboarding", "signup:42"), Some(trace()))),
        ("to a key", run_signal(ENCRYPTED, Recipient::named("trial-onboarding", "signup:42"), None)),
        ("least", Message::Retry {}),
        ("by the parent", Message::Cancel { reason: some("its parent asked for it"), parent: Some(RUN) }),
        ("by the parent", Message::Terminate { reason: "its parent is over".to_owned(), parent: Some(RUN) }),
        ("least", child_ended(ID, Outcome::Cancelled)),
        ("all", child_ended(LATE_ID, Outcome::Failed(declined()))),
        ("least", update(name("cancel"), NOTHING, None, None)),
        ("all", update(name("größe"), ENCRYPTED, some("click:7"), Some(trace()))),
        ("with a key", update(name("größe"), ENCRYPTED, some("click:7"), None)),
    ]
}
