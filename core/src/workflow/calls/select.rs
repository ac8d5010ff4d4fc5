//! `select!`: waits for the first of several durable futures. They are polled in the order in which they are written, so a
//! replay decides as the first execution did. It has no command of its own, and must not know what its arms wait for.

use std::convert::Infallible;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use futures::future::FusedFuture;

use super::scoped::Scoped;
use crate::workflow::command::Source;

/// A future that may be an arm of [`select!`](crate::select): every durable future, `&mut` of one, and a
/// [branch](crate::workflow::Context::branch).
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows::workflow::race::Arm;
///
/// fn takes_an_arm(_: impl Arm) {}
///
/// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
/// let mut nap = ctx.sleep(Duration::from_secs(60));
/// takes_an_arm(&mut nap);
/// takes_an_arm(ctx.branch(async { 7 }));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no arm of `select!`",
    label = "not a durable future, `&mut` of one, or a branch",
    note = "make a branch of other code: `ctx.branch(async {{ … }})`"
)]
#[expect(private_bounds, reason = "sealed: an arm knows the run that it belongs to")]
pub trait Arm: FusedFuture + Scoped + Unpin {}

impl<A: Arm> Arm for &mut A {}

/// The arms of a [`select!`](crate::select), which expands to this: the first arm, and all after it.
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows::workflow::race::{Arms, NoArm, Winner};
///
/// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
/// let arms = Arms::new(ctx.sleep(Duration::from_secs(1)), Arms::new(ctx.branch(async { 7 }), NoArm));
/// match arms.first().await {
///     Winner::This(slept) => slept?,
///     Winner::Other(Winner::This(number)) => assert_eq!(number, 7),
///     Winner::Other(Winner::Other(none)) => match none {},
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Arms<A, R> {
    arm: A,
    others: R,
}

/// The end of a list of [`Arms`].
#[derive(Debug)]
pub struct NoArm;

/// The output of the arm that was ready first: of this arm, or of one after it. See the example of [`Arms`].
#[derive(Debug)]
pub enum Winner<T, R> {
    /// This arm was ready.
    This(T),
    /// One of the arms after it was ready.
    Other(R),
}

/// A list of [`Arms`], or its end.
pub trait Race {
    /// The output of the first arm that is ready.
    type Winner;

    /// Polls the arms in their order, up to the first that is ready; `None` if all were done before.
    fn poll_arms(&mut self, task: &mut TaskContext<'_>) -> Poll<Option<Self::Winner>>;
}

impl Race for NoArm {
    type Winner = Infallible;

    fn poll_arms(&mut self, _: &mut TaskContext<'_>) -> Poll<Option<Infallible>> {
        Poll::Ready(None)
    }
}

impl<A: Arm, R: Race> Race for Arms<A, R> {
    type Winner = Winner<A::Output, R::Winner>;

    fn poll_arms(&mut self, task: &mut TaskContext<'_>) -> Poll<Option<Self::Winner>> {
        let is_done = self.arm.is_terminated();
        if !is_done && let Poll::Ready(output) = Pin::new(&mut self.arm).poll(task) {
            return Poll::Ready(Some(Winner::This(output)));
        }
        match self.others.poll_arms(task) {
            Poll::Ready(Some(other)) => Poll::Ready(Some(Winner::Other(other))),
            Poll::Ready(None) if is_done => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<A: Arm, R: Race> Arms<A, R> {
    /// Puts an arm before others. See the example [above](Arms).
    pub fn new(arm: A, others: R) -> Self {
        Self { arm, others }
    }

    /// Waits for the first arm that is ready. If all are done, the run stalls. See the example [above](Arms).
    #[track_caller]
    pub fn first(self) -> First<A, R> {
        First { arms: self, source: Location::caller() }
    }

    /// The same, but `None` if all arms are done. See the example [above](Arms).
    pub fn first_unless_complete(self) -> FirstUnlessComplete<A, R> {
        FirstUnlessComplete { arms: self }
    }
}

/// Waits for the first of several arms: see [`Arms::first`].
#[derive(Debug)]
#[must_use = "the arms are polled when the future is awaited"]
pub struct First<A, R> {
    arms: Arms<A, R>,
    source: Source,
}

impl<A, R> Unpin for First<A, R> {}

impl<A: Arm, R: Race> Future for First<A, R> {
    type Output = Winner<A::Output, R::Winner>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match self.arms.poll_arms(task) {
            Poll::Ready(Some(winner)) => Poll::Ready(winner),
            Poll::Ready(None) => {
                self.arms.arm.scope().fault(format!(
                    "all arms of `select!` at {} are done, so none can be the first; say what to do then, by a last arm \
                     `complete => …`",
                    self.source
                ));
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Waits for the first of several arms, unless all are done: see [`Arms::first_unless_complete`].
#[derive(Debug)]
#[must_use = "the arms are polled when the future is awaited"]
pub struct FirstUnlessComplete<A, R> {
    arms: Arms<A, R>,
}

impl<A, R> Unpin for FirstUnlessComplete<A, R> {}

impl<A: Arm, R: Race> Future for FirstUnlessComplete<A, R> {
    type Output = Option<Winner<A::Output, R::Winner>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.arms.poll_arms(task)
    }
}

/// Waits for the first of several durable futures, and cancels the others.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// const APPROVED: Signal<bool> = Signal::new("approved");
///
/// #[workflow(name = "approval")]
/// async fn approval(ctx: Context) -> WorkflowResult<String> {
///     pgworkflows::select! {
///         approved = ctx.wait_for(APPROVED) => Ok(format!("approved: {}", approved?)),
///         slept = ctx.sleep(Duration::from_secs(24 * 3600)) => {
///             slept?;
///             Ok("nobody answered".to_owned())
///         }
///     }
/// }
/// ```
///
/// An arm is `pattern = future => body`. The futures are durable futures, `&mut` of them, or
/// [branches](crate::workflow::Context::branch), which make a future of any code. The bodies have one type, which is that
/// of the whole expression; `?`, `return`, `break` and `continue` mean in them what they mean around it. The pattern must
/// fit every value: match in the body.
///
/// # Order
///
/// The futures are made and polled **in the order in which they are written**. If two are ready at once, the first one
/// wins; in a replay, too. That is the difference to `tokio::select!` and `futures::select!`, which poll in random order and
/// must not be used in a workflow: their code takes another way in a replay, and the run stalls.
///
/// # What happens to the others
///
/// All other futures that the arms own are dropped before the body begins, which cancels what they asked for. **So an
/// arm that is made within a loop is cancelled and made anew in each round**: a timer starts again, and an activity is
/// scheduled again. To keep it, make it before the loop and pass `&mut`:
///
/// ```
/// # use pgworkflows::prelude::*;
/// # const ITEM: Signal<u64> = Signal::new("item");
/// async fn collect(ctx: &Context) -> WorkflowResult<u64> {
///     let mut closing = ctx.sleep(Duration::from_secs(3600));
///     let mut sum = 0;
///     loop {
///         pgworkflows::select! {
///             item = ctx.wait_for(ITEM) => sum += item?,
///             closed = &mut closing => return closed.map(|()| sum),
///         }
///     }
/// }
/// ```
///
/// # When all are done
///
/// A future that was ready before is not polled again. If all are, the last arm `complete => body` is taken; without it, the
/// run stalls and the diagnosis says so.
///
/// ```
/// # use pgworkflows::prelude::*;
/// async fn both(ctx: &Context) -> WorkflowResult<()> {
///     let mut one = ctx.sleep(Duration::from_secs(1));
///     let mut two = ctx.sleep(Duration::from_secs(2));
///     loop {
///         pgworkflows::select! {
///             slept = &mut one => slept?,
///             slept = &mut two => slept?,
///             complete => return Ok(()),
///         }
///     }
/// }
/// ```
///
/// # Compile errors
///
/// There is no `biased;`, because the order is always the written one. There are no guards: make the arm or leave it out
/// by an `if` around the `select!`, or wait for less within a branch. There is no `else` and no `default`, because the
/// code cannot know whether an outcome is about to arrive.
#[macro_export]
macro_rules! select {
    () => {
        ::core::compile_error!("`select!` has no arms: write at least one `pattern = future => body`")
    };
    (@parse [$($arm:tt)*]) => {
        $crate::select!(@wait [$($arm)*])
    };
    (@parse [] complete => $done:expr $(,)?) => {
        ::core::compile_error!("`select!` has no arms except `complete`: write at least one `pattern = future => body`")
    };
    (@parse [$($arm:tt)*] complete => $done:expr $(,)?) => {
        $crate::select!(@wait [$($arm)*] $done)
    };
    (@parse [$($arm:tt)*] complete => $done:block $($rest:tt)+) => {
        ::core::compile_error!("`complete => …` is not the last arm of `select!`: write it after the others")
    };
    (@parse [$($arm:tt)*] complete => $done:expr, $($rest:tt)+) => {
        ::core::compile_error!("`complete => …` is not the last arm of `select!`: write it after the others")
    };
    (@parse [$($arm:tt)*] else => $($rest:tt)*) => {
        ::core::compile_error!("`select!` has no `else`: use `complete => …` for the case that all arms are done")
    };
    (@parse [$($arm:tt)*] default => $($rest:tt)*) => {
        ::core::compile_error!(
            "`select!` has no `default`: a workflow cannot know whether an outcome is about to arrive; wait with \
             `.timeout(…)` instead"
        )
    };
    (@parse [$($arm:tt)*] $pattern:pat = $future:expr => $body:block, $($rest:tt)*) => {
        $crate::select!(@parse [$($arm)* ($pattern, $future, $body)] $($rest)*)
    };
    (@parse [$($arm:tt)*] $pattern:pat = $future:expr => $body:block $($rest:tt)*) => {
        $crate::select!(@parse [$($arm)* ($pattern, $future, $body)] $($rest)*)
    };
    (@parse [$($arm:tt)*] $pattern:pat = $future:expr => $body:expr, $($rest:tt)*) => {
        $crate::select!(@parse [$($arm)* ($pattern, $future, $body)] $($rest)*)
    };
    (@parse [$($arm:tt)*] $pattern:pat = $future:expr => $body:expr) => {
        $crate::select!(@parse [$($arm)* ($pattern, $future, $body)])
    };
    (@parse [$($arm:tt)*] $pattern:pat = $future:expr, if $($rest:tt)*) => {
        $crate::select!(@guard)
    };
    (@parse [$($arm:tt)*] $pattern:pat if $($rest:tt)*) => {
        $crate::select!(@guard)
    };
    (@parse $($rest:tt)*) => {
        ::core::compile_error!(
            "this is no arm of `select!`: an arm is `pattern = future => body`, with a comma after it unless the body is \
             a block"
        )
    };
    (@guard) => {
        ::core::compile_error!(
            "the arms of `select!` have no guards (`if …`): put the condition into a branch, `ctx.branch(async { … })`, or \
             write an `if` around the `select!`"
        )
    };
    (@wait [$(($pattern:pat, $future:expr, $body:expr))+]) => {{
        let winner = $crate::select!(@arms $(($future))+).first().await;
        $crate::select!(@take winner $(($pattern, $body))+)
    }};
    (@wait [$(($pattern:pat, $future:expr, $body:expr))+] $done:expr) => {{
        let winner = $crate::select!(@arms $(($future))+).first_unless_complete().await;
        match winner {
            ::core::option::Option::Some(winner) => $crate::select!(@take winner $(($pattern, $body))+),
            ::core::option::Option::None => $done,
        }
    }};
    (@arms) => {
        $crate::workflow::race::NoArm
    };
    (@arms ($future:expr) $($rest:tt)*) => {
        $crate::workflow::race::Arms::new($future, $crate::select!(@arms $($rest)*))
    };
    (@take $winner:ident) => {
        match $winner {}
    };
    (@take $winner:ident ($pattern:pat, $body:expr) $($rest:tt)*) => {
        match $winner {
            $crate::workflow::race::Winner::This(output) => {
                let $pattern = output;
                $body
            }
            $crate::workflow::race::Winner::Other(winner) => $crate::select!(@take winner $($rest)*),
        }
    };
    (biased; $($rest:tt)*) => {
        ::core::compile_error!(
            "`select!` needs no `biased;`: it always polls its arms in the order in which they are written; leave it out"
        )
    };
    ($($arms:tt)+) => {
        $crate::select!(@parse [] $($arms)+)
    };
}
