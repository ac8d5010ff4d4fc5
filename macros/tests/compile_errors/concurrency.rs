//! What is no arm of `select!`, and what cannot be spawned.

#![allow(unused, reason = "nothing here is executed")]

use pgworkflows::prelude::*;
use pgworkflows::select;

async fn code_is_no_arm(ctx: &Context) {
    select! {
        _ = async { 7 } => {}
    }
}

async fn value_is_no_arm(ctx: &Context) {
    select! {
        _ = 7 => {}
    }
}

async fn pattern_must_fit_every_value(ctx: &Context) {
    select! {
        Ok(()) = ctx.sleep(Duration::ZERO) => {}
    }
}

async fn branch_is_not_spawned(ctx: &Context) {
    let branch = ctx.spawn(ctx.branch(async { 7 }));
}

fn main() {}
