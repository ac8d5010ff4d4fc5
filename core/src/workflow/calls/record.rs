//! `ctx.record`: a value that the code makes once and finds again in every replay. It is a local resolution.

use std::marker::PhantomData;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::future::{Call, DurableFuture, Opened, Site};
use crate::data::name::Name;
use crate::log::event::Event;
use crate::workflow::command::{EVENT_BYTES, Source};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::Resolution;

/// A recorded value, made or found when this future is first polled: it is ready then.
pub type RecordFuture<T, F> = DurableFuture<RecordCall<T, F>>;

/// What makes the value.
#[derive(Debug)]
pub struct RecordCall<T, F> {
    make: F,
    value: PhantomData<fn() -> T>,
}

impl<T, F> DurableFuture<RecordCall<T, F>> {
    pub(crate) fn record(scope: &Rc<Scope>, name: &'static str, make: F, source: Source) -> Self {
        Self::new(scope, "value", name, source, RecordCall { make, value: PhantomData })
    }
}

impl<T, F> Call for RecordCall<T, F>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce() -> T,
{
    type Output = T;

    fn open(self, site: &Site) -> Option<Opened<T>> {
        let Site { scope, source, label } = site;
        let name = Name::from_static(label.name);
        let is_it = |local: &Event| matches!(local, Event::ValueRecorded { name: its, .. } if *its == name);
        let make = || {
            let value = scope.encode(label, &(self.make)())?;
            let size = EVENT_BYTES + value.bytes().len();
            Some((Event::ValueRecorded { name: name.clone(), value }, size))
        };
        let Event::ValueRecorded { value, .. } = scope.local(label, source, is_it, make)? else {
            return None;
        };
        // What was just made is read back as well: so the code sees the same in every replay.
        Some(Opened::Ready(scope.decode(label, &value)?))
    }

    fn value(_: &Site, _: Resolution) -> Option<T> {
        unreachable!("a recorded value is ready when it is asked for")
    }
}
