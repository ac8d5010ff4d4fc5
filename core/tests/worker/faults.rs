//! Injects faults into the store's calls as a test's rule says, and counts the calls. It must not know why.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pgworkflows::host::Host;
use pgworkflows_memory::{Call, Fault, FaultPoint, Faults, Stage};

/// Returns the fault of a call, by its kind.
type Rule = dyn Fn(Kind) -> Fault + Send + Sync;

/// The kind of a call that a worker makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Session,
    Queue,
    /// A claim under a new lease.
    Claim,
    Heartbeat,
    Append,
    Read,
    Release,
    /// A call of a client.
    Other,
}

impl Kind {
    fn of(call: &Call<'_>) -> Self {
        match call {
            Call::Session => Self::Session,
            Call::Queue { .. } => Self::Queue,
            Call::Claim(claim) if claim.lease.is_none() => Self::Claim,
            Call::Heartbeat(_) => Self::Heartbeat,
            Call::Append(_) => Self::Append,
            Call::ReadInbox(_) | Call::Load(_) | Call::DueRuns(_) => Self::Read,
            Call::Release(_) => Self::Release,
            _ => Self::Other,
        }
    }
}

/// The rule that is in force, and the number of calls. Clones share them.
#[derive(Clone)]
pub(crate) struct FaultRules(Arc<Mutex<Inner>>);

struct Inner {
    host: Arc<dyn Host>,
    rule: Option<Arc<Rule>>,
    calls: BTreeMap<Kind, usize>,
}

impl FaultRules {
    /// Begins without a rule.
    pub(crate) fn new(host: Arc<dyn Host>) -> Self {
        Self(Arc::new(Mutex::new(Inner { host, rule: None, calls: BTreeMap::new() })))
    }

    /// Applies this rule to requests from now on.
    pub(crate) fn begin(&self, rule: impl Fn(Kind) -> Fault + Send + Sync + 'static) {
        self.lock().rule = Some(Arc::new(rule));
    }

    /// Removes the rule.
    pub(crate) fn end(&self) {
        self.lock().rule = None;
    }

    /// How often a call of this kind was made.
    pub(crate) fn calls(&self, kind: Kind) -> usize {
        self.lock().calls.get(&kind).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no rule runs while this lock is held")
    }
}

impl Faults for FaultRules {
    fn at(&self, point: &FaultPoint<'_>) -> Fault {
        if point.stage != Stage::Request {
            return Fault::Proceed;
        }
        let kind = Kind::of(&point.call);
        let (rule, host) = {
            let mut inner = self.lock();
            *inner.calls.entry(kind).or_default() += 1;
            (inner.rule.clone(), Arc::clone(&inner.host))
        };
        match rule.map_or(Fault::Proceed, |rule| rule(kind)) {
            // Connecting takes time, so that a loop of reconnects advances virtual time.
            Fault::Proceed if kind == Kind::Session => Fault::Delay(host.sleep(CONNECTING)),
            fault => fault,
        }
    }
}

/// How long connecting takes.
const CONNECTING: Duration = Duration::from_millis(10);

impl fmt::Debug for FaultRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultRules")
    }
}
