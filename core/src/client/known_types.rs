//! The types that a client was told, by the names of their workflows and signals. It must not know what is sent.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::data::name::Name;
use crate::data::payload::{Payload, PayloadError};
use crate::workflow::Workflow;
use crate::workflow::signal::Signal;

/// The types that a client knows by name, so that it can refuse payloads that are not of them.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownTypes {
    workflows: BTreeMap<Name, Fits>,
    signals: BTreeMap<Name, Fits>,
}

/// Whether a payload is of a type.
type Fits = fn(&Payload) -> Result<(), PayloadError>;

fn fits<T: DeserializeOwned>(payload: &Payload) -> Result<(), PayloadError> {
    payload.decode::<T>().map(drop)
}

impl KnownTypes {
    pub(super) fn tell_workflow<W: Workflow>(&mut self) {
        self.workflows.insert(Name::from_static(W::NAME), fits::<W::Input>);
    }

    pub(super) fn tell_signal<T: DeserializeOwned>(&mut self, signal: Signal<T>) {
        self.signals.insert(Name::from_static(signal.name()), fits::<T>);
    }

    /// Refuses what is not of the workflow's input type, if that is known.
    pub(super) fn check_input(&self, workflow: &Name, input: &Payload) -> Result<(), PayloadError> {
        self.workflows.get(workflow).map_or(Ok(()), |fits| fits(input))
    }

    /// Refuses what is not of the signal's type, if that is known.
    pub(super) fn check_signal(&self, signal: &Name, content: &Payload) -> Result<(), PayloadError> {
        self.signals.get(signal).map_or(Ok(()), |fits| fits(content))
    }
}
