//! A few thousand hostile inputs from a seed, for every change. `fuzz/` makes more, and learns from what they do.

use std::collections::BTreeSet;

use pgworkflows_hostile::command_line::CommandLine;
use pgworkflows_hostile::log::Log;
use pgworkflows_hostile::runs::Runs;
use pgworkflows_hostile::seeded;
use pgworkflows_hostile::texts::Texts;

/// Another number of inputs, and their seed: `1000000 42`.
const MORE: &str = "PGWORKFLOWS_HOSTILE_INPUTS";

/// So many inputs, or more if they are asked for.
fn inputs(count: usize, bytes_max: usize) -> impl Iterator<Item = Vec<u8>> {
    let more = std::env::var(MORE).unwrap_or_default();
    let mut more = more.split(' ').map(|number| number.parse().ok());
    let count = more.next().flatten().and_then(|count: u64| usize::try_from(count).ok()).unwrap_or(count);
    let seed = more.next().flatten().unwrap_or(7);
    seeded(seed, count, bytes_max).enumerate().map(|(number, data)| {
        if number > 0 && number % 100_000 == 0 {
            eprintln!("{number} inputs");
        }
        data
    })
}

#[test]
fn no_arguments_make_the_command_line_panic_or_end_in_another_way_than_documented() {
    let program = CommandLine::new();
    let codes: BTreeSet<Option<u8>> = inputs(2_000, 400).map(|data| program.run(&data)).collect();
    // They are not all refused: there is every exit code but that of a store that does not answer, and a command without an end.
    assert_eq!(codes, BTreeSet::from([None, Some(0), Some(1), Some(2), Some(3), Some(4)]));
}

#[test]
fn no_text_makes_its_reader_panic_or_show_a_password() {
    let texts = Texts::new(&Runs::new().history);
    inputs(10_000, 300).for_each(|data| texts.read(&data));
}

#[test]
fn no_bytes_make_the_log_panic_and_what_is_read_can_be_written() {
    let log = Log::new();
    let read: usize = inputs(20_000, 300).map(|data| log.read(&data)).sum();
    assert!(read > 5_000, "only {read} could be read");
}
