//! Runs whose children are to live in a queue that the worker did not know: they have stalled until the store was asked. It must
//! not know who asks it.

use crate::data::id::RunId;
use crate::processor::Processor;

impl Processor {
    /// The queues of the store are known, for which these runs have stalled: they are tried again.
    pub(crate) fn queues_known(&mut self, runs: Vec<RunId>) {
        for run in runs {
            let mut recorder = self.recorder();
            match recorder.runs.get_mut(run) {
                Some(live) if live.state().stalled.is_some() => {
                    live.resume();
                    recorder.evict_if_idle(run);
                }
                Some(_) => {}
                None if recorder.shards.serves(run.shard()) => recorder.admission().want(run, Vec::new()),
                None => {}
            }
        }
    }
}
