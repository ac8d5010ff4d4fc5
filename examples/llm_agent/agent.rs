//! An agent: a loop in which a model chooses tools, and a person approves those that cost money. It must not know which model
//! chooses, or how the person is asked.

use pgworkflows::prelude::*;
use pgworkflows::select;

use crate::model::{Brain, Reply};
use crate::tools::{Tool, use_tool};

/// How long a person has to decide. No answer is a refusal.
pub(crate) const APPROVAL_TIME: Duration = Duration::from_secs(24 * 3600);

/// After how long a silence the conversation is over.
pub(crate) const SILENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A longer conversation is summarised, and goes on in a new run.
const MESSAGES_MAX: usize = 40;

/// How many messages a summary leaves as they are.
const KEPT_MAX: usize = 10;

/// How much of the conversation the view shows, in bytes: a view has at most 64 KiB.
const SHOWN_BYTES: usize = 16 * 1024;

/// What a conversation consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// What was said before, in short.
    Summary(String),
    User(String),
    Model(String),
    /// The model wants to use a tool.
    Call(Tool),
    /// What came of that.
    Outcome(String),
}

/// What a run begins with, and hands to the next run of its chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    conversation: Vec<Message>,
    /// How many decisions were asked for, which numbers them.
    requests: u32,
}

/// What a person is asked to approve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) number: u32,
    pub(crate) tool: Tool,
}

/// What a person says to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Decision {
    pub(crate) request: u32,
    pub(crate) approved: bool,
}

/// The user says something.
pub(crate) const SAY: Signal<String> = Signal::new("say");

/// The user leaves.
pub(crate) const LEAVE: Signal<()> = Signal::new("leave");

/// A person decides. The answer is whether that counts: it does not if the request is decided already, or its time is over.
pub(crate) const DECIDE: Update<Decision, bool> = Update::new("decide");

/// The newest part of the conversation.
pub(crate) const TRANSCRIPT: View<Vec<Message>> = View::new("transcript");

/// What a person has to decide.
pub(crate) const REQUEST: View<Option<Request>> = View::new("request");

/// Talks with a user until the user leaves, or is silent for long. Returns the last answer.
#[workflow(name = "support-agent")]
pub(crate) async fn support_agent(ctx: Context, mut session: Session) -> WorkflowResult<String> {
    let desk = Shared::new(Desk::default());
    let at_desk = desk.clone();
    let _deciding = ctx.serve(DECIDE, async move |decision| at_desk.with(|desk| desk.decide(&decision)));
    loop {
        ctx.publish(TRANSCRIPT, &session.shown());
        match ctx.call(Brain::THINK, session.conversation.clone()).await? {
            Reply::Use(tool) => {
                session.conversation.push(Message::Call(tool.clone()));
                ctx.publish(TRANSCRIPT, &session.shown());
                let outcome = match tool.costs_money() {
                    true => use_if_approved(&ctx, &desk, &mut session.requests, tool).await?,
                    false => use_tool(&ctx, tool).await?,
                };
                session.conversation.push(Message::Outcome(outcome));
            }
            Reply::Answer(answer) => {
                session.conversation.push(Message::Model(answer.clone()));
                ctx.publish(TRANSCRIPT, &session.shown());
                select! {
                    said = ctx.wait_for(SAY) => session.conversation.push(Message::User(said?)),
                    left = ctx.wait_for(LEAVE) => return left.map(|()| answer),
                    silence = ctx.sleep(SILENCE) => return silence.map(|()| answer),
                }
            }
        }
        if session.conversation.len() > MESSAGES_MAX {
            let summary = ctx.call(Brain::SUMMARISE, session.conversation.clone()).await?;
            session.shorten(summary);
            ctx.continue_as_new::<support_agent>(session).await;
        }
    }
}

/// Has a person decide, and uses the tool if the person agrees in time.
async fn use_if_approved(
    ctx: &Context,
    desk: &Shared<Desk>,
    requests: &mut u32,
    tool: Tool,
) -> WorkflowResult<String> {
    *requests += 1;
    let request = Request { number: *requests, tool: tool.clone() };
    desk.with(|desk| *desk = Desk { open: Some(request.number), approved: None });
    ctx.publish(REQUEST, &Some(request));
    let decided = ctx.until(|| desk.with(|desk| desk.approved.is_some())).timeout(APPROVAL_TIME).await;
    let decision = desk.with(std::mem::take).approved;
    ctx.publish(REQUEST, &None);
    match (decided, decision) {
        // A decision of the last moment counts, as its person was told.
        (Err(error), _) if !error.is_timeout() => Err(error),
        (_, Some(true)) => use_tool(ctx, tool).await,
        (_, Some(false)) => Ok("a person refused this".to_owned()),
        (_, None) => Ok("no person approved this in time".to_owned()),
    }
}

/// The request that is open, and the decision about it.
#[derive(Default)]
struct Desk {
    open: Option<u32>,
    approved: Option<bool>,
}

impl Desk {
    /// Whether the decision counts.
    fn decide(&mut self, decision: &Decision) -> bool {
        let counts = self.open == Some(decision.request) && self.approved.is_none();
        if counts {
            self.approved = Some(decision.approved);
        }
        counts
    }
}

impl Session {
    /// A session that begins with what the user says.
    pub(crate) fn new(said: impl Into<String>) -> Self {
        Self { conversation: vec![Message::User(said.into())], requests: 0 }
    }

    /// The newest messages, as many as fit into the view.
    fn shown(&self) -> Vec<Message> {
        let mut room = SHOWN_BYTES;
        let fits = |message: &&Message| {
            let bytes = message.bytes();
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        };
        let mut shown: Vec<_> = self.conversation.iter().rev().take_while(fits).cloned().collect();
        shown.reverse();
        shown
    }

    /// Puts a summary in place of what came before the user's last words, and of all but the last messages.
    fn shorten(&mut self, summary: String) {
        let is_said = |message: &Message| matches!(message, Message::User(_));
        let said = self.conversation.iter().rposition(is_said).unwrap_or_default();
        let kept_from = said.max(self.conversation.len().saturating_sub(KEPT_MAX));
        self.conversation.splice(..kept_from, [Message::Summary(summary)]);
    }
}

impl Message {
    fn bytes(&self) -> usize {
        match self {
            Self::Summary(text) | Self::User(text) | Self::Model(text) | Self::Outcome(text) => text.len(),
            Self::Call(tool) => tool.bytes(),
        }
    }
}
