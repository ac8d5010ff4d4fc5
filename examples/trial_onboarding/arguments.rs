//! The program's arguments. It must not know what they do.

use std::time::Duration;

const HELP: &str = "\
The trial-onboarding workflow, on the PostgreSQL at DATABASE_URL, or in the file trial_onboarding.db without one.

    cargo run --release --example trial_onboarding [-- OPTIONS]
    cargo run --release --example trial_onboarding -- signal --company Acme --decide pro

    --company NAME    the company of the trial; there is one run per company (default: Acme)
    --trial TIME      how long the trial lasts, e.g. 3s, 90m, 11d (default: 3s)
    --decide WHAT     a plan such as `pro`; `stay` for the free tier; `ask` to ask at the terminal, or, without one,
                      to wait for `signal` from another process (default: ask at a terminal, otherwise pro)";

/// What to do.
pub(crate) enum Job {
    Onboard,
    Signal,
}

/// Where the decision comes from.
pub(crate) enum Decide {
    Upgrade(String),
    Stay,
    Ask,
    Wait,
}

pub(crate) struct Arguments {
    pub(crate) job: Job,
    pub(crate) company: String,
    pub(crate) trial: Duration,
    decide: Option<String>,
}

impl Arguments {
    /// Parses the arguments. Returns the text to print if they are wrong, or ask for help.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            job: Job::Onboard,
            company: "Acme".to_owned(),
            trial: Duration::from_secs(3),
            decide: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n\n{HELP}"));
            match argument.as_str() {
                "signal" => parsed.job = Job::Signal,
                "--company" => parsed.company = value()?,
                "--trial" => parsed.trial = duration(&value()?)?,
                "--decide" => parsed.decide = Some(value()?),
                "--help" | "-h" => return Err(HELP.to_owned()),
                other => return Err(format!("`{other}` is not an argument\n\n{HELP}")),
            }
        }
        if parsed.company.trim().is_empty() {
            return Err("the company is empty; give it a name".to_owned());
        }
        Ok(parsed)
    }

    /// Where the decision comes from, with or without a terminal.
    pub(crate) fn decide(&self, terminal: bool) -> Decide {
        match (self.decide.as_deref(), terminal) {
            (Some("stay"), _) => Decide::Stay,
            (Some("ask") | None, true) => Decide::Ask,
            (Some("ask"), false) => Decide::Wait,
            (Some(plan), _) => Decide::Upgrade(plan.to_owned()),
            (None, false) => Decide::Upgrade("pro".to_owned()),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let problem = || format!("`{text}` is not a time: give a number and s, m, h or d, e.g. 3s or 11d");
    let unit = text.char_indices().last().map(|(start, _)| start).ok_or_else(problem)?;
    let seconds_per = match &text[unit..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(problem()),
    };
    let count: u64 = text[..unit].parse().map_err(|_| problem())?;
    count.checked_mul(seconds_per).map(Duration::from_secs).ok_or_else(problem)
}
