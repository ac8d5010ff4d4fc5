//! The Postgres store against a real server: every rule of its protocols as a fact.

mod support;

mod append;
mod connect;
mod inbox;
mod lease;
mod migrate;
mod moved;
mod notify;
mod partition;
mod plans;
mod query;
mod recover;
mod server;
mod session;
mod settings;
mod submit;
