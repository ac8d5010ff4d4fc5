//! What the growth program can be asked. It must not know the answers.

use std::time::Duration;

use crate::arguments::{Arguments, Misuse};

/// What is printed beside an error.
pub const HELP: &str = "\
growth QUESTION [options]

    closed        throughput over a log of so many runs that are over (--rows)
    events        the same, with nine events in each: `--rows 1111111` makes ten million
    parked        throughput over so many parked runs with timers (--rows)
    partitions    throughput while the log has so many partitions (--partitions), with --rows runs in all of them
    recovery      how long a worker takes to bring back so many busy runs of 20 events (--rows), and their memory
    snapshot      throughput while a reader holds a snapshot open (--seconds)
    neighbour     throughput beside somebody who writes to the same database without a pause (--seconds)
    idle          what a worker costs that has nothing to do (--seconds)

Options:
    --rows N          (default: 1000000; for `recovery` 10000, for `partitions` 60000)
    --runs N          runs per round of load (default: 20000)
    --seconds N       (default: 300 for `snapshot`, 60 for `idle`, 20 for `neighbour`)
    --partitions N    (default: 60)
    --url URL         an existing server, instead of a throw-away one
    --schema NAME     the schema there, which should be empty (default: pgworkflows)
    --json            one JSON object on standard output, instead of a table";

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Runs that are over.
    Closed,
    /// Many events.
    Events,
    /// Parked runs.
    Parked,
    /// Partitions.
    Partitions,
    /// Recovery.
    Recovery,
    /// A reader with an old snapshot.
    Snapshot,
    /// Another writer.
    Neighbour,
    /// Nothing to do.
    Idle,
}

/// A question with its measures.
#[derive(Clone, Debug)]
pub struct GrowthOptions {
    /// What is asked.
    pub question: Question,
    /// How large it grows.
    pub rows: u64,
    /// Runs per round of load.
    pub runs: u64,
    /// How long it takes.
    pub time: Duration,
    /// Partitions of the log.
    pub partitions: u64,
    /// An existing server.
    pub url: Option<String>,
    /// The schema there.
    pub schema: String,
    /// Whether to print JSON.
    pub json: bool,
}

const QUESTIONS: [(&str, Question); 8] = [
    ("closed", Question::Closed),
    ("events", Question::Events),
    ("parked", Question::Parked),
    ("partitions", Question::Partitions),
    ("recovery", Question::Recovery),
    ("snapshot", Question::Snapshot),
    ("neighbour", Question::Neighbour),
    ("idle", Question::Idle),
];

impl Question {
    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        QUESTIONS.iter().find(|(_, question)| *question == self).map_or("?", |(name, _)| name)
    }
}

/// Reads the command line of the growth program.
///
/// # Errors
/// If it says nothing sensible.
pub fn read(words: impl IntoIterator<Item = String>) -> Result<GrowthOptions, Misuse> {
    let mut words = words.into_iter();
    let word = words.next().ok_or_else(|| Misuse::new("no question; give one of those below"))?;
    let question = QUESTIONS.iter().find(|(name, _)| *name == word).map(|(_, question)| *question);
    let question =
        question.ok_or_else(|| Misuse::new(format!("`{word}` is no question; give one of those below")))?;
    let mut arguments = Arguments::read(words, &["--json"])?;
    let (rows, seconds) = match question {
        Question::Recovery => (10_000, 60),
        Question::Partitions => (60_000, 60),
        Question::Snapshot => (1_000_000, 300),
        Question::Neighbour => (1_000_000, 20),
        Question::Closed | Question::Events | Question::Parked | Question::Idle => (1_000_000, 60),
    };
    let options = GrowthOptions {
        question,
        rows: arguments.number("--rows", rows, 1..=100_000_000)?,
        runs: arguments.number("--runs", 20_000, 1..=100_000_000)?,
        time: Duration::from_secs(arguments.number("--seconds", seconds, 1..=86_400)?),
        partitions: arguments.number("--partitions", 60, 1..=1_000)?,
        url: arguments.text("--url"),
        schema: arguments.text("--schema").unwrap_or_else(|| "pgworkflows".to_owned()),
        json: arguments.flag("--json"),
    };
    arguments.finish()?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{QUESTIONS, Question, read};

    fn words(line: &str) -> impl Iterator<Item = String> {
        line.split_whitespace().map(str::to_owned)
    }

    #[test]
    fn every_question_is_understood_and_has_its_own_defaults() {
        for (name, question) in QUESTIONS {
            assert_eq!(read(words(name)).unwrap().question, question);
            assert_eq!(question.name(), name);
        }
        assert_eq!(read(words("snapshot")).unwrap().time, Duration::from_secs(300));
        assert_eq!(read(words("recovery --rows 1000")).unwrap().rows, 1_000);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(read(words("")).is_err());
        assert!(read(words("cosed")).unwrap_err().to_string().contains("`cosed`"));
        assert!(read(words("closed --row 7")).is_err());
        assert_ne!(Question::Closed, Question::Events);
    }
}
