//! `child.carry` and `ctx.carried`: a child whose outcome a later run of the chain asks for. It must not know how a child goes
//! along.

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::child::{ChildCall, unknown_child};
use super::future::{CallSite, DurableFuture, Label};
use super::started_child::StartedChild;
use crate::data::id::RunId;
use crate::data::name::Name;
use crate::workflow::Workflow;
use crate::workflow::command::Source;
use crate::workflow::scope::Scope;

/// A child that a run carries along, as a value for the input of the run that goes on: see [`Child::carry`](StartedChild::carry).
pub type Carried<W> = CarriedChild<<W as Workflow>::Input, <W as Workflow>::Output>;

/// A carried child, by the types of its input and its output: see [`Carried`].
///
/// It is stored as the child's id.
pub struct CarriedChild<I, O> {
    run: RunId,
    types: PhantomData<fn(I) -> O>,
}

impl<I, O> CarriedChild<I, O> {
    pub(super) fn new(run: RunId) -> Self {
        Self { run, types: PhantomData }
    }

    /// The child's id.
    pub fn id(&self) -> RunId {
        self.run
    }
}

impl<I, O> StartedChild<I, O>
where
    I: Serialize + DeserializeOwned,
    O: DeserializeOwned,
{
    /// The child of that workflow that was carried along. If there is none, its outcome is a failure.
    pub(crate) fn carried(
        scope: &Rc<Scope>,
        workflow: &'static str,
        carried: CarriedChild<I, O>,
        source: Source,
    ) -> Self {
        let (run, name) = (carried.run, Name::from_static(workflow));
        let handle = scope.take_carried(run, &name, source);
        let handle = handle.unwrap_or_else(|| unknown_child(scope, run, &name, source));
        let label = Label { noun: "child", name };
        let site = CallSite { scope: Rc::clone(scope), source, label };
        Self { run, future: DurableFuture::<ChildCall<I, O>>::of_open(site, handle) }
    }
}

impl<I, O> Clone for CarriedChild<I, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O> Copy for CarriedChild<I, O> {}

impl<I, O> PartialEq for CarriedChild<I, O> {
    fn eq(&self, other: &Self) -> bool {
        self.run == other.run
    }
}

impl<I, O> Eq for CarriedChild<I, O> {}

impl<I, O> Serialize for CarriedChild<I, O> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.run.serialize(serializer)
    }
}

impl<'de, I, O> Deserialize<'de> for CarriedChild<I, O> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RunId::deserialize(deserializer).map(Self::new)
    }
}

impl<I, O> fmt::Debug for CarriedChild<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Carried({})", self.run)
    }
}
