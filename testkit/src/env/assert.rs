//! Assertions about a run. A failed assertion shows the run's history, with the source lines of its workflow. It must
//! not change anything: no time passes.

use std::fmt::Debug;

use expect_test::{Expect, ExpectFile};
use pgworkflows_core::history::{Event, History};
use pgworkflows_core::{Activity, Error, Signal, Workflow};

use super::TestRun;

/// A snapshot to compare the text of a history with: in the source of the test, or in a file.
pub trait Snapshot {
    /// Panics with the difference, or rewrites the snapshot if `UPDATE_EXPECT` is set.
    fn check(self, text: &str);
}

impl Snapshot for Expect {
    fn check(self, text: &str) {
        self.assert_eq(text);
    }
}

impl Snapshot for ExpectFile {
    fn check(self, text: &str) {
        self.assert_eq(text);
    }
}

/// Each assertion panics if it does not hold, with the history and its source lines.
impl<W: Workflow> TestRun<W> {
    /// The history's text (see [`History`]) equals this snapshot. With `UPDATE_EXPECT=1` in the environment, the
    /// snapshot is rewritten instead.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows_testkit::{Error, TestEnv, expect};
    /// # struct Reminder;
    /// # impl Workflow for Reminder {
    /// #     const NAME: &'static str = "reminder";
    /// #     type Input = String;
    /// #     type Output = String;
    /// #     async fn run(ctx: Context, name: String) -> WorkflowResult<String> {
    /// #         ctx.sleep(Duration::from_secs(90 * 60)).await?;
    /// #         Ok(format!("It is time, {name}."))
    /// #     }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let env = TestEnv::builder().workflow::<Reminder>().build();
    /// let run = env.start::<Reminder>("Ada".to_owned()).await?;
    /// run.result().await?;
    /// run.assert_history(expect![[r#"
    ///     1  0s     run.started reminder "Ada"
    ///     2  0s     timer.started #1 until 1h30m
    ///     3  1h30m  timer.fired #1
    ///     4  1h30m  run.completed "It is time, Ada."
    /// "#]]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn assert_history(&self, snapshot: impl Snapshot) {
        snapshot.check(&self.history().to_string());
    }

    /// The workflow returned this value.
    #[track_caller]
    pub fn assert_completed<V: Debug>(&self, expected: V)
    where
        W::Output: PartialEq<V> + Debug,
    {
        let result = match self.end() {
            Some(Event::RunCompleted { result, .. }) => result.decode::<W::Output>(),
            end => self.fail(&format!("has not completed with {expected:?}: {}", describe(end.as_ref()))),
        };
        match result {
            Ok(value) if value == expected => {}
            Ok(value) => self.fail(&format!("completed with {value:?} instead of {expected:?}")),
            Err(error) => self.fail(&format!("completed with a value of another type: {error}")),
        }
    }

    /// The workflow failed with a failure of this type, or with a failure that one of this type caused.
    #[track_caller]
    pub fn assert_failed(&self, type_name: &str) {
        match self.end() {
            Some(Event::RunFailed { failure, .. }) if failure.is(type_name) => {}
            end => self.fail(&format!("has not failed with `{type_name}`: {}", describe(end.as_ref()))),
        }
    }

    /// The run was cancelled.
    #[track_caller]
    pub fn assert_cancelled(&self) {
        match self.end() {
            Some(Event::RunCancelled { .. }) => {}
            end => self.fail(&format!("was not cancelled: {}", describe(end.as_ref()))),
        }
    }

    /// The run waits for this signal, possibly among other things.
    #[track_caller]
    pub fn assert_waiting_on<T>(&self, signal: Signal<T>) {
        self.assert_waits(&format!("signal `{}`", signal.name()));
    }

    /// The run waits for this activity, possibly among other things: an attempt is executing, or the next one is due
    /// later.
    #[track_caller]
    pub fn assert_waiting_on_activity<A: Activity>(&self) {
        self.assert_waits(&format!("activity `{}`", A::NAME));
    }

    /// The run sleeps, possibly while it waits for other things.
    #[track_caller]
    pub fn assert_sleeping(&self) {
        self.assert_waits("timer");
    }

    #[track_caller]
    fn assert_waits(&self, what: &str) {
        let waits = self.waits();
        match &waits {
            Ok(waits) if waits.iter().any(|wait| wait.starts_with(what)) => {}
            Ok(waits) if waits.is_empty() => {
                self.fail(&format!("does not wait for {what}: it waits for nothing"))
            }
            Ok(waits) => self.fail(&format!("does not wait for {what}: it waits for {}", waits.join(", "))),
            Err(error) => self.fail(&format!("does not wait for {what}: {error}")),
        }
    }

    /// What the run's code waits for, each with its source line.
    fn waits(&self) -> Result<Vec<String>, Error> {
        Ok(pgworkflows_core::history::replay::<W>(&self.history())?.waits)
    }

    /// The history of the run so far, with the source lines of its workflow.
    ///
    /// # Panics
    /// Panics if there is no such run.
    #[track_caller]
    pub fn history(&self) -> History {
        self.env.world.settle();
        let history = self.env.world.history(self.run_id());
        let history = history.unwrap_or_else(|| panic!("there is no history of run {}", self.run_id()));
        // If the code diverges from the history, there are no source lines.
        history.clone().with_sources::<W>().unwrap_or(history)
    }

    /// The terminal event.
    #[track_caller]
    fn end(&self) -> Option<Event> {
        let events = self.history().events();
        let last = events.unwrap_or_else(|error| self.fail(&format!("cannot be read: {error}"))).pop();
        last.map(|last| last.event).filter(Event::is_terminal)
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!(
            "run {} of workflow `{}` {what}\nat {} this has happened:\n{:#}",
            self.run_id(),
            W::NAME,
            self.env.now(),
            self.history()
        )
    }
}

/// How the run ended, if it did.
fn describe(end: Option<&Event>) -> String {
    match end {
        Some(event) => format!("it ended with {event}"),
        None => "it is not over; await its `result`, or `advance`".to_owned(),
    }
}
