//! The arguments of the command. It must not know how they are carried out.

use std::collections::BTreeSet;

use clap::{Parser, value_parser};
use pgworkflows_simulator::Simulation;
use pgworkflows_simulator::canary::Canary;

/// Simulates whole systems under faults and virtual time, each from a seed.
#[derive(Debug, Parser)]
#[command(name = "simulate", bin_name = "cargo xtask simulate")]
pub(crate) struct Arguments {
    /// How many seeds are simulated [default: 1000; 1 if only --seed is given].
    #[arg(long = "seeds", value_name = "N", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// The first seed [default: 0].
    #[arg(long = "seed", value_name = "FIRST")]
    first: Option<u64>,

    /// Keep only these parts of each world, as printed for a failing seed: `3,17`; an empty list keeps none.
    #[arg(long, value_name = "PARTS", value_parser = parts)]
    keep: Option<Parts>,

    /// Give each disturbed world some runs whose activities sometimes end the process of their worker.
    #[arg(long)]
    deadly: bool,

    /// Simulate with this known bug.
    #[arg(long, value_name = "NAME", value_parser = known)]
    pub(crate) canary: Option<&'static Canary>,

    /// Say after how many seeds each known bug is found.
    #[arg(long, conflicts_with_all = ["count", "keep", "canary"])]
    pub(crate) canaries: bool,

    /// Stop at the first seed with a violation, and print only that seed.
    #[arg(long)]
    pub(crate) until_violated: bool,
}

/// Parts of a world, by number.
type Parts = BTreeSet<u32>;

impl Arguments {
    /// The first seed.
    pub(crate) fn first(&self) -> u64 {
        self.first.unwrap_or(0)
    }

    /// How many seeds are simulated.
    pub(crate) fn count(&self) -> u64 {
        // A single seed is to be seen again.
        self.count.unwrap_or(if self.first.is_some() { 1 } else { 1_000 })
    }

    /// The requested world of a seed.
    pub(crate) fn simulation(&self, seed: u64) -> Simulation {
        let simulation = Simulation::of(seed);
        let simulation = if self.deadly { simulation.deadly() } else { simulation };
        match &self.keep {
            Some(parts) => simulation.keeping(parts.iter().copied()),
            None => simulation,
        }
    }

    /// The command that simulates one seed again.
    pub(crate) fn again(&self, seed: u64, keep: Option<&BTreeSet<u32>>) -> String {
        let mut command = format!("cargo xtask simulate --seed {seed}");
        if let Some(parts) = keep {
            let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
            command += &format!(" --keep '{}'", parts.join(","));
        }
        if self.deadly {
            command += " --deadly";
        }
        if let Some(canary) = self.canary {
            command += &format!(" --canary {canary}");
        }
        command
    }
}

fn parts(value: &str) -> Result<Parts, String> {
    let numbers = value.split(',').filter(|number| !number.is_empty());
    let number = |text: &str| {
        text.parse().map_err(|_| format!("`{text}` is not a number; give numbers separated by commas"))
    };
    numbers.map(number).collect()
}

fn known(name: &str) -> Result<&'static Canary, String> {
    Canary::named(name).ok_or_else(|| {
        let names: Vec<String> = Canary::all().map(|canary| canary.name.to_owned()).collect();
        format!("there is no such bug; the known bugs are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory, Parser};

    use pgworkflows_simulator::canary::Canary;

    use super::Arguments;

    fn read(line: &str) -> Result<Arguments, String> {
        let words = std::iter::once("simulate").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn options_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn seed_alone_is_one_and_no_seed_is_a_thousand() {
        let counts = ["", "--seed 7", "--seeds 20", "--seed 7 --seeds 20"].map(|line| {
            let arguments = read(line).unwrap();
            (arguments.first(), arguments.count())
        });
        assert_eq!(counts, [(0, 1_000), (7, 1), (0, 20), (7, 20)]);
    }

    #[test]
    fn command_for_a_seed_is_read_back_unchanged() {
        let known = Canary::all().next().expect("there are known bugs");
        let arguments = read(&format!("--seed 7 --canary {known}")).unwrap();
        let command = arguments.again(7, Some(&BTreeSet::from([3, 17])));
        let again = read(&command.replace("cargo xtask simulate", "").replace('\'', "")).unwrap();
        assert_eq!(again.keep, Some(BTreeSet::from([3, 17])));
        assert_eq!(again.canary.map(|canary| canary.to_string()), Some(known.to_string()));
        let none = arguments.again(7, Some(&BTreeSet::new()));
        assert!(none.contains("--keep ''"), "{none}");
        assert_eq!(
            Arguments::try_parse_from(["simulate", "--keep", ""]).unwrap().keep,
            Some(BTreeSet::new())
        );
    }

    #[test]
    fn invalid_value_is_refused_with_the_value_and_what_is_allowed() {
        let known = Canary::all().last().expect("there are known bugs").to_string();
        for (line, parts) in [
            ("--seeds many", &["'many'", "--seeds"] as &[_]),
            ("--seeds 0", &["'0'", "--seeds", "1.."]),
            ("--seed -1", &["'-1'"]),
            ("--keep 3,x", &["'3,x'", "`x` is not a number", "separated by commas"]),
            ("--canary none", &["'none'", "--canary", "the known bugs are ", &known]),
            ("--canaries --seeds 7", &["--canaries", "--seeds"]),
            ("--sed 7", &["'--sed'"]),
        ] {
            let said = read(line).unwrap_err();
            assert!(parts.iter().all(|part| said.contains(part)), "{line}: {said}");
        }
    }
}
