//! The tools that a model may use, each an activity. They must not know who asks for them.

use pgworkflows::prelude::*;

/// A use of a tool, as the model asks for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "tool", rename_all = "kebab-case")]
pub(crate) enum Tool {
    FindInvoice { customer: String },
    Refund { invoice: String, cents: u64 },
}

impl Tool {
    /// Whether a person has to approve it.
    pub(crate) fn costs_money(&self) -> bool {
        match self {
            Self::FindInvoice { .. } => false,
            Self::Refund { .. } => true,
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::FindInvoice { customer } => customer.len(),
            Self::Refund { invoice, .. } => invoice.len(),
        }
    }
}

/// Uses a tool. Its failure is told to the model, which may find another way; only a cancellation ends the conversation.
pub(crate) async fn use_tool(ctx: &Context, tool: Tool) -> WorkflowResult<String> {
    let used = match tool {
        Tool::FindInvoice { customer } => ctx.call(Office::FIND_INVOICE, customer).await,
        Tool::Refund { invoice, cents } => ctx.call(Office::REFUND, (invoice, cents)).await,
    };
    match used {
        Err(error) if !error.is_cancelled() => Ok(format!("it failed: {error}")),
        used => used,
    }
}

/// The services that the tools use.
pub(crate) struct Office;

#[activities]
impl Office {
    #[activity(name = "office.find-invoice", retry = RetryPolicy::exponential().max_attempts(3))]
    pub(crate) async fn find_invoice(&self, customer: String) -> ActivityResult<String> {
        Ok(format!("invoice 7 of {customer}"))
    }

    #[activity(name = "office.refund", retry = RetryPolicy::exponential().max_attempts(8))]
    pub(crate) async fn refund(
        &self,
        ctx: &ActivityContext,
        invoice: String,
        cents: u64,
    ) -> ActivityResult<String> {
        // The bank deduplicates by this key, so a retry does not refund twice.
        let reference = ctx.idempotency_key();
        Ok(format!("{cents} cents of {invoice} were refunded, reference {reference}"))
    }
}
