//! The types that a client was told, by the names of their workflows and signals. It must not know what is sent.

use std::any::type_name;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::data::name::Name;
use crate::data::payload::{Payload, PayloadError};
use crate::workflow::Workflow;
use crate::workflow::signal::Signal;

/// The types that a client knows by name, so that it can refuse payloads that are not of them.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownTypes {
    workflows: BTreeMap<Name, Known>,
    signals: BTreeMap<Name, Known>,
    /// The first mistake in what it was told.
    problem: Option<String>,
}

/// A type: whether a payload is of it, and how it is called.
type Known = (Fits, &'static str);

/// Whether a payload is of a type.
type Fits = fn(&Payload) -> Result<(), PayloadError>;

fn fits<T: DeserializeOwned>(payload: &Payload) -> Result<(), PayloadError> {
    payload.decode::<T>().map(drop)
}

fn known<T: DeserializeOwned>() -> Known {
    (fits::<T>, type_name::<T>())
}

impl KnownTypes {
    pub(super) fn tell_workflow<W: Workflow>(&mut self) {
        let earlier = self.workflows.insert(Name::from_static(W::NAME), known::<W::Input>());
        self.check("workflow", W::NAME, earlier, type_name::<W::Input>());
    }

    pub(super) fn tell_signal<T: DeserializeOwned>(&mut self, signal: Signal<T>) {
        let earlier = self.signals.insert(Name::from_static(signal.name()), known::<T>());
        self.check("signal", signal.name(), earlier, type_name::<T>());
    }

    fn check(&mut self, what: &str, name: &str, earlier: Option<Known>, told: &'static str) {
        let twice = earlier.filter(|(_, earlier)| *earlier != told).map(|(_, earlier)| {
            format!("the client is told that {what} `{name}` takes {earlier}, and that it takes {told}; tell it one of them")
        });
        self.problem = self.problem.take().or(Name::check(what, name).err()).or(twice);
    }

    /// What is wrong with what it was told.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Refuses what is not of the workflow's input type, if that is known.
    pub(super) fn check_input(&self, workflow: &Name, input: &Payload) -> Result<(), PayloadError> {
        self.workflows.get(workflow).map_or(Ok(()), |(fits, _)| fits(input))
    }

    /// Refuses what is not of the signal's type, if that is known.
    pub(super) fn check_signal(&self, signal: &Name, content: &Payload) -> Result<(), PayloadError> {
        self.signals.get(signal).map_or(Ok(()), |(fits, _)| fits(content))
    }
}
