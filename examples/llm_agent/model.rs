//! The model: what it is asked and answers, a fake one, and the activities that ask it. They must not know the loop.

use std::sync::Arc;

use pgworkflows::prelude::*;

use crate::agent::Message;
use crate::tools::Tool;

/// What a model wants next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// To use a tool, and to learn what comes of it.
    Use(Tool),
    /// To tell the user something.
    Answer(String),
}

/// A language model. A real one sends the conversation and a description of the tools to a service, and reads its answer: one
/// that cannot be read is an error, so that the model is asked again.
#[async_trait]
pub(crate) trait Model: Send + Sync {
    /// What comes next in a conversation.
    async fn reply(&self, conversation: &[Message]) -> ActivityResult<Reply>;

    /// A conversation in short.
    async fn summarise(&self, conversation: &[Message]) -> ActivityResult<String>;
}

/// The activities that ask the model.
pub(crate) struct Brain {
    pub(crate) model: Arc<dyn Model>,
}

#[activities]
impl Brain {
    #[activity(
        name = "agent.think",
        retry = RetryPolicy::exponential().max_attempts(5),
        start_to_close = Duration::from_secs(120)
    )]
    pub(crate) async fn think(&self, conversation: Vec<Message>) -> ActivityResult<Reply> {
        self.model.reply(&conversation).await
    }

    #[activity(
        name = "agent.summarise",
        retry = RetryPolicy::exponential().max_attempts(5),
        start_to_close = Duration::from_secs(120)
    )]
    pub(crate) async fn summarise(&self, conversation: Vec<Message>) -> ActivityResult<String> {
        self.model.summarise(&conversation).await
    }
}

/// Stands in for a language model: it looks for an invoice, refunds it, and tells the user what came of that.
pub(crate) struct FakeModel;

#[async_trait]
impl Model for FakeModel {
    async fn reply(&self, conversation: &[Message]) -> ActivityResult<Reply> {
        Ok(match conversation {
            [.., Message::User(said)] if said.contains("twice") => {
                Reply::Use(Tool::FindInvoice { customer: "Ada".to_owned() })
            }
            [.., Message::Call(Tool::FindInvoice { .. }), Message::Outcome(invoice)] => {
                Reply::Use(Tool::Refund { invoice: invoice.clone(), cents: 4_900 })
            }
            [.., Message::Call(Tool::Refund { .. }), Message::Outcome(outcome)] => {
                Reply::Answer(format!("About your refund: {outcome}."))
            }
            _ => Reply::Answer("How can I help?".to_owned()),
        })
    }

    async fn summarise(&self, conversation: &[Message]) -> ActivityResult<String> {
        Ok(format!("{} messages about invoices", conversation.len()))
    }
}
