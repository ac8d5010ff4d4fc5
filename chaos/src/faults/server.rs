//! A server that crashes, ends sessions, or has an old transaction. It must not know who is connected to it.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows::sqlx::{self, Connection};
use pgworkflows_pg_harness::Installation;
use pgworkflows_testkit::runtime::dice::Dice;

use crate::scene::Scene;

/// How long the server is up before its next crash, at least: so long that something can happen.
const UP: Duration = Duration::from_secs(2);

pub(super) async fn crash(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let _turn = scene.server_turn.lock().await;
    if scene.is_calm() {
        return Ok(0);
    }
    let server = scene.server();
    tokio::task::spawn_blocking(move || server.kill()).await??;
    scene.lasts(dice.time(Duration::from_millis(1), Duration::from_secs(3))).await;
    let server = scene.server();
    tokio::task::spawn_blocking(move || server.restart()).await??;
    scene.lasts(UP).await;
    Ok(1)
}

/// A standby begins as a copy of its server.
const COPIES: &str = "pg_basebackup";

pub(super) fn no_standby() -> Option<String> {
    let is_there = Installation::find().is_ok_and(|found| found.programs().join(COPIES).exists());
    (!is_there).then(|| format!("`{COPIES}` is not among the programs of PostgreSQL"))
}

pub(super) async fn promote(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let _turn = scene.server_turn.lock().await;
    if scene.is_calm() {
        return Ok(0);
    }
    let (server, lag) = (scene.server(), dice.time(Duration::from_millis(1), Duration::from_secs(10)));
    let standby = tokio::task::spawn_blocking(move || server.start_standby(lag)).await??;
    scene.lasts(dice.time(Duration::from_millis(100), Duration::from_secs(5))).await;
    let server = scene.server();
    let promoted = tokio::task::spawn_blocking(move || {
        server.kill()?;
        standby.promote().map(|()| standby)
    });
    scene.move_to(promoted.await??)?;
    Ok(1)
}

pub(super) async fn terminate(scene: Arc<Scene>) -> anyhow::Result<u64> {
    // The session that waits for a standby is not to be ended.
    let Ok(_turn) = scene.server_turn.try_lock() else { return Ok(0) };
    // The server may be down.
    let Ok(mut connection) = scene.connect().await else { return Ok(0) };
    let ended = sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where backend_type = 'client backend' and pid <> pg_backend_pid() and pid % 2 = (random() < 0.5)::int",
    );
    Ok(u64::from(ended.execute(&mut connection).await.is_ok()))
}

pub(super) async fn crowd(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let _turn = scene.server_turn.lock().await;
    let mut crowd = Vec::new();
    // The server has a limit.
    while let Ok(connection) = scene.connect().await {
        crowd.push(connection);
    }
    scene.lasts(dice.time(Duration::from_millis(100), Duration::from_secs(5))).await;
    Ok(u64::from(!crowd.is_empty()))
}

pub(super) async fn hold(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let Ok(mut connection) = scene.connect().await else { return Ok(0) };
    let Ok(mut transaction) = connection.begin_with("begin isolation level repeatable read").await else {
        return Ok(0);
    };
    // A snapshot and a number of its own: neither dead rows nor the inbox may get past it.
    let held = sqlx::query("select pg_current_xact_id(), count(*) from pgworkflows.frames");
    if held.execute(&mut *transaction).await.is_err() {
        return Ok(0);
    }
    scene.lasts(dice.time(Duration::from_secs(5), Duration::from_secs(120))).await;
    // A crash of the server may have ended it.
    let _ = transaction.rollback().await;
    Ok(1)
}
