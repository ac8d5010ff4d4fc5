//! What operators see, driven through the public interface and compared with `docs/observability.md`: every log line, span
//! and metric is in the document, nothing else is, and no payload appears anywhere.

mod collector;
mod document;
mod sources;
mod world;

mod dashboard;
mod documented;
mod secrets;
