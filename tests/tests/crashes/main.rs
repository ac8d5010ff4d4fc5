//! Correctness shown by killing: processes, connections, transactions and servers end at the worst moments, on a
//! real PostgreSQL, and the log stays what it has to be.

mod log;
mod process;
mod proxy;
mod timed;
mod wait;
mod worker;
mod world;

mod cut;
mod held;
mod idle;
mod killed;
mod moved;
mod outage;
mod restored;
mod stopped;
mod transactions;
