//! Addresses, JSON, files of histories, ids and headers: `cargo fuzz run texts`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgworkflows_hostile::runs::Runs;
use pgworkflows_hostile::texts::Texts;

thread_local!(static TEXTS: Texts = Texts::new(&Runs::new().history));

fuzz_target!(|data: &[u8]| TEXTS.with(|texts| texts.read(data)));
