//! Tests of the Postgres store on a real server: each rule of its protocols is a test.

mod bodies;
mod engine;
#[expect(unreachable_pub, reason = "the tests on every store have it in a library")]
#[path = "../../../tests/src/logs.rs"]
mod logs;
mod support;

mod append;
mod connect;
mod damaged;
mod diagnosis;
mod frames;
mod history;
mod inbox;
mod lease;
mod lists;
mod migrate;
mod moved;
mod notify;
mod own_task;
mod partition;
mod plans;
mod pool;
mod pooler;
mod query;
mod recover;
mod roles;
mod room;
mod server;
mod session;
mod settings;
mod sql;
mod submit;
mod time_limits;
mod tls;
mod transactional;
mod views;
mod waits;
