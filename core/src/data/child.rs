//! Children: runs that a run starts. What becomes of a child that its parent gives up, and which run a child belongs to. It
//! must not know how a child is started.

use std::fmt;

use crate::data::id::{CommandId, RunId};

/// What becomes of a child that has not ended when its parent gives it up or ends.
///
/// ```
/// use pgworkflows::workflow::ChildPolicy;
///
/// assert_eq!(ChildPolicy::default(), ChildPolicy::RequestAndWait);
/// assert_eq!(ChildPolicy::Leave.to_string(), "leave");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChildPolicy {
    /// The child is asked to cancel itself, and the parent does not end before the child has.
    #[default]
    RequestAndWait,
    /// The child is asked to cancel itself.
    Request,
    /// The child is terminated: its code is not asked, and its compensations are not executed.
    Terminate,
    /// The child goes on.
    Leave,
}

impl ChildPolicy {
    /// Every policy.
    pub(crate) const ALL: [Self; 4] = [Self::RequestAndWait, Self::Request, Self::Terminate, Self::Leave];

    /// The stored name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RequestAndWait => "request-and-wait",
            Self::Request => "request",
            Self::Terminate => "terminate",
            Self::Leave => "leave",
        }
    }

    /// The policy with this stored name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// Writes the stored name, such as `request-and-wait`.
impl fmt::Display for ChildPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is asked of a child that its parent has given up before it was known whether the child exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp(pub ChildPolicy);

/// The parent of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) run: RunId,
    /// The parent's durable call that started the run.
    pub(crate) call: CommandId,
}
