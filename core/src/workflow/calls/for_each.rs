//! `ctx.for_each`: one branch for each item, a limited number at a time. It has no command of its own, and must not know
//! what its branches do.

use std::fmt;
use std::future::Future;
use std::iter::Fuse;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use futures::StreamExt;
use futures::future::FusedFuture;
use futures::stream::FuturesUnordered;

use super::scoped::Scoped;
use super::select::Arm;
use super::timeout::Durable;
use super::when_all::Indexed;
use crate::workflow::call_error::BranchError;
use crate::workflow::command::Source;
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;

/// Executes a branch for each item, and returns their values in the order of the items, or the error of the first branch
/// that fails: see [`Context::for_each`](crate::workflow::context::Context::for_each).
#[must_use = "the branches begin when the future is awaited"]
pub struct ForEach<I: Iterator, F, B: Future>(FanOut<I, F, B>);

/// The same, but it waits for all branches and returns all their results: see [`ForEach::settle`].
#[must_use = "the branches begin when the future is awaited"]
pub struct Settle<I: Iterator, F, B: Future>(FanOut<I, F, B>);

struct FanOut<I: Iterator, F, B: Future> {
    scope: Rc<Scope>,
    source: Source,
    items: Fuse<I>,
    make: F,
    limit: usize,
    open: FuturesUnordered<Indexed<B>>,
    /// The results of the branches that began, in the order of their items.
    results: Vec<Option<B::Output>>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Open {
        /// How many cancellations had reached the code when the first branch began.
        cancellations: usize,
    },
    Done,
}

impl<I: Iterator, F, B: Future> ForEach<I, F, B> {
    pub(crate) fn new(scope: &Rc<Scope>, items: I, make: F, source: Source) -> Self {
        let (open, results) = (FuturesUnordered::new(), Vec::new());
        let (scope, items) = (Rc::clone(scope), items.fuse());
        Self(FanOut { scope, source, items, make, limit: usize::MAX, open, results, phase: Phase::New })
    }

    /// Sets how many branches are open at a time, at least 1. By default all are: then the first poll makes the first calls
    /// of all branches, which may be at most 20,000. See [`Context::for_each`](crate::workflow::context::Context::for_each).
    ///
    /// # Errors
    /// A limit of zero, or one that is set after the first poll, stalls the run.
    #[track_caller]
    pub fn limit(mut self, limit: usize) -> Self {
        let problem = if self.0.phase != Phase::New {
            "after its first poll; set it before the future is polled"
        } else if limit == 0 {
            "to zero, so that no branch could begin; give at least 1"
        } else {
            self.0.limit = limit;
            return self;
        };
        let (at, source) = (Location::caller(), self.0.source);
        self.0.scope.fault(format!("the limit of `for_each` at {source} is set at {at}, {problem}"));
        self
    }

    /// Waits for all branches, also after one has failed, and returns the results of all in the order of the items.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Send: Activity<Input = String, Output = ()>>(ctx: Context, to: Vec<String>) -> WorkflowResult<usize> {
    /// let sent = ctx.for_each(to, |to| ctx.activity::<Send>(to)).limit(20).settle().await?;
    /// Ok(sent.iter().filter(|sent| sent.is_err()).count())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns an error only if the run is cancelled before all branches have results of their own. No branch
    /// begins after that. It is Ok if all began and wait for their
    /// [outcomes](crate::workflow::DurableFuture::wait_for_outcome) nevertheless.
    pub fn settle(self) -> Settle<I, F, B> {
        Settle(self.0)
    }
}

impl<I: Iterator, F: FnMut(I::Item) -> B, B: Future> FanOut<I, F, B> {
    /// Begins branches up to the limit, and returns the next branch that is done; `None` if no more will be.
    fn poll_next(&mut self, task: &mut TaskContext<'_>) -> Poll<Option<usize>> {
        if self.phase == Phase::New {
            self.phase = Phase::Open { cancellations: self.scope.cancellations() };
        }
        while self.open.len() < self.limit && !self.is_cancelled() {
            let Some(item) = self.items.next() else { break };
            let index = self.results.len();
            self.results.push(None);
            self.open.push(Indexed { index, future: Box::pin((self.make)(item)) });
        }
        let Some((index, result)) = ready!(self.open.poll_next_unpin(task)) else { return Poll::Ready(None) };
        self.results[index] = Some(result);
        Poll::Ready(Some(index))
    }

    /// Whether the run or its scope was cancelled since the first branch began.
    fn is_cancelled(&self) -> bool {
        let Phase::Open { cancellations } = self.phase else { return false };
        self.scope.cancellations() > cancellations
    }

    /// Whether an item is left that was not begun, because of a cancellation. That one is then cancelled in place of a call.
    fn is_cut_short(&mut self) -> bool {
        let is_cut_short = self.is_cancelled() && self.items.next().is_some();
        if is_cut_short {
            self.scope.take_latched();
        }
        is_cut_short
    }

    /// Drops what is open, which cancels it, and returns the results.
    fn end(&mut self) -> Vec<Option<B::Output>> {
        self.phase = Phase::Done;
        self.open = FuturesUnordered::new();
        std::mem::take(&mut self.results)
    }
}

impl<I: Iterator, F, B: Future> Unpin for ForEach<I, F, B> {}
impl<I: Iterator, F, B: Future> Unpin for Settle<I, F, B> {}

impl<T, E, I, F, B> Future for ForEach<I, F, B>
where
    E: BranchError,
    I: Iterator,
    F: FnMut(I::Item) -> B,
    B: Future<Output = Result<T, E>>,
{
    type Output = Result<Vec<T>, E>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let all = &mut self.0;
        if all.phase == Phase::Done {
            return Poll::Pending;
        }
        while let Some(index) = ready!(all.poll_next(task)) {
            if matches!(all.results[index], Some(Err(_))) {
                let failed = all.end().swap_remove(index);
                return Poll::Ready(failed.into_iter().collect());
            }
        }
        let cut_short = all.is_cut_short();
        let values = all.end();
        if cut_short {
            return Poll::Ready(Err(WorkflowError::cancelled().into()));
        }
        Poll::Ready(values.into_iter().flatten().collect())
    }
}

impl<T, E, I, F, B> Future for Settle<I, F, B>
where
    E: BranchError,
    I: Iterator,
    F: FnMut(I::Item) -> B,
    B: Future<Output = Result<T, E>>,
{
    type Output = WorkflowResult<Vec<Result<T, E>>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let all = &mut self.0;
        if all.phase == Phase::Done {
            return Poll::Pending;
        }
        while ready!(all.poll_next(task)).is_some() {}
        let cut_short = all.is_cut_short();
        let results: Vec<Result<T, E>> = all.end().into_iter().flatten().collect();
        let is_cancelled = |result: &Result<T, E>| result.as_ref().is_err_and(BranchError::is_cancelled);
        if cut_short || results.iter().any(is_cancelled) {
            return Poll::Ready(Err(WorkflowError::cancelled()));
        }
        Poll::Ready(Ok(results))
    }
}

macro_rules! durable {
    ($name:ident, $output:ty, $error:ty) => {
        impl<T, E, I, F, B> FusedFuture for $name<I, F, B>
        where
            E: BranchError,
            I: Iterator,
            F: FnMut(I::Item) -> B,
            B: Future<Output = Result<T, E>>,
        {
            fn is_terminated(&self) -> bool {
                self.0.phase == Phase::Done
            }
        }

        impl<I: Iterator, F, B: Future> Scoped for $name<I, F, B> {
            fn scope(&self) -> &Rc<Scope> {
                &self.0.scope
            }

            fn subject(&self) -> String {
                format!("a branch of `for_each` at {}", self.0.source)
            }
        }

        impl<T, E, I, F, B> Durable<$output, $error> for $name<I, F, B>
        where
            E: BranchError,
            I: Iterator,
            F: FnMut(I::Item) -> B,
            B: Future<Output = Result<T, E>>,
        {
        }

        impl<T, E, I, F, B> Arm for $name<I, F, B>
        where
            E: BranchError,
            I: Iterator,
            F: FnMut(I::Item) -> B,
            B: Future<Output = Result<T, E>>,
        {
        }

        impl<I: Iterator, F, B: Future> fmt::Debug for $name<I, F, B> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (open, begun) = (self.0.open.len(), self.0.results.len());
                write!(f, concat!(stringify!($name), "({} of {} begun are open)"), open, begun)
            }
        }
    };
}

durable!(ForEach, Vec<T>, E);
durable!(Settle, Vec<Result<T, E>>, WorkflowError);
