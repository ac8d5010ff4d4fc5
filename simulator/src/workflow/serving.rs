//! How plans take updates: in the main line, and by handlers beside it. It must not know who sends them.

use std::time::Duration;

use pgworkflows_core::prelude::*;
use pgworkflows_core::workflow::Refusal;

use super::{Interpreter, TOLD, perform};
use crate::plan::{Op, Serve};

/// The names of the updates that plans take: one by their main line, and one by a handler.
pub(crate) const UPDATES: [&str; 2] = ["ask", "add"];

/// The updates, of which clients check the requests, as their runs do.
pub(crate) const CHECKED: [Update<Request, Reply>; 2] =
    [Update::new(UPDATES[0]).check(check), Update::new(UPDATES[1]).check(check)];

/// The same as an older client has them: the run alone checks the requests.
pub(crate) const UNCHECKED: [Update<Request, Reply>; 2] = [Update::new(UPDATES[0]), Update::new(UPDATES[1])];

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// It is in no other request, unless that has the same key.
    pub(crate) token: u64,
    /// How long the run works on it.
    pub(crate) millis: u64,
    /// Whether the main line drops it without an answer.
    pub(crate) is_dropped: bool,
    /// Whether the check refuses it.
    pub(crate) is_wrong: bool,
}

/// What a run answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) token: u64,
    /// How many the run had answered before.
    place: u64,
    /// When it was answered.
    at: i64,
}

fn check(request: &Request) -> Result<(), Refusal> {
    if request.is_wrong { Err("the request is wrong".into()) } else { Ok(()) }
}

/// What the handlers of a run share with its main line.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Whether an update is with its handler.
    is_busy: bool,
    /// How many updates were answered by a handler.
    served: u64,
    /// How many signals other runs have sent.
    told: u64,
}

impl Desk {
    fn begin(&mut self) {
        // The run stalls, and had no reason to.
        assert!(!self.is_busy, "two updates of one name are with their handlers");
        self.is_busy = true;
    }

    fn end(&mut self) {
        self.is_busy = false;
        self.served += 1;
    }

    /// How many signals from other runs the handlers took.
    pub(super) fn told(&self) -> u64 {
        self.told
    }
}

impl Interpreter {
    /// Takes an update in the main line, or waits for it no longer than that.
    pub(super) async fn answer(&self, millis: Option<u64>) -> WorkflowResult<u64> {
        let asked = self.ctx.wait_for_update(CHECKED[0]);
        let (request, answer) = match millis {
            None => asked.await?,
            Some(millis) => match asked.timeout(Duration::from_millis(millis)).await {
                Ok(asked) => asked,
                Err(error) if error.is_timeout() => return Ok(1),
                Err(error) => return Err(error),
            },
        };
        if request.millis > 0 {
            self.ctx.sleep(Duration::from_millis(request.millis)).await?;
        }
        if !request.is_dropped {
            answer.send(self.reply(&request));
        }
        Ok(1)
    }

    /// Has updates, and the signals of other runs, served beside an op.
    pub(super) async fn serve(&self, serve: Serve, op: Op) -> WorkflowResult<u64> {
        let Serve { work, until, drains } = serve;
        let (this, desk) = (self.clone(), self.desk.clone());
        let updates = self.ctx.serve(CHECKED[1], async move |request: Request| {
            desk.with(Desk::begin);
            // A cancellation of the run ends what it waits for.
            if request.millis > 0 {
                this.ctx.sleep(Duration::from_millis(request.millis)).await.ok();
            }
            if request.token.is_multiple_of(3) {
                perform(&this.ctx, work.clone(), None).await.ok();
            }
            desk.with(Desk::end);
            this.reply(&request)
        });
        let desk = self.desk.clone();
        let signals = self.ctx.serve(TOLD, async move |()| desk.with(|desk| desk.told += 1));
        let before = self.desk.with(|desk| desk.served);
        let value = self.clone().interpret(op).await?;
        if let Some(count) = until {
            self.ctx.until(|| self.desk.with(|desk| desk.served >= before + count)).await?;
        }
        if drains {
            updates.drain().await?;
            signals.drain().await?;
        }
        Ok(value)
    }

    fn reply(&self, request: &Request) -> Reply {
        let mut seen = self.seen.borrow_mut();
        seen.answered.push(request.token);
        Reply {
            token: request.token,
            place: seen.answered.len() as u64,
            at: self.ctx.now().timestamp_micros(),
        }
    }
}
