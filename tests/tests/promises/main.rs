//! What PgWorkflows promises, one test per promise, on every store. Each file lists its promises at its top.

mod attempts;
mod compensations;
mod crashes;
mod fan_out;
mod replay;
mod signals;
mod starts;
mod timers;
