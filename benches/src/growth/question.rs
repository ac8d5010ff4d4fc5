//! What the growth program can be asked. It must not know the answers.

use std::time::Duration;

use clap::{Parser, ValueEnum, value_parser};

use crate::arguments::{self, Database};

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Question {
    /// Throughput over a log of so many runs that are over (--rows).
    Closed,
    /// The same, with nine events in each: `--rows 1111111` makes ten million.
    Events,
    /// Throughput over so many parked runs with timers (--rows).
    Parked,
    /// Throughput while the log has so many partitions (--partitions), with --rows runs in all of them.
    Partitions,
    /// How long a worker takes to bring back so many busy runs of 20 events (--rows), and their memory.
    Recovery,
    /// Throughput while a reader holds a snapshot open (--seconds).
    Snapshot,
    /// Throughput beside somebody who writes to the same database without a pause (--seconds).
    Neighbour,
    /// What a worker costs that has nothing to do (--seconds).
    Idle,
}

/// Tells how throughput changes as the database fills, and what idleness and recovery cost.
#[derive(Clone, Debug, Parser)]
#[command(name = "growth")]
pub struct GrowthOptions {
    /// What is asked.
    pub question: Question,

    /// How large it grows, in runs [default: 1000000; for `recovery` 10000, for `partitions` 60000].
    #[arg(long, value_name = "N", value_parser = arguments::runs())]
    rows: Option<u64>,

    /// Runs per round of load.
    #[arg(long, value_name = "N", default_value = "20000", value_parser = arguments::runs())]
    pub runs: u64,

    /// How long it takes [default: 300 for `snapshot`, 20 for `neighbour`, 60 for `idle`].
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,

    /// Partitions of the log.
    #[arg(long, value_name = "N", default_value = "60", value_parser = value_parser!(u64).range(1..=1_000))]
    pub partitions: u64,

    /// Which database grows.
    #[command(flatten)]
    pub database: Database,

    /// Print one JSON object on standard output, instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl Question {
    /// The word for it on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl GrowthOptions {
    /// How large it grows.
    pub fn rows(&self) -> u64 {
        self.rows.unwrap_or(match self.question {
            Question::Recovery => 10_000,
            Question::Partitions => 60_000,
            Question::Closed
            | Question::Events
            | Question::Parked
            | Question::Snapshot
            | Question::Neighbour
            | Question::Idle => 1_000_000,
        })
    }

    /// How long it takes.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(match self.question {
            Question::Snapshot => 300,
            Question::Neighbour => 20,
            Question::Closed
            | Question::Events
            | Question::Parked
            | Question::Partitions
            | Question::Recovery
            | Question::Idle => 60,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{CommandFactory, Parser, ValueEnum};

    use super::{GrowthOptions, Question};

    fn read(line: &str) -> Result<GrowthOptions, String> {
        let words = std::iter::once("growth").chain(line.split_whitespace());
        GrowthOptions::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn options_do_not_contradict_each_other() {
        GrowthOptions::command().debug_assert();
    }

    #[test]
    fn every_question_is_understood_and_has_its_own_defaults() {
        for question in Question::value_variants() {
            assert_eq!(read(&question.name()).unwrap().question, *question);
        }
        assert_eq!(read("snapshot").unwrap().time(), Duration::from_secs(300));
        assert_eq!(read("recovery").unwrap().rows(), 10_000);
        assert_eq!(read("recovery --rows 1000").unwrap().rows(), 1_000);
    }

    #[test]
    fn help_explains_every_question() {
        let help = read("--help").unwrap_err();
        for part in
            ["Usage: growth [OPTIONS] <QUESTION>", "neighbour:", "--seconds <SECONDS>", "300 for `snapshot`"]
        {
            assert!(help.contains(part), "{part:?} is not in {help}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_value_and_what_may_be() {
        for (line, parts) in [
            ("", &["<QUESTION>", "not provided"] as &[_]),
            ("cosed", &["'cosed'", "closed"]),
            ("closed --row 7", &["'--row'"]),
            ("idle --seconds 0", &["'0'", "--seconds", "1..=86400"]),
        ] {
            let said = read(line).unwrap_err();
            assert!(parts.iter().all(|part| said.contains(part)), "{line}: {said}");
        }
    }
}
