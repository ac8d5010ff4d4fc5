//! Signals and updates carry the place in a trace at which they are sent: the pass that takes one is linked to there.

use pgworkflows::RunId;
use pgworkflows::history::Event;
use pgworkflows::trace::tracing::{Instrument, info_span};

use super::*;

const READY: Signal<()> = Signal::new("ready");
const GO: Signal<String> = Signal::new("go");
const ASK: Update<u32, u32> = Update::new("ask");

/// Takes an update by a handler, and takes the signal to go on after the one that it is ready, whichever comes first.
#[workflow(name = "takes")]
async fn takes(ctx: Context, (): ()) -> WorkflowResult<String> {
    let _serving = ctx.serve(ASK, async |number: u32| number + 1);
    ctx.wait_for(READY).await?;
    ctx.step("between", || async { Ok(()) }).await?;
    let gone = ctx.wait_for(GO).await?;
    ctx.wait_for(READY).await?;
    Ok(gone)
}

/// Takes many signals in one pass.
#[workflow(name = "hoards")]
async fn hoards(ctx: Context, many: u32) -> WorkflowResult<()> {
    ctx.wait_for(READY).await?;
    for _ in 0..many {
        ctx.wait_for(GO).await?;
    }
    Ok(())
}

#[workflow(name = "waits")]
async fn waits_for_go(ctx: Context, (): ()) -> WorkflowResult<String> {
    ctx.wait_for(GO).await
}

#[workflow(name = "sends")]
async fn sends(ctx: Context, to: RunId) -> WorkflowResult<()> {
    ctx.signal(to, GO, "from a run".to_owned());
    Ok(())
}

/// Starts a run and sends a signal to another.
struct Calls;

#[async_trait]
impl Activity for Calls {
    const NAME: &'static str = "calls";
    type Input = RunId;
    type Output = ();

    async fn execute(&self, ctx: ActivityContext, to: RunId) -> ActivityResult<()> {
        let client = ctx.client();
        let run = client.start::<waits_for_go>(()).with_signal(GO, "at the start".to_owned()).await?;
        client.signal(to, GO, "from an activity".to_owned()).await?;
        run.result().await?;
        Ok(())
    }
}

#[workflow(name = "caller")]
async fn caller(ctx: Context, to: RunId) -> WorkflowResult<()> {
    ctx.activity::<Calls>(to).await
}

fn worker(store: &MemoryStore) -> Worker {
    let worker = Worker::builder(store.clone()).workflow::<takes>().workflow::<waits_for_go>();
    built(worker.workflow::<hoards>().workflow::<sends>().workflow::<caller>().activity(Calls))
}

/// The passes that are linked to a span.
fn linked_to<'a>(spans: &'a [SpanData], to: &SpanData) -> Vec<&'a SpanData> {
    let is_to = |span: &&SpanData| {
        let mut links = span.links.iter();
        links.any(|link| link.span_context.span_id() == to.span_context.span_id())
    };
    let linked: Vec<&SpanData> = spans.iter().filter(is_to).collect();
    assert!(linked.iter().all(|span| span.name == "run" && span.links.len() == 1), "{linked:?}");
    linked
}

/// The run of the only pass that is linked to a span.
fn only_linked_run(spans: &[SpanData], to: &SpanData) -> String {
    let linked = linked_to(spans, to);
    let [pass] = linked[..] else { panic!("{linked:?}") };
    attribute(pass, "run")
}

#[tokio::test]
async fn pass_that_takes_a_signal_or_an_update_is_linked_to_its_sender_once_also_after_a_crash() {
    // Given a run to which signals and an update were sent, one of them long before the code took it
    let (exporter, store, client) = begin();
    let script = async {
        let run = client.start::<takes>(()).await.unwrap();
        waits(&run).await;
        run.signal(GO, "on".to_owned()).instrument(info_span!("sent-go")).await.unwrap();
        let asked = async { run.update(ASK, 6).await.unwrap() };
        assert_eq!(asked.instrument(info_span!("sent-ask")).await, 7);
        run.signal(READY, ()).instrument(info_span!("sent-ready")).await.unwrap();
        while !run
            .history()
            .await
            .unwrap()
            .iter()
            .any(|past| matches!(past.event, Event::StepCompleted { .. }))
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        waits(&run).await;
        run
    };
    let run = tokio::select! {
        run = script => run,
        ended = worker(&store).run_on_this_thread(std::future::pending()) => panic!("{ended:?}"),
    };
    // When its process dies, and another one replays it and goes on
    run.signal(READY, ()).instrument(info_span!("sent-last")).await.unwrap();
    let rest = async { assert_eq!(run.result().await.unwrap(), "on") };
    worker(&store).run_on_this_thread(rest).await.unwrap();

    // Then each pass that took one is linked to where that was sent, and no other
    let spans = exporter.get_finished_spans().unwrap();
    let ended = |of: &SpanData| spans.iter().position(|span| span.span_context == of.span_context);
    for sent in ["sent-go", "sent-ask", "sent-ready", "sent-last"] {
        assert_eq!(only_linked_run(&spans, only(&spans, sent)), run.run_id().to_string(), "{sent}");
    }
    let of_run = |span: &&SpanData| attribute(span, "run") == run.run_id().to_string();
    let step = spans.iter().filter(of_run).find(|span| attribute(span, "activity") == "between").unwrap();
    let took = linked_to(&spans, only(&spans, "sent-go"))[0];
    assert!(ended(took) > ended(step), "the signal was buffered until after the step");
}

#[tokio::test]
async fn signal_of_a_run_is_linked_to_where_that_run_was_started() {
    let (exporter, store, client) = begin();
    let script = async {
        let waiting = client.start::<waits_for_go>(()).await.unwrap();
        let send = async { client.start::<sends>(waiting.run_id()).await.unwrap() };
        send.instrument(info_span!("start-of-sender")).await.result().await.unwrap();
        assert_eq!(waiting.result().await.unwrap(), "from a run");
        waiting.run_id().to_string()
    };
    let mut received = String::new();
    worker(&store).run_on_this_thread(async { received = script.await }).await.unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(only_linked_run(&spans, only(&spans, "start-of-sender")), received);
}

#[tokio::test]
async fn what_an_activity_starts_and_sends_is_in_the_trace_of_its_attempt() {
    let (exporter, store, client) = begin();
    let mut received = String::new();
    let script = async {
        let waiting = client.start::<waits_for_go>(()).await.unwrap();
        let call = async { client.start::<caller>(waiting.run_id()).await.unwrap() };
        call.instrument(info_span!("start-of-caller")).await.result().await.unwrap();
        assert_eq!(waiting.result().await.unwrap(), "from an activity");
        received = waiting.run_id().to_string();
    };
    worker(&store).run_on_this_thread(script).await.unwrap();

    let spans = exporter.get_finished_spans().unwrap();
    let start = only(&spans, "start-of-caller");
    let attempt = spans.iter().find(|span| attribute(span, "activity") == "calls").unwrap();
    assert_eq!(attempt.span_context.trace_id(), start.span_context.trace_id());
    // The run that it started is a child of the attempt, and so is the sender of its first signal; the other run is linked to it
    let linked = linked_to(&spans, attempt);
    let runs: Vec<String> = linked.iter().map(|pass| attribute(pass, "run")).collect();
    assert!(runs.contains(&received) && runs.len() == 2, "{runs:?}");
    let started = linked.iter().find(|pass| attribute(pass, "run") != received).unwrap();
    assert_eq!(started.span_context.trace_id(), start.span_context.trace_id());
    assert_eq!(started.parent_span_id, attempt.span_context.span_id());
}

#[tokio::test]
async fn broadcast_is_linked_to_where_it_was_sent() {
    let (exporter, store, client) = begin();
    let script = async {
        let mut runs = Vec::new();
        for key in ["a", "b"] {
            runs.push(client.start::<waits_for_go>(()).key(key).await.unwrap());
        }
        let sent = async { client.broadcast::<waits_for_go, _>(GO, "all".to_owned()).all().await.unwrap() };
        assert_eq!(sent.instrument(info_span!("broadcast")).await, 2);
        for run in runs {
            run.result().await.unwrap();
        }
    };
    worker(&store).run_on_this_thread(script).await.unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(linked_to(&spans, only(&spans, "broadcast")).len(), 2);
}

#[tokio::test]
async fn pass_that_takes_very_many_signals_is_linked_to_as_many_senders_as_open_telemetry_keeps() {
    let (exporter, store, client) = begin();
    let script = async {
        let run = client.start::<hoards>(200).await.unwrap();
        waits(&run).await;
        let sent = async {
            for number in 0..200 {
                run.signal(GO, number.to_string()).await.unwrap();
            }
        };
        sent.instrument(info_span!("many")).await;
        run.signal(READY, ()).await.unwrap();
        run.result().await.unwrap();
    };
    worker(&store).run_on_this_thread(script).await.unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    let many = only(&spans, "many").span_context.span_id();
    let linked: Vec<_> = spans
        .iter()
        .filter(|span| span.links.iter().any(|link| link.span_context.span_id() == many))
        .collect();
    let [pass] = linked[..] else { panic!("{} passes", linked.len()) };
    assert_eq!((pass.links.len(), pass.links.dropped_count), (128, 0));
}

#[tokio::test]
async fn message_from_no_trace_stores_none() {
    let (_, store, untraced) = begin();
    let plain = Client::new(store.clone());
    let script = async {
        for client in [plain, untraced] {
            let run = client.start::<takes>(()).await.unwrap();
            assert_eq!(run.update(ASK, 6).await.unwrap(), 7);
            run.signal(READY, ()).await.unwrap();
            run.signal(GO, "on".to_owned()).await.unwrap();
            run.signal(READY, ()).await.unwrap();
            run.result().await.unwrap();
            for past in run.history().await.unwrap() {
                if let Event::SignalReceived { trace, .. } | Event::UpdateReceived { trace, .. } = past.event
                {
                    assert_eq!(trace, None);
                }
            }
        }
    };
    worker(&store).run_on_this_thread(script).await.unwrap();
}
