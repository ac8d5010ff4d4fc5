//! Every order in which things can reach a run, tried one after another on the real engine. It must not know what the
//! workflow does.

mod arrival;
mod chooser;
mod failure;
pub(crate) mod held;
mod orders;
mod play;
mod problem;
mod scope;

use std::collections::BTreeSet;
use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;

use futures::future::LocalBoxFuture;
use pgworkflows_core::{Activity, Workflow};

pub use self::arrival::Arrival;
pub use self::failure::ExploreFailure;
use self::orders::{Orders, Walk, shrink};
use self::play::{Play, Player};
use self::scope::Scope;
use crate::env::{TestEnv, TestEnvBuilder, TestRun};
use crate::error::Error;
use crate::runtime::dice::Dice;

/// Explores the orders in which the outcomes of activities and steps, timers, signals, a cancellation and a
/// termination can reach a run, each in a new environment, when the returned builder is awaited.
///
/// `script` plays the client: it starts one run and sends messages. Each message and each outcome is held back until it
/// is chosen, so the order in the script only says which message follows which. A signal that a run sends is held back in the
/// inbox. The script need not wait for the run,
/// nor let time pass. `check` is called with the run when nothing can reach it any more: the run is over, or waits for
/// something that never arrives.
///
/// In addition to `check`, a run must not stall, and the code must follow its own history: the history is replayed
/// after every arrival, and each order is played twice.
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows_testkit::{TestEnv, TestRun, explore};
///
/// # struct Double;
/// # #[async_trait]
/// # impl Activity for Double {
/// #     const NAME: &'static str = "double";
/// #     type Input = u64;
/// #     type Output = u64;
/// #     async fn execute(&self, _: ActivityContext, n: u64) -> ActivityResult<u64> { Ok(2 * n) }
/// # }
/// struct Sum;
///
/// impl Workflow for Sum {
///     const NAME: &'static str = "sum";
///     type Input = u64;
///     type Output = u64;
///
///     async fn run(ctx: Context, n: u64) -> WorkflowResult<u64> {
///         let doubled = ctx.when_all((1..=n).map(|i| ctx.activity::<Double>(i))).await?;
///         Ok(doubled.into_iter().sum())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let definition = TestEnv::builder().workflow::<Sum>().activity(Double);
/// let explored = explore(
///     &definition,
///     async |env: TestEnv| env.start::<Sum>(3).await,
///     async |run: TestRun<Sum>| {
///         assert_eq!(run.result().await?, 12);
///         Ok(())
///     },
/// )
/// .await?;
/// assert_eq!((explored.orders, explored.exhaustive), (6, true));
/// # Ok(())
/// # }
/// ```
pub fn explore<W, S, C>(definition: &TestEnvBuilder, script: S, check: C) -> Explore<W, S, C>
where
    W: Workflow,
    S: AsyncFn(TestEnv) -> Result<TestRun<W>, Error>,
    C: AsyncFn(TestRun<W>) -> Result<(), Error>,
{
    let (definition, scope) = (definition.clone(), Scope::default());
    let player = Player { definition, script, check, arrivals_max: ARRIVALS_MAX, scope };
    Explore {
        player,
        orders_max: ORDERS_MAX,
        random_orders: RANDOM_ORDERS,
        seed: 0,
        order: None,
        workflow: PhantomData,
    }
}

/// How many orders are tried, the shortest first, before orders are drawn at random.
const ORDERS_MAX: usize = 1_000;

/// How many orders are drawn at random if there are more.
const RANDOM_ORDERS: usize = 200;

/// How many arrivals one order may have.
const ARRIVALS_MAX: usize = 200;

/// After how many orders a line of progress is printed.
const PROGRESS_EVERY: usize = 500;

/// A builder made by [`explore()`]: await it, or call [`assert`](Explore::assert).
#[must_use = "nothing is explored until it is awaited"]
pub struct Explore<W, S, C> {
    player: Player<S, C>,
    orders_max: usize,
    random_orders: usize,
    seed: u64,
    order: Option<Vec<Arrival>>,
    workflow: PhantomData<fn() -> W>,
}

/// The result of [`explore()`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explored {
    /// How many different orders were tried.
    pub orders: usize,
    /// Whether these are all orders of everything that was not left out.
    pub exhaustive: bool,
    /// How many of them were drawn at random.
    pub random: usize,
    /// The seed that they were drawn with.
    pub seed: u64,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { orders, exhaustive, random, seed } = self;
        match exhaustive {
            true => write!(f, "{orders} orders, all that there are"),
            false => {
                write!(f, "{orders} orders, {random} of them drawn with seed {seed}, and there are more")
            }
        }
    }
}

impl<W, S, C> Explore<W, S, C>
where
    W: Workflow,
    S: AsyncFn(TestEnv) -> Result<TestRun<W>, Error>,
    C: AsyncFn(TestRun<W>) -> Result<(), Error>,
{
    /// How many orders are tried one after another, those with the fewest unusual arrivals first; 1,000 by default. At
    /// least 1.
    pub fn orders_max(mut self, orders: usize) -> Self {
        self.orders_max = orders;
        self
    }

    /// How many further orders are drawn at random if there are more; 200 by default. It may be 0.
    pub fn random_orders(mut self, orders: usize) -> Self {
        self.random_orders = orders;
        self
    }

    /// The seed of random orders; 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many arrivals one order may have before it counts as endless; 200 by default. At least 1.
    pub fn arrivals_max(mut self, arrivals: usize) -> Self {
        self.player.arrivals_max = arrivals;
        self
    }

    /// Leaves the outcomes of an activity out of the orders: they arrive at once. Use it for activities whose time of
    /// completion makes no difference, such as one that publishes an event. Otherwise each such outcome multiplies the
    /// orders by everything that can arrive meanwhile.
    ///
    /// A failed attempt is still retried when its delay is over.
    pub fn ignore<A: Activity>(mut self) -> Self {
        self.player.scope.ignore::<A>();
        self
    }

    /// Whether time may pass while something else can arrive; `true` by default. With `false`, it passes only if
    /// nothing else can arrive: no timer, timeout or retry overtakes an outcome or a message in flight.
    pub fn timeouts(mut self, overtake: bool) -> Self {
        self.player.scope.timeouts = overtake;
        self
    }

    /// Plays only this order: these arrivals, followed by the default order. A failure prints the line for its order.
    pub fn order(mut self, arrivals: impl Into<Vec<Arrival>>) -> Self {
        self.order = Some(arrivals.into());
        self
    }

    /// Explores, and panics with a report if an order fails.
    ///
    /// # Panics
    /// Panics if awaiting the builder returns an error.
    pub async fn assert(self) -> Explored {
        self.run().await.unwrap_or_else(|failure| panic!("{failure}"))
    }

    async fn run(self) -> Result<Explored, ExploreFailure> {
        self.check_bounds()?;
        self.check_ignored()?;
        if let Some(order) = self.order.clone() {
            let play = self.play(Walk::along(order)).await?;
            let explored = Explored { orders: 1, exhaustive: false, random: 0, seed: self.seed };
            return match play.problem {
                None => Ok(explored),
                Some(_) => Err(self.found(play, 1)),
            };
        }
        let mut orders = Orders::new(self.orders_max);
        let mut tried = 0;
        let mut seen = BTreeSet::new();
        while let Some(walk) = orders.next() {
            let play = self.play(walk).await?.explored();
            tried += 1;
            if play.problem.is_some() {
                return Err(self.found(play, tried));
            }
            orders.walked(&play.walk);
            seen.insert(play.walk.list());
            print_progress(tried);
        }
        let exhaustive = orders.is_exhausted();
        let draws = if exhaustive { 0 } else { self.random_orders as u64 };
        let (dice, mut random) = (Dice::new(self.seed), 0);
        for draw in 0..draws {
            let play = self.play(Walk::random(dice.fork(draw))).await?;
            if play.problem.is_some() {
                return Err(self.shortest(play, tried + random + 1).await?);
            }
            random += usize::from(seen.insert(play.walk.list()));
            print_progress(tried + random);
        }
        Ok(Explored { orders: tried + random, exhaustive, random, seed: self.seed })
    }

    /// The failure with the shortest list of arrivals that fails in the same way.
    async fn shortest(&self, play: Play, tried: usize) -> Result<ExploreFailure, ExploreFailure> {
        let kind = |play: &Play| play.problem.as_ref().map(std::mem::discriminant);
        let (wanted, list) = (kind(&play), play.walk.list());
        let mut shortest = play;
        let fails = async |list: &[Arrival]| match self.play(Walk::along(list.to_vec())).await {
            Ok(play) if kind(&play) == wanted => {
                shortest = play;
                true
            }
            Ok(_) | Err(_) => false,
        };
        shrink(list, fails).await;
        Ok(self.found(shortest, tried))
    }

    async fn play(&self, walk: Walk<Arrival>) -> Result<Play, ExploreFailure> {
        self.player.play(walk).await.map_err(ExploreFailure::refused)
    }

    fn found(&self, play: Play, tried: usize) -> ExploreFailure {
        ExploreFailure::found(play, tried, &self.player.scope)
    }

    fn check_bounds(&self) -> Result<(), ExploreFailure> {
        let bounds = [("orders_max", self.orders_max), ("arrivals_max", self.player.arrivals_max)];
        let Some((name, _)) = bounds.into_iter().find(|(_, bound)| *bound == 0) else { return Ok(()) };
        let problem = format!("`{name}` is 0, so nothing would be explored; set it to at least 1");
        Err(ExploreFailure::refused(Error::invalid(problem)))
    }

    /// Otherwise, a wrong activity would be ignored without notice.
    fn check_ignored(&self) -> Result<(), ExploreFailure> {
        let definitions = self.player.definition.definitions();
        let mut ignored = self.player.scope.ignored();
        let Some(name) = ignored.find(|name| !definitions.knows_activity(name)) else { return Ok(()) };
        let problem = format!(
            "`ignore` names activity `{name}`, which is neither registered nor mocked; add it to the builder, or \
             remove the `ignore`"
        );
        Err(ExploreFailure::refused(Error::invalid(problem)))
    }
}

fn print_progress(tried: usize) {
    if tried.is_multiple_of(PROGRESS_EVERY) {
        eprintln!("explore: {tried} orders so far, no failure");
    }
}

impl<W, S, C> IntoFuture for Explore<W, S, C>
where
    W: Workflow,
    S: AsyncFn(TestEnv) -> Result<TestRun<W>, Error> + 'static,
    C: AsyncFn(TestRun<W>) -> Result<(), Error> + 'static,
{
    type Output = Result<Explored, ExploreFailure>;
    type IntoFuture = LocalBoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<W: Workflow, S, C> fmt::Debug for Explore<W, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explore")
            .field("workflow", &W::NAME)
            .field("orders_max", &self.orders_max)
            .field("random_orders", &self.random_orders)
            .field("seed", &self.seed)
            .field("order", &self.order)
            .field("scope", &self.player.scope)
            .finish_non_exhaustive()
    }
}
