//! Calls of the store that go wrong as a test says, and how many of each there were. It must not know why.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pgworkflows::host::Host;
use pgworkflows_memory::{Call, Fault, FaultPoint, Faults, Stage};

/// What happens to a call, by its kind.
type Rule = dyn Fn(Kind) -> Fault + Send + Sync;

/// The kind of a call that a worker makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Session,
    Queue,
    /// A claim under a new lease.
    Claim,
    Tick,
    Append,
    Read,
    Release,
    /// A client's.
    Other,
}

impl Kind {
    fn of(call: &Call<'_>) -> Self {
        match call {
            Call::Session => Self::Session,
            Call::Queue { .. } => Self::Queue,
            Call::Claim(claim) if claim.lease.is_none() => Self::Claim,
            Call::Tick(_) => Self::Tick,
            Call::Append(_) => Self::Append,
            Call::ReadInbox(_) | Call::Load(_) | Call::DueRuns(_) => Self::Read,
            Call::Release(_) => Self::Release,
            _ => Self::Other,
        }
    }
}

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct Misbehaviour(Arc<Mutex<Inner>>);

struct Inner {
    host: Arc<dyn Host>,
    rule: Option<Arc<Rule>>,
    asked: BTreeMap<Kind, usize>,
}

impl Misbehaviour {
    /// All is well.
    pub(crate) fn new(host: Arc<dyn Host>) -> Self {
        Self(Arc::new(Mutex::new(Inner { host, rule: None, asked: BTreeMap::new() })))
    }

    /// From now on this happens to requests.
    pub(crate) fn begin(&self, rule: impl Fn(Kind) -> Fault + Send + Sync + 'static) {
        self.lock().rule = Some(Arc::new(rule));
    }

    /// From now on all is well.
    pub(crate) fn end(&self) {
        self.lock().rule = None;
    }

    /// How often such a call was made.
    pub(crate) fn asked(&self, kind: Kind) -> usize {
        self.lock().asked.get(&kind).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no rule is asked under this lock")
    }
}

impl Faults for Misbehaviour {
    fn at(&self, point: &FaultPoint<'_>) -> Fault {
        if point.stage != Stage::Request {
            return Fault::Proceed;
        }
        let kind = Kind::of(&point.call);
        let (rule, host) = {
            let mut inner = self.lock();
            *inner.asked.entry(kind).or_default() += 1;
            (inner.rule.clone(), Arc::clone(&inner.host))
        };
        match rule.map_or(Fault::Proceed, |rule| rule(kind)) {
            // It takes time to connect, so whoever does nothing else gets on in virtual time.
            Fault::Proceed if kind == Kind::Session => Fault::Delay(host.sleep(CONNECTING)),
            fault => fault,
        }
    }
}

/// How long it takes to connect.
const CONNECTING: Duration = Duration::from_millis(10);

impl fmt::Debug for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Misbehaviour")
    }
}
