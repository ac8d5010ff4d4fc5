//! Where a bug can be put into a world, so that it is found there. It must not know any bug.

use std::fmt;
use std::sync::Arc;

use pgworkflows_core::store::Store;
use pgworkflows_memory::{Flaws, MemoryStore};

/// Makes the store that workers see.
type Around = dyn Fn(&MemoryStore) -> Arc<dyn Store>;

/// The seams of a world; by default there is nothing in them.
#[derive(Default)]
pub(crate) struct Seams {
    /// What is wrong in the store.
    pub(crate) flaws: Flaws,
    /// What lies between the store and the workers.
    pub(crate) around: Option<Box<Around>>,
    /// Whether workers may send what they must not.
    pub(crate) requests_unchecked: bool,
}

impl Seams {
    /// The store as workers see it.
    pub(crate) fn seen_by_workers(&self, store: &MemoryStore) -> Arc<dyn Store> {
        self.around.as_ref().map_or_else(|| Arc::new(store.clone()) as _, |around| around(store))
    }
}

impl fmt::Debug for Seams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seams").field("flaws", &self.flaws).finish_non_exhaustive()
    }
}
