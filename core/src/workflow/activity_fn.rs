//! Activities that are functions: methods of a type, mocks. They must not know the macros that make them.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::failure::Failure;
use crate::data::payload::Payload;
use crate::data::positional::Positional;
use crate::error::Error;
use crate::guard::Guarded;
use crate::host::AttemptFuture;
use crate::store::Store;
use crate::workflow::activity::ActivityContext;
use crate::workflow::activity_def::{ActivityDef, ActivityFailure};
use crate::workflow::execute::{ExecuteActivity, guarded};

/// The activities of a type, which a worker registers together. `#[activities]` implements it for the type of an `impl`
/// block.
///
/// An [`ActivityFn`] has one activity, and an `Arc` those of what it contains, so that a program can keep the value:
///
/// ```
/// use std::sync::Arc;
///
/// use pgworkflows::activity::Activities;
/// use pgworkflows::prelude::*;
///
/// struct Mailer;
///
/// #[activities]
/// impl Mailer {
///     #[activity(name = "mailer.welcome")]
///     async fn welcome(&self, email: String) -> ActivityResult<()> {
///         println!("welcome, {email}");
///         Ok(())
///     }
/// }
///
/// let mailer = Arc::new(Mailer);
/// let names: Vec<_> = Arc::clone(&mailer).activities().iter().map(|activity| activity.name()).collect();
/// assert_eq!(names, ["mailer.welcome"]);
/// ```
pub trait Activities: Sized {
    /// Each activity: its definition, and code that shares this value.
    fn activities(self: Arc<Self>) -> Vec<ActivityFn>;
}

impl<A: Activities> Activities for Arc<A> {
    fn activities(self: Arc<Self>) -> Vec<ActivityFn> {
        A::activities(Self::clone(&self))
    }
}

/// An activity that is a function: a definition and the code that executes it. Clones share the code.
///
/// ```
/// use pgworkflows::activity::{ActivityDef, ActivityFn};
/// use pgworkflows::prelude::*;
/// use pgworkflows::{MemoryStore, Worker};
///
/// const ADD: ActivityDef<(u64, u64), u64> = ActivityDef::new("add");
///
/// let add = ActivityFn::new(ADD, |_ctx, (a, b)| async move { Ok(a + b) });
/// let worker = Worker::builder(MemoryStore::new()).activities(add).build()?;
/// # Ok::<(), pgworkflows::Error>(())
/// ```
#[derive(Clone)]
pub struct ActivityFn {
    name: &'static str,
    execute: Arc<dyn ExecuteActivity>,
}

impl ActivityFn {
    /// Makes an activity of a function, which is called for each attempt. See the example [above](ActivityFn) and, for
    /// what holds of attempts, [`Activity::execute`](crate::workflow::activity::Activity::execute).
    pub fn new<Args, O, E, F, Fut>(activity: ActivityDef<Args, O, E>, function: F) -> Self
    where
        Args: Send + 'static,
        Positional<Args>: DeserializeOwned,
        O: Serialize + DeserializeOwned + Send + 'static,
        E: ActivityFailure,
        F: Fn(ActivityContext, Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        let function = Guarded::new(function);
        Self { name: activity.name(), execute: Arc::new(Function { activity, function }) }
    }

    /// The stored name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn into_execute(self) -> Arc<dyn ExecuteActivity> {
        self.execute
    }
}

impl Activities for ActivityFn {
    fn activities(self: Arc<Self>) -> Vec<ActivityFn> {
        vec![Self::clone(&self)]
    }
}

impl fmt::Debug for ActivityFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActivityFn({:?})", self.name)
    }
}

struct Function<Args, O, E, F> {
    activity: ActivityDef<Args, O, E>,
    function: Guarded<F>,
}

impl<Args, O, E, F, Fut> ExecuteActivity for Function<Args, O, E, F>
where
    Args: Send + 'static,
    Positional<Args>: DeserializeOwned,
    O: Serialize + DeserializeOwned + Send + 'static,
    E: ActivityFailure,
    F: Fn(ActivityContext, Args) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send + 'static,
{
    fn attempt(&self, ctx: ActivityContext, input: &Payload) -> Result<AttemptFuture<'_>, String> {
        let Positional(arguments) = input.decode().map_err(|error| {
            format!(
                "activity `{}` was called with {}, and this code takes {}: {error}; deploy code that can read the arguments, \
                 and the run resumes",
                self.activity.name(),
                input.kinds(),
                type_name::<Args>(),
            )
        })?;
        Ok(guarded(async move {
            // The function itself may panic before it returns a future.
            let output =
                (self.function)(ctx, arguments).await.map_err(|error| error.into().into_failure())?;
            Payload::encode_readable(&output).map_err(|error| Failure::from_error(&error).non_retryable())
        }))
    }

    fn is_transactional(&self) -> bool {
        self.activity.default_options().get().transactional
    }

    fn check_store(&self, _store: &dyn Store) -> Result<(), Error> {
        Ok(())
    }
}
