//! Panics become errors: a bug in one call must end neither the thread that executes it nor the calls beside it. It must not know
//! what is executed.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use pgworkflows_core::store::StoreError;

/// Awaits work, whose panic becomes an error. What panicked is not used again: nothing of it is visible to others.
pub(crate) async fn caught<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(payload) => Err(StoreError::corrupt(format!(
            "the SQLite store panicked, and has written nothing of this request: {}; the file holds what its code does not expect, \
             or this is a bug of pgworkflows: report it with this message",
            message(&*payload)
        ))),
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use super::*;
    use crate::connection::sql;
    use crate::testing::Fixture;
    use crate::transaction::Transaction;

    /// How many rows [`insert`] has inserted.
    fn inserted(fixture: &Fixture) -> i64 {
        let count = async |transaction: &mut Transaction| {
            let count = sql("select count(*) from hints where process = 77");
            Ok(transaction.fetch_value(count).await?.unwrap_or(0))
        };
        fixture.runtime.block_on(fixture.store.0.writer.call(0, count)).unwrap()
    }

    async fn insert(transaction: &mut Transaction) -> Result<(), StoreError> {
        transaction.execute(sql("insert into hints (process, hints) values (77, '')")).await.map(drop)
    }

    /// Without the panic hook, because planned panics need no message.
    fn panics() -> ! {
        resume_unwind(Box::new("as planned"))
    }

    fn says_so(outcome: &Result<(), StoreError>) -> bool {
        matches!(outcome, Err(StoreError::Corrupt { reason }) if reason.contains("as planned"))
    }

    #[test]
    fn panic_in_a_call_undoes_that_call_alone_and_the_writer_goes_on() {
        let fixture = Fixture::new("panic-in-a-call");
        let writer = &fixture.store.0.writer;
        for round in 1..=3 {
            let panicking = writer.call(0, async |transaction: &mut Transaction| {
                insert(transaction).await?;
                panics()
            });
            let calls = futures::future::join3(writer.call(0, insert), panicking, writer.call(0, insert));
            let (one, panicked, other) = fixture.runtime.block_on(calls);
            assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
            assert!(says_so(&panicked), "{panicked:?}");
            assert_eq!(inserted(&fixture), 2 * round);
        }
    }

    #[test]
    fn panic_within_a_statement_undoes_the_transaction_and_the_writer_goes_on() {
        let fixture = Fixture::new("panic-within-a-statement");
        let writer = &fixture.store.0.writer;
        let mut sum = 0;
        for _ in 0..3 {
            let panicking = writer.call(0, async |transaction: &mut Transaction| {
                insert(transaction).await?;
                transaction.fetch_while(sql("select 1"), |_| panics()).await
            });
            let calls = futures::future::join3(writer.call(0, insert), panicking, writer.call(0, insert));
            let (one, panicked, other) = fixture.runtime.block_on(calls);
            assert!(says_so(&panicked), "{panicked:?}");
            // Whoever shared its transaction is to ask again.
            for outcome in [one, other] {
                sum += i64::from(outcome.is_ok());
                assert!(matches!(outcome, Ok(()) | Err(StoreError::Unavailable { .. })), "{outcome:?}");
            }
            assert_eq!(inserted(&fixture), sum);
        }
    }

    #[test]
    fn panic_in_a_read_costs_no_connection() {
        let fixture = Fixture::new("panic-in-a-read");
        let readers = &fixture.store.0.readers;
        // More often than there are connections
        for _ in 0..10 {
            let panicking =
                caught(async { readers.take().await?.fetch_while(sql("select 1"), |_| panics()).await });
            let panicked = fixture.runtime.block_on(panicking);
            assert!(says_so(&panicked), "{panicked:?}");
            let reads = async { readers.take().await?.fetch_value::<i64>(sql("select 7")).await };
            assert_eq!(fixture.runtime.block_on(reads).unwrap(), Some(7));
        }
    }
}
