//! What `select!` does not take.

#![allow(unused, reason = "nothing here is executed")]

use pgworkflows::prelude::*;
use pgworkflows::select;

async fn no_arms() {
    select! {}
}

async fn only_complete() {
    select! { complete => {} }
}

async fn biased(ctx: &Context) {
    select! {
        biased;
        _ = ctx.sleep(Duration::ZERO) => {}
    }
}

async fn guard(ctx: &Context, ready: bool) {
    select! {
        _ = ctx.sleep(Duration::ZERO), if ready => {}
    }
}

async fn guarded_pattern(ctx: &Context, ready: bool) {
    select! {
        slept if ready = ctx.sleep(Duration::ZERO) => {}
    }
}

async fn has_else(ctx: &Context) {
    select! {
        _ = ctx.sleep(Duration::ZERO) => {}
        else => {}
    }
}

async fn has_default(ctx: &Context) {
    select! {
        _ = ctx.sleep(Duration::ZERO) => {}
        default => {}
    }
}

async fn complete_comes_first(ctx: &Context) {
    select! {
        complete => {}
        _ = ctx.sleep(Duration::ZERO) => {}
    }
}

async fn complete_is_not_last(ctx: &Context) {
    select! {
        _ = ctx.sleep(Duration::ZERO) => {}
        complete => (),
        _ = ctx.sleep(Duration::ZERO) => {}
    }
}

async fn no_pattern(ctx: &Context) {
    select! {
        ctx.sleep(Duration::ZERO) => {}
    }
}

async fn no_comma(ctx: &Context) {
    select! {
        _ = ctx.sleep(Duration::ZERO) => ()
        _ = ctx.sleep(Duration::ZERO) => ()
    }
}

fn main() {}
