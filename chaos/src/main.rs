//! Proves on real processes that nothing is lost and nothing is done twice. It must not know how the engine works inside: it
//! starts workers and clients as users do, and reads what they left behind.
//!
//! ```text
//! cargo run --release -p pgworkflows-chaos -- --minutes 10 --seed 7
//! ```
//!
//! In reading order: [`workload`] is what the programs of users do, [`hand`] what a client does with one run, and [`journal`]
//! what it notes; [`role`] puts them into processes. [`process`], [`slot`] and [`scene`] are everything that runs, [`faults`]
//! what goes wrong and when. [`run`] does all of that, [`check`] says what must be true afterwards, and [`report`] tells.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

mod hand;
mod journal;
mod options;
mod role;
mod workload;

mod process;
mod scene;
mod slot;

mod check;
mod faults;
mod progress;
mod report;
mod run;

use std::process::ExitCode;

use self::options::{Command, Process};

#[tokio::main]
async fn main() -> ExitCode {
    let command = Command::read();
    let done = match command.process {
        None => run::run(&command.options).await,
        Some(process) => {
            tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
            match process {
                Process::Worker(options) => role::work(options).await.map(|()| true),
                Process::Client(options) => role::ask(options).await.map(|()| true),
            }
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}
