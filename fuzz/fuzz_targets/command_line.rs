//! The command line: `cargo fuzz run command_line`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgworkflows_hostile::command_line::CommandLine;

thread_local!(static PROGRAM: CommandLine = CommandLine::new());

fuzz_target!(|data: &[u8]| {
    PROGRAM.with(|program| program.run(data));
});
