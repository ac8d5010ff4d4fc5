//! Runs the command line in the process of a test, on the store of the test: for fuzzers, which run it thousands of times a second.
//! It must not know what is tested.

use std::ffi::OsString;

use clap::{CommandFactory, Parser};
use pgworkflows::AnyStore;

use crate::args::Arguments;
use crate::commands;
use crate::refuse;
use crate::streams::{Kept, Streams};

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: u8,
    /// Its standard output, without colours.
    pub out: String,
    /// Its standard error, without colours.
    pub err: String,
}

/// A place where programs run, all of them on one store, whatever addresses they name.
#[derive(Debug)]
pub struct Host {
    store: AnyStore,
    streams: &'static Streams,
}

impl Host {
    /// A host for a store. It is kept until the process ends, as the standard streams are.
    pub fn new(store: AnyStore) -> Self {
        Self { store, streams: Box::leak(Box::new(Streams::Kept(Kept::default()))) }
    }

    /// Runs the program with these arguments, which begin with its name.
    pub async fn run(&self, arguments: impl IntoIterator<Item = OsString>) -> Ran {
        let words: Vec<OsString> = arguments.into_iter().collect();
        let code = match Arguments::try_parse_from(&words) {
            Ok(mut arguments) => {
                // What asks the server itself, such as `doctor`, sees that this is none.
                arguments.global = arguments.global.at("memory:".to_owned());
                arguments.global.store = Some(self.store.clone());
                let json = arguments.global.json;
                let done = commands::run(arguments, self.streams).await;
                done.unwrap_or_else(|failure| failure.report(&words, json, self.streams))
            }
            Err(error) => refuse(&error, &words, self.streams),
        };
        let (out, err) = self.take();
        Ran { code: code as u8, out, err }
    }

    /// Forgets what a program wrote that was dropped before its end.
    pub fn forget(&self) {
        self.take();
    }

    fn take(&self) -> (String, String) {
        match self.streams {
            Streams::Kept(kept) => kept.take(),
            Streams::Standard => Default::default(),
        }
    }
}

/// A command, as it is typed.
#[derive(Debug)]
pub struct Shape {
    /// Its words, such as `runs` and `show`.
    pub words: Vec<String>,
    /// What follows its words, in order.
    pub operands: Vec<Value>,
    /// Its options, those of every command included.
    pub options: Vec<Flag>,
}

/// An option.
#[derive(Debug)]
pub struct Flag {
    /// Such as `--limit`.
    pub name: String,
    /// `None` if it is a switch.
    pub value: Option<Value>,
}

/// A value of an option, or an operand.
#[derive(Debug)]
pub struct Value {
    /// Which one it is, such as `run`.
    pub id: String,
    /// What it may be; empty if it may be more than a few words.
    pub words: Vec<String>,
}

/// Every command that there is.
pub fn shapes() -> Vec<Shape> {
    let mut program = Arguments::command();
    program.build();
    let mut shapes = Vec::new();
    collect(&program, &[], &mut shapes);
    shapes
}

fn collect(command: &clap::Command, words: &[String], shapes: &mut Vec<Shape>) {
    // `help` has all commands once more.
    let mut inner = command.get_subcommands().filter(|inner| inner.get_name() != "help").peekable();
    if inner.peek().is_some() {
        inner.for_each(|inner| collect(inner, &[words, &[inner.get_name().to_owned()]].concat(), shapes));
        return;
    }
    let flag = |argument: &clap::Arg| {
        let name = format!("--{}", argument.get_long()?);
        Some(Flag { name, value: argument.get_action().takes_values().then(|| value(argument)) })
    };
    shapes.push(Shape {
        words: words.to_vec(),
        operands: command.get_positionals().map(value).collect(),
        options: command.get_arguments().filter_map(flag).collect(),
    });
}

fn value(argument: &clap::Arg) -> Value {
    let words = argument.get_possible_values().iter().map(|word| word.get_name().to_owned()).collect();
    Value { id: argument.get_id().to_string(), words }
}
