//! `ctx.when_all`: waits for every branch, then returns the first error by position. It is built of ordinary
//! futures, has no command of its own, and must not know what its branches wait for.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use futures::StreamExt;
use futures::future::FusedFuture;
use futures::stream::FuturesUnordered;

use super::scoped::Scoped;
use super::select::Arm;
use super::timeout::Durable;
use crate::workflow::error::WorkflowResult;
use crate::workflow::scope::Scope;

/// The argument of `when_all`: a tuple of up to eight futures, or an iterator of futures of one type. `M` tells the
/// two apart and is always inferred.
pub trait Branches<M> {
    /// The values of all branches, if every branch succeeds.
    type Output;
    /// The future that waits for all branches.
    type Future: Future<Output = WorkflowResult<Self::Output>>;

    /// Joins the branches.
    fn join(self) -> Self::Future;
}

/// Marks [`Branches`] that are a tuple.
#[derive(Debug)]
pub enum Tuple {}

/// Marks [`Branches`] that are an iterator.
#[derive(Debug)]
pub enum Items {}

/// A future that waits for every branch: see [`Context::when_all`](crate::workflow::context::Context::when_all).
#[must_use = "the branches are polled when the future is awaited"]
pub struct WhenAll<M, B: Branches<M>> {
    scope: Rc<Scope>,
    joined: Option<Pin<Box<B::Future>>>,
    branches: PhantomData<fn() -> (M, B)>,
}

impl<M, B: Branches<M>> WhenAll<M, B> {
    pub(crate) fn new(scope: Rc<Scope>, branches: B) -> Self {
        Self { scope, joined: Some(Box::pin(branches.join())), branches: PhantomData }
    }
}

impl<M, B: Branches<M>> Unpin for WhenAll<M, B> {}

impl<M, B: Branches<M>> Future for WhenAll<M, B> {
    type Output = WorkflowResult<B::Output>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Some(joined) = &mut self.joined else { return Poll::Pending };
        let result = ready!(joined.as_mut().poll(task));
        self.joined = None;
        Poll::Ready(result)
    }
}

impl<M, B: Branches<M>> FusedFuture for WhenAll<M, B> {
    fn is_terminated(&self) -> bool {
        self.joined.is_none()
    }
}

impl<M, B: Branches<M>> Scoped for WhenAll<M, B> {
    fn scope(&self) -> &Rc<Scope> {
        &self.scope
    }

    fn subject(&self) -> String {
        "a branch of `when_all`".to_owned()
    }
}

impl<M, B: Branches<M>> Durable<B::Output> for WhenAll<M, B> {}
impl<M, B: Branches<M>> Arm for WhenAll<M, B> {}

impl<M, B: Branches<M>> fmt::Debug for WhenAll<M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WhenAll")
    }
}

impl<T, F, I> Branches<Items> for I
where
    I: IntoIterator<Item = F>,
    F: Future<Output = WorkflowResult<T>>,
{
    type Output = Vec<T>;
    type Future = JoinItems<T, F>;

    fn join(self) -> Self::Future {
        let mut results = Vec::new();
        let pending = FuturesUnordered::new();
        for (index, future) in self.into_iter().enumerate() {
            results.push(None);
            pending.push(Indexed { index, future: Box::pin(future) });
        }
        JoinItems { results, pending }
    }
}

/// Joins the futures of an iterator. When one branch wakes, only that branch is polled.
#[must_use = "futures do nothing unless polled"]
pub struct JoinItems<T, F> {
    results: Vec<Option<WorkflowResult<T>>>,
    pending: FuturesUnordered<Indexed<F>>,
}

impl<T, F> Unpin for JoinItems<T, F> {}

impl<T, F: Future<Output = WorkflowResult<T>>> Future for JoinItems<T, F> {
    type Output = WorkflowResult<Vec<T>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        while let Some((index, result)) = ready!(self.pending.poll_next_unpin(task)) {
            self.results[index] = Some(result);
        }
        Poll::Ready(std::mem::take(&mut self.results).into_iter().flatten().collect())
    }
}

impl<T, F> fmt::Debug for JoinItems<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinItems({} of {} pending)", self.pending.len(), self.results.len())
    }
}

/// A future that remembers its position.
pub(super) struct Indexed<F> {
    pub(super) index: usize,
    pub(super) future: Pin<Box<F>>,
}

impl<F: Future> Future for Indexed<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let output = ready!(self.future.as_mut().poll(task));
        Poll::Ready((self.index, output))
    }
}

/// A branch of a tuple: its future, then its result.
enum Branch<T, F> {
    Pending(Pin<Box<F>>),
    Done(WorkflowResult<T>),
}

impl<T, F: Future<Output = WorkflowResult<T>>> Branch<T, F> {
    /// Polls the branch if it is pending, and returns whether it is done.
    fn poll(&mut self, task: &mut TaskContext<'_>) -> bool {
        if let Self::Pending(future) = self {
            match future.as_mut().poll(task) {
                Poll::Pending => return false,
                Poll::Ready(result) => *self = Self::Done(result),
            }
        }
        true
    }

    fn into_result(self) -> WorkflowResult<T> {
        match self {
            Self::Done(result) => result,
            Self::Pending(_) => unreachable!("`when_all` collects its results when every branch is done"),
        }
    }
}

macro_rules! join_tuple {
    ($join:ident: $($future:ident $output:ident $field:ident),+) => {
        /// Joins the futures of a tuple.
        #[must_use = "futures do nothing unless polled"]
        pub struct $join<$($future, $output),+> {
            branches: Option<($(Branch<$output, $future>,)+)>,
        }

        impl<$($future, $output),+> Unpin for $join<$($future, $output),+> {}

        impl<$($future, $output),+> fmt::Debug for $join<$($future, $output),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($join))
            }
        }

        impl<$($future: Future<Output = WorkflowResult<$output>>, $output),+> Future
            for $join<$($future, $output),+>
        {
            type Output = WorkflowResult<($($output,)+)>;

            fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
                let Some(($($field,)+)) = &mut self.branches else { return Poll::Pending };
                // Polls every branch, because a short circuit would leave later branches without a waker.
                let done = [$($field.poll(task)),+];
                if done.contains(&false) {
                    return Poll::Pending;
                }
                match self.branches.take() {
                    Some(($($field,)+)) => Poll::Ready((|| Ok(($($field.into_result()?,)+)))()),
                    None => Poll::Pending,
                }
            }
        }

        impl<$($future: Future<Output = WorkflowResult<$output>>, $output),+> Branches<Tuple>
            for ($($future,)+)
        {
            type Output = ($($output,)+);
            type Future = $join<$($future, $output),+>;

            fn join(self) -> Self::Future {
                let ($($field,)+) = self;
                $join { branches: Some(($(Branch::Pending(Box::pin($field)),)+)) }
            }
        }
    };
}

join_tuple!(Join1: F1 T1 f1);
join_tuple!(Join2: F1 T1 f1, F2 T2 f2);
join_tuple!(Join3: F1 T1 f1, F2 T2 f2, F3 T3 f3);
join_tuple!(Join4: F1 T1 f1, F2 T2 f2, F3 T3 f3, F4 T4 f4);
join_tuple!(Join5: F1 T1 f1, F2 T2 f2, F3 T3 f3, F4 T4 f4, F5 T5 f5);
join_tuple!(Join6: F1 T1 f1, F2 T2 f2, F3 T3 f3, F4 T4 f4, F5 T5 f5, F6 T6 f6);
join_tuple!(Join7: F1 T1 f1, F2 T2 f2, F3 T3 f3, F4 T4 f4, F5 T5 f5, F6 T6 f6, F7 T7 f7);
join_tuple!(Join8: F1 T1 f1, F2 T2 f2, F3 T3 f3, F4 T4 f4, F5 T5 f5, F6 T6 f6, F7 T7 f7, F8 T8 f8);
