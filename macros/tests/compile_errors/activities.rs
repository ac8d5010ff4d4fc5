//! What cannot be an activity.

#![allow(unused, reason = "nothing here is executed")]

use std::sync::Arc;

use pgworkflows::prelude::*;

struct Nothing;

#[activities]
impl Nothing {
    async fn charge(&self) {}
}

struct Generic<B>(B);

#[activities]
impl<B: Send + Sync> Generic<B> {
    #[activity(name = "generic.charge")]
    async fn charge(&self) -> ActivityResult<()> {
        Ok(())
    }
}

trait Bank {
    async fn charge(&self) -> ActivityResult<()>;
}

struct OfATrait;

#[activities]
impl Bank for OfATrait {
    #[activity(name = "trait.charge")]
    async fn charge(&self) -> ActivityResult<()> {
        Ok(())
    }
}

struct Names;

#[activities]
impl Names {
    #[activity]
    async fn without_name(&self) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "")]
    async fn empty_name(&self) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = NAME)]
    async fn name_of_a_constant(&self) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "names.twice")]
    async fn twice(&self) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "names.twice")]
    async fn twice_again(&self) -> ActivityResult<()> {
        Ok(())
    }
}

struct Options;

#[activities]
impl Options {
    #[activity(name = "options.unknown", timeout = Duration::from_secs(1))]
    async fn unknown(&self) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "options.without-value", retry)]
    async fn without_value(&self) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "options.with-value", at_most_once = true)]
    async fn with_value(&self) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "options.twice", queue = "gpu", queue = "cpu")]
    async fn twice(&self) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "options.of-the-block", crate = pgworkflows)]
    async fn of_the_block(&self) -> ActivityResult<()> {
        Ok(())
    }
}

struct Signatures;

#[activities]
impl Signatures {
    #[activity(name = "signatures.sync")]
    fn is_sync(&self) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "signatures.generic")]
    async fn generic<T>(&self, value: T) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "signatures.without-self")]
    async fn without_self(cents: u64) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "signatures.mutable-self")]
    async fn mutable_self(&mut self) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "signatures.arc-self")]
    async fn arc_self(self: Arc<Self>) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "signatures.context-last")]
    async fn context_last(&self, cents: u64, ctx: &ActivityContext) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "signatures.owned-context")]
    async fn owned_context(&self, ctx: ActivityContext) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "signatures.borrowed")]
    async fn borrowed(&self, payment: &str) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "signatures.unnamed-type")]
    async fn unnamed_type(&self, payment: impl Into<String>) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "signatures.nine")]
    async fn nine(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "signatures.no-result")]
    async fn no_result(&self) -> u64 {
        7
    }

    #[activity(name = "signatures.alias")]
    async fn alias(&self) -> std::io::Result<u64> {
        Ok(7)
    }
}

#[activities(name = "billing")]
impl Nothing {}

#[activities]
struct Fields;

struct Attributes;

#[activities]
impl Attributes {
    #[activity(name = "attributes.one")]
    #[activity(name = "attributes.other")]
    async fn two_names(&self) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "attributes.constant")]
    const CHARGE: u64 = 7;
}

struct Borrows;

#[activities]
impl Borrows {
    #[activity(name = "borrows.within")]
    async fn within(&self, notes: Vec<Option<&str>>) -> ActivityResult<()> {
        Ok(())
    }

    #[activity(name = "borrows.lifetime")]
    async fn lifetime(&self, note: std::borrow::Cow<'_, str>) -> ActivityResult<()> {
        Ok(())
    }
}

struct TwoBlocks;

#[activities]
impl TwoBlocks {
    #[activity(name = "two-blocks.one")]
    async fn one(&self) -> ActivityResult<()> {
        Ok(())
    }
}

#[activities]
impl TwoBlocks {
    #[activity(name = "two-blocks.other")]
    async fn other(&self) -> ActivityResult<()> {
        Ok(())
    }
}

impl Nothing {
    #[activity(name = "nothing.alone")]
    async fn alone(&self) -> ActivityResult<()> {
        Ok(())
    }
}

fn main() {}
