//! `ctx.record`: a value that the code makes once and every replay takes from the log. It is a local resolution.

use std::marker::PhantomData;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::future::{CallSite, DurableCall, DurableFuture, Opened};
use crate::log::event::Event;
use crate::workflow::command::{EVENT_BYTES, Source};
use crate::workflow::scope::Scope;
use crate::workflow::scope::call::Resolution;

/// A recorded value, made or taken from the log at the first poll, which is always ready.
pub type RecordFuture<T, F> = DurableFuture<RecordCall<T, F>>;

/// The closure that makes the value.
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

impl<T, F> DurableCall for RecordCall<T, F>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce() -> T,
{
    type Output = T;

    fn open(self, site: &CallSite) -> Option<Opened<T>> {
        let CallSite { scope, source, label } = site;
        let name = label.name.clone();
        let is_match =
            |local: &Event| matches!(local, Event::ValueRecorded { name: its, .. } if *its == name);
        let make = || {
            let value = scope.encode(label, &(self.make)())?;
            let size = EVENT_BYTES + value.bytes().len();
            Some((Event::ValueRecorded { name: name.clone(), value }, size))
        };
        let Event::ValueRecorded { value, .. } =
            scope.local(&format_args!("records {label}"), source, is_match, make)?
        else {
            return None;
        };
        // A new value is decoded as well, so that the code sees the same as in a replay.
        Some(Opened::Ready(scope.decode(label, &value)?))
    }

    fn is_immediate(&self, _: &CallSite) -> bool {
        true
    }

    fn value(_: &CallSite, _: Resolution) -> Option<T> {
        unreachable!("a recorded value is ready at its first poll")
    }
}
