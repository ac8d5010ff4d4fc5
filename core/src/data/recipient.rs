//! Whom a run sends a message to. It must not know what is sent, or how a store finds a run by its key.

use std::fmt;

use crate::data::id::RunId;
use crate::data::name::Name;

/// The run that a workflow sends a signal to, named by its id or by its workflow and key.
///
/// ```
/// use pgworkflows::Recipient;
/// use pgworkflows::prelude::*;
///
/// const DONE: Signal<u32> = Signal::new("done");
///
/// #[workflow(name = "batch")]
/// async fn batch(ctx: Context, parts: u32) -> WorkflowResult<u32> {
///     let mut sum = 0;
///     for _ in 0..parts {
///         sum += ctx.wait_for(DONE).await?;
///     }
///     Ok(sum)
/// }
///
/// #[workflow(name = "part")]
/// async fn part(ctx: Context, input: (String, u32)) -> WorkflowResult<()> {
///     let (key, number) = input;
///     ctx.signal(Recipient::keyed::<batch>(key), DONE, number);
///     Ok(())
/// }
/// # #[tokio::main]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// # let store = pgworkflows::MemoryStore::new();
/// # let worker = Worker::builder(store.clone()).workflow::<batch>().workflow::<part>().build()?;
/// # let client = Client::new(store);
/// # let talk = async {
/// #     let whole = client.start::<batch>(2).key("monday").await?;
/// #     client.start::<part>(("monday".to_owned(), 30)).await?;
/// #     client.start::<part>(("monday".to_owned(), 12)).await?;
/// #     whole.result().await
/// # };
/// # assert_eq!(worker.run_while(talk).await??, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recipient {
    /// The run with this id.
    Run(RunId),
    /// The run of this workflow that was started with this key, which is looked up when the message is sent.
    #[non_exhaustive]
    Key {
        /// The workflow's name.
        workflow: Name,
        /// The key.
        key: String,
    },
}

impl Recipient {
    /// The run that was started with this key, for callers that know the name of its workflow but not its type. See
    /// [`Recipient`] for an example.
    pub fn named(workflow: impl Into<Name>, key: impl Into<String>) -> Self {
        Self::Key { workflow: workflow.into(), key: key.into() }
    }

    /// Why it can name no run, if so.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Run(_) => Ok(()),
            Self::Key { workflow, key } => {
                Name::check("workflow", workflow)?;
                Name::check("key", key)
            }
        }
    }
}

impl From<RunId> for Recipient {
    fn from(run: RunId) -> Self {
        Self::Run(run)
    }
}

/// Writes ``run 0198c0de-…`` or ``run `order:7` of `order` ``.
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(run) => write!(f, "run {run}"),
            Self::Key { workflow, key } => write!(f, "run `{key}` of `{workflow}`"),
        }
    }
}
