//! The SQL functions, on a server that it starts: `cargo fuzz run sql -- -max_len=32`. Each input is the seed of some calls.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use pgworkflows_hostile::sql::Functions;
use tokio::runtime::{Builder, Runtime};

/// How many calls an input makes, in one transaction.
const CALLS: usize = 300;

thread_local!(static SQL: RefCell<(Runtime, Functions)> = {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let functions = runtime.block_on(Functions::new()).expect("a database for the calls");
    RefCell::new((runtime, functions))
});

fuzz_target!(|data: &[u8]| {
    SQL.with_borrow_mut(|(runtime, functions)| {
        // What some of them did is kept, so that others meet it.
        let keep = data.first() == Some(&0);
        runtime.block_on(functions.attempt(data, CALLS, keep)).expect("the server answers");
    });
});
