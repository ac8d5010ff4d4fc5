//! A trace runs from the client through every pass and attempt, across processes, crash and replay, and through the runs that
//! its runs start.

use pgworkflows::history::Event;
use pgworkflows::trace::{TraceContext, TracePropagator, tracing};
use tracing::Instrument;

use super::*;

const GO: Signal<String> = Signal::new("go");

#[workflow(name = "child")]
async fn child(ctx: Context, (): ()) -> WorkflowResult<()> {
    ctx.step("in-child", || async { Ok(()) }).await
}

#[workflow(name = "traced")]
async fn traced(ctx: Context, (): ()) -> WorkflowResult<()> {
    ctx.step("before", || async { Ok(()) }).await?;
    ctx.wait_for(GO).await?;
    ctx.step("after", || async { Ok(()) }).await?;
    ctx.child::<child>(()).await
}

#[workflow(name = "chained")]
async fn chained(ctx: Context, is_first: bool) -> WorkflowResult<()> {
    if is_first {
        ctx.continue_as_new::<chained>(false).await
    } else {
        ctx.step("in-successor", || async { Ok(()) }).await
    }
}

#[workflow(name = "unlucky")]
async fn unlucky(ctx: Context, (): ()) -> WorkflowResult<()> {
    if ctx.attempt() == 1 {
        return Err(WorkflowError::new("unlucky", "not at once"));
    }
    ctx.step("in-second-attempt", || async { Ok(()) }).await
}

#[workflow(name = "family")]
async fn family(ctx: Context, (): ()) -> WorkflowResult<()> {
    ctx.child::<child>(()).key("only").await?;
    ctx.child::<chained>(true).await
}

fn worker(store: &MemoryStore) -> Worker {
    let worker = Worker::builder(store.clone()).workflow::<traced>().workflow::<child>();
    let worker = worker.workflow::<chained>().workflow::<unlucky>().workflow::<family>();
    built(worker)
}

#[tokio::test]
async fn trace_goes_on_in_another_process_after_a_crash_and_in_a_child() {
    // Given a run that a traced client started, and whose process crashed while it waited
    let (exporter, store, client) = begin();
    let start = async { client.start::<traced>(()).await.unwrap() };
    let first = worker(&store);
    let script = async {
        let run = start.instrument(tracing::info_span!("request")).await;
        waits(&run).await;
        run
    };
    let run = tokio::select! {
        run = script => run,
        ended = first.run_on_this_thread(std::future::pending()) => panic!("{ended:?}"),
    };

    // When another one goes on
    run.signal(GO, "on".to_owned()).await.unwrap();
    let rest = async { run.result().await.unwrap() };
    worker(&store).run_on_this_thread(rest).await.unwrap();

    // Then everything is in the trace of the request
    let spans = exporter.get_finished_spans().unwrap();
    let trace = only(&spans, "request").span_context.trace_id();
    assert_eq!(steps_in(&spans, trace), ["before", "after", "in-child"]);
    let passes =
        spans.iter().filter(|span| span.name == "run" && span.span_context.trace_id() == trace).count();
    assert!(passes >= 6, "{passes} passes");
    let history = run.history().await.unwrap();
    let Event::RunStarted { trace: Some(stored), .. } = &history[0].event else { panic!("{history:?}") };
    assert_eq!(stored.trace_id(), trace.to_bytes());
}

#[tokio::test]
async fn children_with_keys_successors_and_second_attempts_of_runs_continue_the_trace() {
    let (exporter, store, client) = begin();
    let script = async {
        let run = async { client.start::<family>(()).await.unwrap() };
        run.instrument(tracing::info_span!("of-family")).await.result().await.unwrap();
        let soon = RetryPolicy::exponential().initial(Duration::from_millis(1)).max_attempts(2);
        let run = async { client.start::<unlucky>(()).retry(soon).await.unwrap() };
        run.instrument(tracing::info_span!("of-unlucky")).await.result().await.unwrap();
    };
    worker(&store).run_on_this_thread(script).await.unwrap();

    let spans = exporter.get_finished_spans().unwrap();
    for (start, steps) in
        [("of-family", &["in-child", "in-successor"][..]), ("of-unlucky", &["in-second-attempt"])]
    {
        let start = &only(&spans, start).span_context;
        assert_eq!(steps_in(&spans, start.trace_id()), steps);
        // Each is a child of the start, because no span of a run outlives its process.
        let engines = |span: &&SpanData| span.name == "run" || span.name == "attempt";
        let of_trace = spans.iter().filter(|span| span.span_context.trace_id() == start.trace_id());
        assert!(of_trace.filter(engines).all(|span| span.parent_span_id == start.span_id()));
    }
}

#[tokio::test]
async fn nothing_is_stored_without_a_propagator_or_outside_of_a_trace() {
    let (_, store, untraced) = begin();
    let plain = Client::new(store.clone());
    let script = async {
        for client in [plain, untraced] {
            let run = client.start::<child>(()).await.unwrap();
            run.result().await.unwrap();
            let history = run.history().await.unwrap();
            assert!(matches!(&history[0].event, Event::RunStarted { trace: None, .. }), "{history:?}");
        }
    };
    worker(&store).run_on_this_thread(script).await.unwrap();
}

/// A propagator that panics.
#[derive(Debug)]
struct Hostile;

impl TracePropagator for Hostile {
    fn current(&self) -> Option<TraceContext> {
        panic!("a bad propagator")
    }

    fn continue_in(&self, _: &tracing::Span, _: &TraceContext) {
        panic!("a bad propagator")
    }

    fn link(&self, _: &tracing::Span, _: &TraceContext) {
        panic!("a bad propagator")
    }
}

#[tokio::test]
async fn propagator_that_panics_harms_no_run() {
    let (_, store, client) = begin();
    let hostile = Client::builder(store.clone()).trace_propagator(Hostile).build().unwrap();
    let worker = Worker::builder(store).workflow::<traced>().workflow::<child>().processors(1);
    let worker = worker.trace_propagator(Hostile).build().unwrap();
    let script = async {
        for client in [hostile, client] {
            let talk = async {
                let run = client.start::<traced>(()).await.unwrap();
                run.signal(GO, "on".to_owned()).await.unwrap();
                run.result().await.unwrap();
            };
            talk.instrument(tracing::info_span!("apart")).await;
        }
    };
    worker.run_on_this_thread(script).await.unwrap();
}
