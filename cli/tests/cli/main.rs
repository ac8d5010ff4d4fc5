//! Runs the program as a person or a script does: on a real PostgreSQL, with a worker in the test's process.

mod support;

mod act;
mod bad_input;
mod doctor;
mod files;
mod look;
mod payloads;
mod secrets;
mod sqlite;
mod terminal;
