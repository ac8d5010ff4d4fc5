//! How traces get into runs and out of them: a hook that a tracing library fills in. It must not know any such library.

use std::fmt;

use crate::data::trace_context::TraceContext;

/// Connects runs with a tracing library. A client asks it for the place in a trace at which a run is started, and a worker
/// has it continue the trace in the span of each pass and of each attempt. A client asks likewise where a signal or an update
/// is sent, and a worker has it link the pass that takes it to there. Without one, nothing about traces is stored.
///
/// The feature `otel` of the crate `pgworkflows` has one for OpenTelemetry.
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows::trace::{TraceContext, TracePropagator};
///
/// /// Gives every run of this process the same parent.
/// #[derive(Debug)]
/// struct Fixed(TraceContext);
///
/// impl TracePropagator for Fixed {
///     fn current(&self) -> Option<TraceContext> {
///         Some(self.0)
///     }
///
///     fn continue_in(&self, span: &tracing::Span, parent: &TraceContext) {
///         span.record("parent", parent.to_string());
///     }
/// }
/// # use pgworkflows::trace::tracing;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// # let store = pgworkflows::MemoryStore::new();
/// let parent = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
/// let client = Client::builder(store.clone()).trace_propagator(Fixed(parent)).build()?;
/// let worker = Worker::builder(store).trace_propagator(Fixed(parent)).build()?;
/// # Ok(())
/// # }
/// ```
pub trait TracePropagator: fmt::Debug + Send + Sync + 'static {
    /// The place in a trace of the code that calls this: what a run that it starts continues, and what the pass is linked to that
    /// takes a signal or an update of it. `None` if it is in no trace.
    fn current(&self) -> Option<TraceContext>;

    /// Makes a span, which has not been entered, a child of that place.
    fn continue_in(&self, span: &tracing::Span, parent: &TraceContext);

    /// Links a span, which was left but not closed, to a place of another trace, or of its own. Does nothing by default: not every
    /// tracing system has links.
    fn link(&self, span: &tracing::Span, to: &TraceContext) {
        let _ = (span, to);
    }
}
