//! Histories in small parts: a store returns as many bytes of frames as it is asked for, and the engine asks for more than
//! a world ever has. It must not know what a history says.

use async_trait::async_trait;
use pgworkflows_core::store::{Load, Loaded, RunHistory, Session, Store, StoreError};
use pgworkflows_core::{Error, RunId};
use pgworkflows_memory::MemoryStore;
use pgworkflows_testkit::interceptor::Interceptor;

/// Has histories loaded in parts of this many bytes.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) bytes: usize,
}

#[async_trait]
impl Interceptor for Pages {
    async fn load(&self, session: &mut dyn Session, load: &Load) -> Result<Loaded, StoreError> {
        session.load(&Load { bytes: load.bytes.min(self.bytes), ..load.clone() }).await
    }
}

/// Reads the frames of a run in parts of this many bytes.
pub(crate) async fn read_in_parts(
    store: &MemoryStore,
    run: RunId,
    bytes: usize,
) -> Result<RunHistory, Error> {
    let mut read = RunHistory { run, frames: Vec::new() };
    loop {
        let after = read.frames.last().map(|frame| frame.seq);
        let loaded = store.query().load(&Load { runs: vec![run], after, bytes }).await?;
        read.frames.extend(loaded.histories.into_iter().flat_map(|part| part.frames));
        if loaded.cut.is_none() {
            return Ok(read);
        }
    }
}
