//! The updates of a run that nothing has taken yet, and the checks of those that its code has named. It must not know how an
//! update is answered.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Scope;
use super::arrivals::Arrivals;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::workflow::update::Refusal;

/// Says why a request is refused.
pub(crate) type RequestCheck = dyn Fn(&Payload) -> Result<(), Refusal>;

/// The updates of a run. Boxed, because most runs have none.
#[derive(Default)]
pub(super) struct Updates(Option<Box<Named>>);

#[derive(Default)]
struct Named {
    arrivals: Arrivals,
    checks: BTreeMap<Name, Rc<RequestCheck>>,
}

impl Updates {
    pub(super) fn arrivals(&mut self) -> &mut Arrivals {
        &mut self.0.get_or_insert_default().arrivals
    }

    /// Those that nothing has taken, if there ever were any.
    pub(super) fn seen(&self) -> Option<&Arrivals> {
        self.0.as_ref().map(|named| &named.arrivals)
    }
}

impl Scope {
    /// From now on, requests of this update are checked before they are delivered.
    pub(crate) fn check_by(&self, update: &Name, check: impl Fn(&Payload) -> Result<(), Refusal> + 'static) {
        let mut inner = self.inner.borrow_mut();
        let checks = &mut inner.updates.0.get_or_insert_default().checks;
        if !checks.contains_key(update) {
            checks.insert(update.clone(), Rc::new(check));
        }
    }

    /// The check of an update that the code has named.
    pub(crate) fn check_of(&self, update: &Name) -> Option<Rc<RequestCheck>> {
        let inner = self.inner.borrow();
        inner.updates.0.as_ref()?.checks.get(update).cloned()
    }
}
