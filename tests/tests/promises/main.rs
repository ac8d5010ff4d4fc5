//! What PgWorkflows promises, one test per promise, on every store. Each file lists its promises at its top. A promise
//! is an `async fn` that gets an environment: a store of its own, a client, and workers to stop or kill.

mod clients;
mod json;
mod starts;

mod attributes;
mod chains;
mod children;
mod fan_out;
mod handlers;
mod outward;
mod races;
mod signals;
mod steps;
mod timers;
mod updates;
mod views;

mod attempts;
mod cancellation;
mod carried;
mod compensations;
mod failures;
mod methods;
mod scopes;
mod tasks;
mod typed_failures;

mod crashes;
mod fleets;
mod outages;
mod parking;
mod pauses;
mod replay;
mod resume;
mod stalls;

mod limits;
mod neighbours;
mod reads;
