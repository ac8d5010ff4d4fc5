//! What stores keep: `cargo fuzz run log`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgworkflows_hostile::log::Log;

thread_local!(static LOG: Log = Log::new());

fuzz_target!(|data: &[u8]| {
    LOG.with(|log| log.read(data));
});
