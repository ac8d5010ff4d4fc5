//! Takes a call through its three fault points. It must not know what a call does.

use pgworkflows_core::Timestamp;
use pgworkflows_core::store::{Append, Claim, Heartbeat, Release, StoreError, Submission};

use super::MemoryStore;
use crate::faults::{ByteSize, Call, Fault, FaultPoint, SessionNo, Stage};
use crate::state::{State, SubmitStep};

impl MemoryStore {
    /// Makes a call that takes effect atomically, after its commit point.
    pub(super) async fn call<T: ByteSize>(
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
    pub(super) async fn request(
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
    pub(super) async fn commit(&self, session: Option<SessionNo>, call: Call<'_>) -> Result<(), StoreError> {
        self.pass(&FaultPoint { session, call, stage: Stage::Commit, bytes: 0 }).await
    }

    /// Passes the last point. The request has taken effect; a late duplicate of it may stay in flight.
    pub(super) async fn acknowledge<T: ByteSize>(
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

/// A request that is still in flight although its caller gave it up.
pub(super) enum Lingering {
    Queue(String, u16),
    Submit(Vec<Submission>),
    Claim(Claim),
    Heartbeat(Heartbeat),
    Append(Append),
    Release(Release),
}

impl Lingering {
    /// The request, if it can have an effect.
    fn of(call: Call<'_>) -> Option<Self> {
        match call {
            Call::Queue { name, shards } => Some(Self::Queue(name.to_owned(), shards)),
            Call::Submit(submissions) => Some(Self::Submit(submissions.to_vec())),
            Call::Claim(claim) => Some(Self::Claim(claim.clone())),
            Call::Heartbeat(heartbeat) => Some(Self::Heartbeat(heartbeat.clone())),
            Call::Append(append) => Some(Self::Append(append.clone())),
            Call::Release(release) => Some(Self::Release(*release)),
            Call::Session
            | Call::Watch(_)
            | Call::ReadInbox(_)
            | Call::Unparked(_)
            | Call::Load(_)
            | Call::DueRuns(_)
            | Call::Describe(_)
            | Call::Find { .. }
            | Call::List { .. }
            | Call::History { .. } => None,
        }
    }

    /// Takes effect. The answer is dropped.
    pub(super) fn take_effect(self, state: &mut State, now: Timestamp) {
        match self {
            Self::Queue(name, shards) => drop(state.queue(now, &name, shards)),
            Self::Submit(submissions) => submit(state, &submissions),
            Self::Claim(claim) => drop(state.claim(now, &claim)),
            Self::Heartbeat(heartbeat) => drop(state.heartbeat(now, &heartbeat)),
            Self::Append(append) => drop(state.append(now, &append)),
            Self::Release(release) => state.release(&release),
        }
    }
}

/// Submits without waiting: if another open transaction blocks it, it is rolled back, as by a lock timeout.
fn submit(state: &mut State, submissions: &[Submission]) {
    let transaction = state.begin();
    let is_done = |step| matches!(step, Ok(SubmitStep::Done(_)));
    if submissions.iter().all(|submission| is_done(state.submit(transaction, submission))) {
        drop(state.commit(transaction));
    } else {
        state.roll_back(transaction);
    }
}
