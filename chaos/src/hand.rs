//! What a client does with one run, and notes in its journal: it asks again until it has an answer, and never forgets one.
//! It must not know what the run does.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use futures::future::try_join;
use pgworkflows::prelude::{Signal, Update};
use pgworkflows::sqlx::{self, PgPool};
use pgworkflows::{Client, Error, InTransaction, RunHandle, Workflow};
use pgworkflows_testkit::runtime::dice::Dice;
use serde::de::DeserializeOwned;

use crate::journal::{Fact, Journal, Manner, Outcome};

/// The pause before a question is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// How long one question for a result takes.
const RESULT_PATIENCE: Duration = Duration::from_secs(20);

/// How long one question for an answer takes. It is asked again with its key.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// A client with its journal, and the database of its users.
#[derive(Clone, Debug)]
pub(crate) struct Hand {
    pub(crate) client: Client,
    pub(crate) users: PgPool,
    pub(crate) journal: Arc<Journal>,
}

impl Hand {
    /// Draws how a run is started.
    pub(crate) fn any_manner(&self, dice: &mut Dice) -> Manner {
        match dice.below(12) {
            0..5 => Manner::Unkeyed,
            5..7 => Manner::Keyed,
            7..9 => Manner::KeyedTwice,
            9..11 => Manner::InTransaction,
            _ => Manner::RolledBack,
        }
    }

    /// Starts a run. `None` if the start was rolled back, or is not acknowledged.
    pub(crate) async fn start<W>(
        &self,
        token: &str,
        input: W::Input,
        manner: Manner,
        expected: Outcome,
    ) -> anyhow::Result<Option<RunHandle<W>>>
    where
        W: Workflow<Input: Clone>,
    {
        let workflow = W::NAME.to_owned();
        self.journal.note(&Fact::Starts { token: token.to_owned(), workflow, manner, expected })?;
        match manner {
            Manner::Keyed => self.start_keyed(token, input).await.map(Some),
            Manner::KeyedTwice => {
                let rival = self.start_keyed::<W>(token, input.clone());
                let (run, _) = try_join(self.start_keyed(token, input), rival).await?;
                Ok(Some(run))
            }
            Manner::Unkeyed => match self.client.start::<W>(input).await {
                Ok(run) => self.started(token, run).map(Some),
                Err(error) => self.again(token, error).await.map(|()| None),
            },
            Manner::InTransaction => self.start_in_transaction(token, input, true).await,
            Manner::RolledBack => self.start_in_transaction(token, input, false).await,
        }
    }

    fn started<W: Workflow>(&self, token: &str, run: RunHandle<W>) -> anyhow::Result<RunHandle<W>> {
        let id = run.run_id().to_string();
        self.journal.note(&Fact::Started { token: token.to_owned(), run: id })?;
        Ok(run)
    }

    /// Starts a run with its token as its key, until that is acknowledged.
    async fn start_keyed<W>(&self, token: &str, input: W::Input) -> anyhow::Result<RunHandle<W>>
    where
        W: Workflow<Input: Clone>,
    {
        loop {
            match self.client.start::<W>(input.clone()).key(token).await {
                Ok(run) => return self.started(token, run),
                Err(error) => self.again(token, error).await?,
            }
        }
    }

    async fn start_in_transaction<W: Workflow>(
        &self,
        token: &str,
        input: W::Input,
        commit: bool,
    ) -> anyhow::Result<Option<RunHandle<W>>> {
        // An error of the database before the commit rolls the transaction back; after it, the row tells.
        let Ok(mut transaction) = self.users.begin().await else { return Ok(None) };
        let order = sqlx::query("insert into chaos.orders (token) values ($1)").bind(token);
        if order.execute(&mut *transaction).await.is_err() {
            return Ok(None);
        }
        let run = match self.client.start::<W>(input).in_transaction(&mut transaction).await {
            Ok(run) => run,
            Err(error) => return self.again(token, error).await.map(|()| None),
        };
        if !commit {
            // If the server does not receive it, the end of the connection has the same effect.
            let _ = transaction.rollback().await;
            return Ok(None);
        }
        match transaction.commit().await {
            Ok(()) => self.started(token, run).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Sends a signal whose key is its number.
    pub(crate) async fn signal<W: Workflow>(
        &self,
        token: &str,
        run: &RunHandle<W>,
        signal: Signal<u32>,
        number: u32,
    ) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            match run.signal(signal, number).key(number.to_string()).await {
                Ok(()) => return self.signalled(token, run, number),
                // The run received it at an earlier try, and is over because of it.
                Err(error) if error.is_run_over() && tries > 1 => return Ok(()),
                Err(error) => self.again(token, error).await?,
            }
        }
    }

    /// Sends a signal together with a row, in a transaction that stays open for that time.
    pub(crate) async fn signal_in_transaction<W: Workflow>(
        &self,
        token: &str,
        run: &RunHandle<W>,
        signal: Signal<u32>,
        number: u32,
        open: Duration,
    ) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            let Ok(mut transaction) = self.users.begin().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let letter = sqlx::query(
                "insert into chaos.letters (token, number) values ($1, $2) on conflict do nothing",
            )
            .bind(token)
            .bind(number.cast_signed());
            if letter.execute(&mut *transaction).await.is_err() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let sending = run.signal(signal, number).key(number.to_string());
            match sending.in_transaction(&mut transaction).await {
                Ok(()) => {}
                Err(error) if error.is_run_over() && tries > 1 => return Ok(()),
                Err(error) => {
                    self.again(token, error).await?;
                    continue;
                }
            }
            // Later messages are committed meanwhile.
            tokio::time::sleep(open).await;
            if transaction.commit().await.is_ok() {
                return self.signalled(token, run, number);
            }
        }
    }

    fn signalled<W: Workflow>(&self, token: &str, run: &RunHandle<W>, number: u32) -> anyhow::Result<()> {
        let run = run.run_id().to_string();
        self.journal.note(&Fact::Signalled { token: token.to_owned(), run, number })
    }

    /// Sends an update whose key is its number, until it is answered.
    pub(crate) async fn update<W: Workflow>(
        &self,
        token: &str,
        run: &RunHandle<W>,
        update: Update<u32, u64>,
        number: u32,
    ) -> anyhow::Result<()> {
        let answer = loop {
            match run.update(update, number).key(number.to_string()).timeout(ANSWER_PATIENCE).await {
                Ok(answer) => break answer,
                Err(error) if error.is_timeout() => {}
                Err(error) => self.again(token, error).await?,
            }
        };
        let (token, run) = (token.to_owned(), run.run_id().to_string());
        self.journal.note(&Fact::Answered { token, run, number, answer })
    }

    /// Cancels a run.
    pub(crate) async fn cancel<W: Workflow>(&self, token: &str, run: &RunHandle<W>) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            match run.cancel().await {
                Ok(()) => break,
                Err(error) if error.is_run_over() && tries > 1 => return Ok(()),
                Err(error) => self.again(token, error).await?,
            }
        }
        let run = run.run_id().to_string();
        self.journal.note(&Fact::Cancelled { token: token.to_owned(), run })
    }

    /// Waits for the end of a run, and notes it.
    pub(crate) async fn tell<W: Workflow<Output: serde::Serialize + DeserializeOwned>>(
        &self,
        token: &str,
        run: &RunHandle<W>,
    ) -> anyhow::Result<()> {
        let outcome = loop {
            match run.result().timeout(RESULT_PATIENCE).await {
                Ok(result) => break Outcome::Completed { result: serde_json::to_value(result)? },
                Err(error) if error.is_run_failed() => {
                    let error = error.failure().map(|failure| failure.type_name.clone());
                    break Outcome::Failed { error: error.unwrap_or_default() };
                }
                Err(error) if error.is_run_cancelled() => break Outcome::Cancelled,
                Err(error) if error.is_timeout() => {}
                Err(error) => self.again(token, error).await?,
            }
        };
        let run = run.run_id().to_string();
        self.journal.note(&Fact::Told { token: token.to_owned(), run, outcome })
    }

    /// Waits before a question is asked again. Fails unless the error says only that the store did not answer.
    async fn again(&self, token: &str, error: Error) -> anyhow::Result<()> {
        if error.is_unavailable() || error.is_key_held() {
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        }
        let (token, error) = (token.to_owned(), error.to_string());
        self.journal.note(&Fact::Refused { token: token.clone(), error: error.clone() })?;
        bail!("{token}: {error}")
    }
}
