//! The registry: a worker's workflows and activities by name, with their types erased. It must not execute them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::data::id::RunId;
use crate::data::limits;
use crate::data::mean_duration::MeanDuration;
use crate::data::name::Name;
use crate::error::Error;
use crate::guard::Guarded;
use crate::observe::spans::Propagator;
use crate::store::Store;
use crate::workflow::Workflow;
use crate::workflow::activity::Activity;
use crate::workflow::activity_fn::ActivityFn;
use crate::workflow::async_program::{AsyncProgram, MakeFuture, WorkflowFuture};
use crate::workflow::bare::BareRuntime;
use crate::workflow::child_ids::ChildIds;
use crate::workflow::execute::ExecuteActivity;
use crate::workflow::mark::PollMark;
use crate::workflow::program::{Program, Programs};
use crate::workflow::scope::Scope;

/// The workflows and activities of a worker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Registry {
    definitions: Arc<Definitions>,
    /// Where its programs mark their polls.
    mark: Arc<PollMark>,
    /// The runtime in which its programs are polled.
    bare: Arc<BareRuntime>,
    child_ids: Arc<ChildIds>,
}

/// The definitions that a builder collects.
pub(crate) struct Definitions {
    workflows: BTreeMap<&'static str, Arc<MakeFuture>>,
    activities: BTreeMap<&'static str, Arc<RegisteredActivity>>,
    pub(crate) payload_bytes_max: usize,
    /// What continues traces in the spans of runs and attempts.
    pub(crate) propagator: Propagator,
}

/// An activity, and how long its attempts take.
pub(crate) struct RegisteredActivity {
    pub(crate) code: Arc<dyn ExecuteActivity>,
    pub(crate) takes: MeanDuration,
}

impl Default for Definitions {
    fn default() -> Self {
        Self {
            workflows: BTreeMap::new(),
            activities: BTreeMap::new(),
            payload_bytes_max: limits::PAYLOAD_BYTES_MAX,
            propagator: None,
        }
    }
}

impl Definitions {
    pub(crate) fn workflow<W: Workflow>(&mut self) -> Result<(), Error> {
        check_name("workflow", W::NAME)?;
        let make: Arc<MakeFuture> = Arc::new(|ctx, input| {
            let input = input.decode::<W::Input>().map_err(|error| {
                format!(
                    "the input of workflow `{}`: {error}; deploy code that can read it, and the run resumes",
                    W::NAME
                )
            })?;
            let encoded = async move {
                // Created inside the block: a future that is moved in would take twice the memory.
                let output = W::run(ctx.clone(), input).await?;
                match ctx.encode(&format_args!("the result of workflow `{}`", W::NAME), &output) {
                    Some(payload) => Ok(payload),
                    // The fault stalls the run, so this future is never polled again.
                    None => std::future::pending().await,
                }
            };
            // Without this, a tokio primitive that exceeds its runtime's budget would wake the run from outside.
            Ok(Box::pin(tokio::task::unconstrained(encoded)) as WorkflowFuture)
        });
        match self.workflows.insert(W::NAME, make) {
            None => Ok(()),
            Some(_) => Err(duplicate("workflow", W::NAME)),
        }
    }

    pub(crate) fn activity<A: Activity>(&mut self, activity: A) -> Result<(), Error> {
        self.add(A::NAME, Arc::new(Guarded::new(activity)))
    }

    pub(crate) fn activity_fn(&mut self, activity: ActivityFn) -> Result<(), Error> {
        self.add(activity.name(), activity.into_execute())
    }

    fn add(&mut self, name: &'static str, code: Arc<dyn ExecuteActivity>) -> Result<(), Error> {
        check_name("activity", name)?;
        let registered = RegisteredActivity { code, takes: MeanDuration::default() };
        match self.activities.insert(name, Arc::new(registered)) {
            None => Ok(()),
            Some(_) => Err(duplicate("activity", name)),
        }
    }
}

impl Definitions {
    /// Whether a workflow is registered.
    pub(crate) fn has_workflows(&self) -> bool {
        !self.workflows.is_empty()
    }

    /// The names of all workflows.
    pub(crate) fn workflow_names(&self) -> impl Iterator<Item = Name> {
        self.workflows.keys().map(|name| Name::from_static(name))
    }

    /// Checks that a worker of this store can execute all activities.
    pub(crate) fn check_store(&self, store: &dyn Store) -> Result<(), Error> {
        self.activities.values().try_for_each(|activity| activity.code.check_store(store))
    }

    /// The names of all activities.
    pub(crate) fn activity_names(&self) -> impl Iterator<Item = Name> {
        self.activities.keys().map(|name| Name::from_static(name))
    }
}

impl Registry {
    pub(crate) fn new(definitions: Arc<Definitions>, mark: Arc<PollMark>) -> Self {
        let bare = Arc::new(BareRuntime::new(definitions.propagator.clone()));
        Self { definitions, mark, bare, child_ids: Arc::default() }
    }

    /// Says how its runs find the ids of their children.
    pub(crate) fn with_child_ids(self, child_ids: ChildIds) -> Self {
        Self { child_ids: Arc::new(child_ids), ..self }
    }

    /// Whether a workflow of this name is known.
    pub(crate) fn knows(&self, workflow: &str) -> bool {
        self.definitions.workflows.contains_key(workflow)
    }

    /// The name of a known workflow, as a static string.
    pub(crate) fn workflow_name(&self, workflow: &str) -> Option<Name> {
        self.definitions.workflows.get_key_value(workflow).map(|(name, _)| Name::from_static(name))
    }

    pub(crate) fn activity(&self, name: &str) -> Option<&Arc<RegisteredActivity>> {
        self.definitions.activities.get(name)
    }

    pub(crate) fn payload_bytes_max(&self) -> usize {
        self.definitions.payload_bytes_max
    }
}

impl Programs for Registry {
    fn program(&self, workflow: &Name, run: RunId) -> Option<Box<dyn Program>> {
        // The static name instead of the event's, because the poll mark copies it.
        let (name, make) = self.definitions.workflows.get_key_value(workflow.as_str())?;
        let (limit, workflow) = (self.definitions.payload_bytes_max, Name::from_static(name));
        let (child_ids, mark) = (Arc::clone(&self.child_ids), Arc::clone(&self.mark));
        let scope = Scope::new(run, workflow.clone(), limit, child_ids, mark);
        let (make, bare) = (Arc::clone(make), Arc::clone(&self.bare));
        Some(Box::new(AsyncProgram::new(make, scope, bare)))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("workflows", &self.definitions.workflows.keys())
            .field("activities", &self.definitions.activities.keys())
            .finish_non_exhaustive()
    }
}

fn duplicate(what: &str, name: &str) -> Error {
    Error::invalid(format!(
        "two {what} definitions are named `{name}`; names are stored, so name each differently and register it once"
    ))
}

/// Checks a name that is stored and shown.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    Name::check(what, name).map_err(Error::invalid)
}

#[cfg(test)]
mod tests {

    use crate::workflow::current_executor::CurrentExecutor;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::data::attributes::Attributes;
    use crate::data::cancellation::Cancellation;
    use crate::data::id::{CommandId, EventSeq, LeaseId};
    use crate::data::payload::Payload;
    use crate::data::time::Timestamp;
    use crate::log::event::Event;
    use crate::testing::{activity, workflow};
    use crate::workflow::activity::ActivityContext;
    use crate::workflow::activity::Services;
    use crate::workflow::locals::Locals;

    workflow!(Bloat, "bloat", |_, bytes: usize| -> String { Ok("x".repeat(bytes)) });

    /// A value that serde can write and cannot read.
    #[derive(Serialize, Deserialize)]
    struct Unreadable {
        #[serde(skip_serializing)]
        _secret: u8,
    }

    activity!(WriteOnly, "write-only", |_: ()| -> [Unreadable; 1] { Ok([Unreadable { _secret: 1 }]) });

    #[tokio::test]
    async fn output_that_its_own_type_cannot_read_fails_the_attempt() {
        let context = ActivityContext {
            run: RunId::from_u128(1),
            command: CommandId::FIRST,
            attempt: 1,
            scheduled_at: Timestamp::MIN,
            cancellation: Cancellation::default(),
            task: None,
            services: Arc::new(Services::of_tests()),
            executor: CurrentExecutor::default(),
        };
        let activity = Guarded::new(WriteOnly);
        let attempt = activity.attempt(context, &Payload::encode(&()).unwrap()).unwrap();
        let failure = attempt.await.unwrap_err();
        assert!(!failure.retryable);
        assert!(failure.message.contains("`[0]`: missing field `_secret`"), "{failure}");
    }

    #[test]
    fn workflow_result_over_the_limit_is_a_fault_and_no_outcome() {
        let mut definitions = Definitions { payload_bytes_max: 10, ..Definitions::default() };
        definitions.workflow::<Bloat>().unwrap();
        let registry = Registry::new(Arc::new(definitions), Arc::default());
        let decide = |bytes: usize| {
            let workflow = Name::from_static(Bloat::NAME);
            let mut program = registry.program(&workflow, RunId::from_u128(0)).unwrap();
            let (input, lease) = (Payload::encode(&bytes).unwrap(), LeaseId::FIRST);
            let started = Event::RunStarted {
                workflow,
                input,
                key: None,
                start_at: None,
                deadline: None,
                grace_until: None,
                lease,
                parent: None,
                parent_call: None,
                chain: None,
                run_retry: None,
                trace: None,
                carried: None,
                attributes: Attributes::default(),
            };
            program.apply(EventSeq::FIRST, Timestamp::MIN, &started, Locals::default())
        };
        assert!(decide(9).unwrap().end.is_some());
        let diagnosis = decide(10).unwrap_err().to_string();
        assert!(
            diagnosis.contains("the result of workflow `bloat` has 11 bytes, and the limit is 10"),
            "{diagnosis}"
        );
    }
}
