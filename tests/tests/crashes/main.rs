//! Correctness under kills: processes, connections, transactions and servers end at the worst moments, mostly on a real
//! PostgreSQL, and the log stays correct.

mod append_times;
mod env;
mod interrupted;
mod log;
mod process;
mod trials;
mod worker;

mod balance;
mod cut;
mod held;
mod idle;
mod killed;
mod memory;
mod moved;
mod one_file;
mod outage;
mod promoted;
mod restored;
mod stopped;
mod transactions;
