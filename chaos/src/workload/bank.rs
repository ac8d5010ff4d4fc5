//! Money of the users: activities that move it once, however often they are executed. It must not know why it moves.

use pgworkflows::prelude::*;
use pgworkflows::sqlx::{self, PgPool};
use pgworkflows::worker::WorkerBuilder;
use pgworkflows_testkit::runtime::dice::Dice;

/// How many accounts there are.
const ACCOUNTS: u64 = 20;

/// A transfer from one account to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Transfer {
    pub(super) token: String,
    pub(super) from: i32,
    pub(super) to: i32,
    pub(super) amount: i64,
}

impl Transfer {
    pub(super) fn draw(dice: &mut Dice, token: &str) -> Self {
        let from = dice.below(ACCOUNTS);
        let to = (from + dice.between(1, ACCOUNTS - 1)) % ACCOUNTS;
        let amount = dice.between(1, 100).cast_signed();
        Self { token: token.to_owned(), from: from as i32, to: to as i32, amount }
    }

    pub(super) fn withdrawal(&self) -> Movement {
        Movement::of(self, "withdrawal", self.from, -self.amount)
    }

    pub(super) fn deposit(&self) -> Movement {
        Movement::of(self, "deposit", self.to, self.amount)
    }

    pub(super) fn refund(&self) -> Movement {
        Movement::of(self, "refund", self.from, self.amount)
    }
}

/// One part of a transfer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Movement {
    token: String,
    part: String,
    account: i32,
    amount: i64,
}

impl Movement {
    fn of(transfer: &Transfer, part: &str, account: i32, amount: i64) -> Self {
        Self { token: transfer.token.clone(), part: part.to_owned(), account, amount }
    }
}

/// Adds the amount to the account, unless that was done before.
pub(super) struct Move(PgPool);

#[async_trait]
impl Activity for Move {
    const NAME: &'static str = "move-money";
    type Input = Movement;
    type Output = ();

    async fn execute(&self, _ctx: ActivityContext, movement: Movement) -> ActivityResult<()> {
        sqlx::query(
            "with moved as (
                 insert into chaos.movements (token, part, account, amount) values ($1, $2, $3, $4)
                 on conflict do nothing returning account, amount
             )
             update chaos.accounts a set balance = a.balance + m.amount from moved m where a.account = m.account",
        )
        .bind(movement.token)
        .bind(movement.part)
        .bind(movement.account)
        .bind(movement.amount)
        .execute(&self.0)
        .await?;
        Ok(())
    }
}

/// Registers the activity that several workflows share.
pub(super) fn register(worker: WorkerBuilder, users: &PgPool) -> WorkerBuilder {
    worker.activity(Move(users.clone()))
}

/// The activities of users retry until the database answers.
pub(super) fn retry() -> RetryPolicy {
    let policy = RetryPolicy::exponential().initial(Duration::from_millis(50));
    policy.delay_max(Duration::from_secs(1)).max_attempts(u32::MAX)
}
