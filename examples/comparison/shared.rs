//! What the programs have in common, and what is therefore not counted: the payloads, and a stand-in for the services that
//! the activities call. It must not know any of the systems.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a customer signs up with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Signup {
    /// The company, which is also the run's key.
    pub(crate) company: String,
    /// The address for its mail.
    pub(crate) email: String,
    /// How long the trial lasts: eleven days, or a moment where a test cannot skip time.
    pub(crate) trial: Duration,
}

impl Signup {
    pub(crate) fn of_acme(trial: Duration) -> Self {
        Self { company: "Acme".to_owned(), email: "ada@acme.example".to_owned(), trial }
    }
}

/// What the customer decides at the end of the trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Decision {
    /// Whether the customer subscribes.
    pub(crate) upgraded: bool,
    /// The chosen plan.
    pub(crate) plan: String,
}

impl Decision {
    pub(crate) fn upgrade_to(plan: &str) -> Self {
        Self { upgraded: true, plan: plan.to_owned() }
    }
}

/// Stands in for the clients of the services: it notes what it was asked to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services(Arc<Mutex<Vec<String>>>);

/// A service was not available.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Unavailable;

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the service is not available")
    }
}

impl std::error::Error for Unavailable {}

impl Services {
    /// Asks a service for something.
    pub(crate) async fn ask(&self, what: String) -> Result<(), Unavailable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        Ok(())
    }

    /// What was asked for, in this order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
