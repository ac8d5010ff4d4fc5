//! Takes a call through its three fault points. It must not know what a call does.

use pgworkflows_core::Timestamp;
use pgworkflows_core::store::StoreError;

use crate::faults::{Call, Fault, FaultPoint, SessionNo, Stage};
use crate::lingering::Lingering;
use crate::size::ByteSize;
use crate::state::State;
use crate::store::MemoryStore;

impl MemoryStore {
    /// Makes a call that takes effect atomically, after its commit point.
    pub(crate) async fn call<T: ByteSize>(
        &self,
        session: Option<SessionNo>,
        call: Call<'_>,
        operation: impl Fn(&mut State, Timestamp) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.0.faults.is_none() {
            return self.apply(operation);
        }
        let deliveries = self.request(session, call).await?;
        self.commit(session, call).await?;
        let answer = self.apply(&operation);
        for _ in 1..deliveries {
            // The answer to a repeated delivery is dropped.
            let _ = self.apply(&operation);
        }
        self.acknowledge(session, call, answer).await
    }

    /// Passes the first point, and returns how often the request is delivered.
    pub(crate) async fn request(
        &self,
        session: Option<SessionNo>,
        call: Call<'_>,
    ) -> Result<u32, StoreError> {
        let point = FaultPoint { session, call, stage: Stage::Request, bytes: call.bytes() };
        match self.fault(&point) {
            Fault::Proceed => Ok(1),
            Fault::Repeat => Ok(2),
            Fault::Delay(delay) => {
                let mut under_way = UnderWay { store: self, point, arrived: false };
                delay.await;
                under_way.arrived = true;
                Ok(1)
            }
            Fault::Lose => Err(lost(Stage::Request)),
            Fault::Linger => {
                self.linger(call);
                Err(lost(Stage::Request))
            }
            Fault::Refuse(error) => Err(error),
        }
    }

    /// Passes the second point.
    pub(crate) async fn commit(&self, session: Option<SessionNo>, call: Call<'_>) -> Result<(), StoreError> {
        self.pass(&FaultPoint { session, call, stage: Stage::Commit, bytes: 0 }).await
    }

    /// Passes the last point. The request has taken effect; a late duplicate of it may stay in flight.
    pub(crate) async fn acknowledge<T: ByteSize>(
        &self,
        session: Option<SessionNo>,
        call: Call<'_>,
        answer: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let bytes = answer.as_ref().map_or(0, ByteSize::bytes);
        let point = FaultPoint { session, call, stage: Stage::Acknowledgement, bytes };
        if self.0.faults.as_ref().is_some_and(|faults| faults.arrives_again(&point)) {
            self.linger(call);
        }
        self.pass(&point).await?;
        answer
    }

    /// Keeps a request in flight after its caller gave it up.
    fn linger(&self, call: Call<'_>) {
        self.lingering().extend(Lingering::of(call));
    }

    async fn pass(&self, point: &FaultPoint<'_>) -> Result<(), StoreError> {
        match self.fault(point) {
            Fault::Proceed | Fault::Repeat => Ok(()),
            Fault::Delay(delay) => {
                delay.await;
                Ok(())
            }
            Fault::Lose | Fault::Linger => Err(lost(point.stage)),
            Fault::Refuse(error) => Err(error),
        }
    }

    fn fault(&self, point: &FaultPoint<'_>) -> Fault {
        self.0.faults.as_ref().map_or(Fault::Proceed, |faults| faults.at(point))
    }
}

/// A request in flight. Its caller may drop the call before it arrives.
struct UnderWay<'a> {
    store: &'a MemoryStore,
    point: FaultPoint<'a>,
    arrived: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let faults = self.store.0.faults.as_ref();
        if !self.arrived && faults.is_some_and(|faults| faults.outlives_caller(&self.point)) {
            self.store.linger(self.point.call);
        }
    }
}

/// The error of a lost call. It is of the same kind at every stage; the stage is there for the reader of a trace.
fn lost(stage: Stage) -> StoreError {
    StoreError::unavailable(format!(
        "an injected fault lost the call at its {stage:?} point; its outcome is unknown"
    ))
}
