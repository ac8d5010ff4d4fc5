//! What a durable future tells the futures that are built on it. It must not know which future.

use std::rc::Rc;

use crate::workflow::scope::Scope;

/// A durable future: it knows the run that it belongs to, and says in words what it waits for.
pub(crate) trait Scoped {
    fn scope(&self) -> &Rc<Scope>;
    fn subject(&self) -> String;
}

impl<S: Scoped> Scoped for &mut S {
    fn scope(&self) -> &Rc<Scope> {
        (**self).scope()
    }

    fn subject(&self) -> String {
        (**self).subject()
    }
}
