//! Builds: which workflows a worker knows, and how new its code is. It must not know who owns which shard.

use std::collections::BTreeSet;

use crate::data::name::Name;

/// What a worker can execute, as it says when it claims a lease. The workers of a queue may be of different builds: during
/// a deploy, or because two programs share the queue.
///
/// ```
/// use pgworkflows::store::Build;
///
/// let build = |generation, workflows: &[&str]| Build {
///     generation,
///     workflows: workflows.iter().map(|name| (*name).into()).collect(),
/// };
/// let old = build(7, &["signup"]);
/// assert!(build(8, &["signup"]).outdates(&old), "it is newer");
/// assert!(build(2, &["invoice", "signup"]).outdates(&old), "it knows more");
/// assert!(!build(9, &["invoice"]).outdates(&old), "neither knows all that the other knows");
/// assert!(old.succeeds(&old) && !old.outdates(&old));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// How new the code is: a greater number is newer code.
    pub generation: u64,
    /// The names of the workflows that it knows.
    pub workflows: BTreeSet<Name>,
}

impl Build {
    /// Whether shards may go from a worker of the other build to one of this build: it knows more workflows, or the same ones
    /// and is at least as new.
    pub fn succeeds(&self, other: &Self) -> bool {
        self.workflows.is_superset(&other.workflows)
            && (self.workflows != other.workflows || self.generation >= other.generation)
    }

    /// Whether it succeeds the other build, but not the reverse.
    pub fn outdates(&self, other: &Self) -> bool {
        self != other && self.succeeds(other)
    }

    /// Whether it knows all of these workflows.
    pub fn knows<'a>(&self, workflows: impl IntoIterator<Item = &'a Name>) -> bool {
        workflows.into_iter().all(|workflow| self.workflows.contains(workflow))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn builds() -> impl Strategy<Value = Build> {
        let workflows = proptest::collection::btree_set(0_u8..4, 0..4);
        (0_u64..4, workflows).prop_map(|(generation, workflows)| Build {
            generation,
            workflows: workflows.into_iter().map(|name| name.to_string().into()).collect(),
        })
    }

    proptest! {
        /// So that among any live workers there is one that nobody outdates, and every shard finds an owner.
        #[test]
        fn builds_are_partly_ordered(one in builds(), other in builds(), third in builds()) {
            prop_assert!(!one.outdates(&one));
            prop_assert!(!(one.outdates(&other) && other.outdates(&one)));
            if one.outdates(&other) && other.outdates(&third) {
                prop_assert!(one.outdates(&third));
            }
            if one.outdates(&other) {
                prop_assert!(one.knows(&other.workflows));
            }
        }
    }
}
