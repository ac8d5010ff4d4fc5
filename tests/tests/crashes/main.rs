//! Correctness shown by killing: processes, connections, transactions and servers end at the worst moments, on a
//! real PostgreSQL, and the log stays what it has to be.

mod append_times;
mod env;
mod log;
mod process;
mod proxy;
mod wait;
mod worker;

mod cut;
mod held;
mod idle;
mod killed;
mod moved;
mod outage;
mod restored;
mod stopped;
mod transactions;
