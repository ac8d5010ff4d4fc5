//! What the command is asked for. It must not know how it is done.

use std::collections::BTreeSet;

use pgworkflows_testkit::sim::{Canary, Simulation};

/// How the command is called.
pub(crate) const USAGE: &str = "\
Usage: cargo xtask simulate [--seeds N] [--seed FIRST] [--keep PARTS] [--canary NAME]
       cargo xtask simulate --canaries [--seed FIRST]

  --seeds N      simulate N seeds (1000; 1 if only --seed is given)
  --seed FIRST   the first of them (0)
  --keep PARTS   of each world only these parts, as printed for a seed that fails: `3,17`; nothing for none
  --canary NAME  with this known bug
  --canaries     say after how many seeds each known bug is found";

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Simulate seeds.
    Seeds,
    /// Measure how soon known bugs are found.
    Canaries,
}

/// The arguments of the command.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) what: What,
    pub(crate) first: u64,
    pub(crate) count: u64,
    keep: Option<BTreeSet<u32>>,
    canary: Option<Canary>,
}

impl Arguments {
    /// Reads them; the error says which is of no use.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let (mut what, mut first, mut count, mut keep, mut canary) = (What::Seeds, None, None, None, None);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--canaries" => what = What::Canaries,
                "--seed" => first = Some(number(argument, value()?)?),
                "--seeds" => count = Some(number(argument, value()?)?),
                "--keep" => keep = Some(parts(argument, value()?)?),
                "--canary" => canary = Some(known(value()?)?),
                _ => return Err(format!("`{argument}` is not known")),
            }
        }
        // A seed alone is one that somebody wants to see again.
        let default = if first.is_some() { 1 } else { 1_000 };
        Ok(Self { what, first: first.unwrap_or(0), count: count.unwrap_or(default), keep, canary })
    }

    /// The world of a seed as it was asked for.
    pub(crate) fn simulation(&self, seed: u64) -> Simulation {
        let mut simulation = Simulation::of(seed);
        if let Some(parts) = &self.keep {
            simulation = simulation.keeping(parts.iter().copied());
        }
        if let Some(canary) = self.canary {
            simulation = simulation.with(canary);
        }
        simulation
    }

    /// The command that shows one seed again.
    pub(crate) fn command(&self, seed: u64, keep: Option<&BTreeSet<u32>>) -> String {
        let mut command = format!("cargo xtask simulate --seed {seed}");
        if let Some(parts) = keep {
            let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
            command += &format!(" --keep '{}'", parts.join(","));
        }
        if let Some(canary) = self.canary {
            command += &format!(" --canary {canary}");
        }
        command
    }
}

fn number(argument: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("`{argument}` takes a number, not `{value}`"))
}

fn parts(argument: &str, value: &str) -> Result<BTreeSet<u32>, String> {
    let numbers = value.split(',').filter(|number| !number.is_empty()).map(str::parse);
    numbers
        .collect::<Result<_, _>>()
        .map_err(|_| format!("`{argument}` takes numbers with commas, not `{value}`"))
}

fn known(name: &str) -> Result<Canary, String> {
    Canary::named(name).ok_or_else(|| {
        let names: Vec<String> = Canary::all().map(|canary| canary.to_string()).collect();
        format!("there is no known bug `{name}`; there are {}", names.join(", "))
    })
}
