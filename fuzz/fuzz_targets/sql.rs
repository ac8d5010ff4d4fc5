//! The SQL functions, on a server that it starts: `cargo fuzz run sql -- -max_len=8`. Each input is the seed of some calls.

#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use pgworkflows_hostile::sql::Functions;
use tokio::runtime::{Builder, Runtime};

/// How many calls an input makes, in one transaction.
const CALLS: usize = 300;

/// After how many inputs the number of calls is told.
const TOLD: usize = 1_000;

/// One of so many inputs has what it did kept, so that others meet it.
const KEPT: usize = 64;

struct Sql {
    runtime: Runtime,
    functions: Functions,
    inputs: usize,
    /// How many calls ended with each code.
    counts: BTreeMap<String, usize>,
}

thread_local!(static SQL: RefCell<Sql> = {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let functions = runtime.block_on(Functions::new()).expect("a database for the calls");
    RefCell::new(Sql { runtime, functions, inputs: 0, counts: BTreeMap::new() })
});

// The server and the database are made before the first input, whose time is limited.
fuzz_target!(init: SQL.with(|_| ()), |data: &[u8]| {
    SQL.with_borrow_mut(|Sql { runtime, functions, inputs, counts }| {
        let mut seed = [0; 8];
        seed.iter_mut().zip(data).for_each(|(byte, given)| *byte = *given);
        let attempt = functions.attempt(u64::from_le_bytes(seed), CALLS, *inputs % KEPT == 0);
        for (code, count) in runtime.block_on(attempt).expect("the server answers") {
            *counts.entry(code).or_default() += count;
        }
        *inputs += 1;
        if *inputs % TOLD == 0 {
            eprintln!("{} calls: {counts:?}", *inputs * CALLS);
        }
    });
});
