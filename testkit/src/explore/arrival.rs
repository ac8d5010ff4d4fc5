//! The things that can reach a run, and how a test writes them. It must not know when they arrive.

use std::fmt;

use pgworkflows_core::id::Name;

/// Something that reaches a run: the outcome of an activity or a step, a message, or a deadline.
///
/// It is displayed as the code that makes it, so that an order can be pasted into a test:
///
/// ```
/// use pgworkflows_testkit::Arrival;
///
/// let order = [Arrival::activity("charge-card", 2), Arrival::time(), Arrival::cancel()];
/// assert_eq!(order[0].to_string(), r#"Arrival::activity("charge-card", 2)"#);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival(Kind);

// In the default order of arrival: work is quick, and time passes only if nothing else can happen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Activity { call: u32, name: Name },
    Step { call: u32, name: Name },
    Signal(Name),
    Update(Name),
    Cancel,
    Terminate,
    Time,
}

impl Arrival {
    /// An attempt of an activity ends. `call` is the number of the durable call, as a history shows it.
    pub fn activity(name: impl Into<Name>, call: u32) -> Self {
        Self(Kind::Activity { call, name: name.into() })
    }

    /// A step ends. `call` is the number of the durable call, as a history shows it.
    pub fn step(name: impl Into<Name>, call: u32) -> Self {
        Self(Kind::Step { call, name: name.into() })
    }

    /// A signal of that name arrives.
    pub fn signal(name: impl Into<Name>) -> Self {
        Self(Kind::Signal(name.into()))
    }

    /// An update of that name arrives.
    pub fn update(name: impl Into<Name>) -> Self {
        Self(Kind::Update(name.into()))
    }

    /// A cancellation arrives.
    pub fn cancel() -> Self {
        Self(Kind::Cancel)
    }

    /// A termination arrives.
    pub fn terminate() -> Self {
        Self(Kind::Terminate)
    }

    /// Time passes until the next deadline: a timer fires, an activity times out, or its next attempt begins.
    pub fn time() -> Self {
        Self(Kind::Time)
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Activity { call, name } => write!(f, "Arrival::activity({name:?}, {call})"),
            Kind::Step { call, name } => write!(f, "Arrival::step({name:?}, {call})"),
            Kind::Signal(name) => write!(f, "Arrival::signal({name:?})"),
            Kind::Update(name) => write!(f, "Arrival::update({name:?})"),
            Kind::Cancel => f.write_str("Arrival::cancel()"),
            Kind::Terminate => f.write_str("Arrival::terminate()"),
            Kind::Time => f.write_str("Arrival::time()"),
        }
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
