//! Processes that die, stop, or are replaced. It must not know what they do.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows_testkit::runtime::dice::Dice;

use crate::process::{Signal, send};
use crate::scene::Scene;
use crate::slot::Role;

/// The longest time for which a killed worker is gone.
const GONE_MAX: Duration = Duration::from_secs(3);

/// A time that a worker may not notice, or that costs its lease.
pub(super) fn around_a_lease(scene: &Scene, dice: &mut Dice) -> Duration {
    scene.lease_ttl.mul_f64(dice.between(1, 30) as f64 / 10.0)
}

pub(super) async fn kill(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let Some((slot, mut process)) = scene.victim(Role::Worker, &mut dice) else { return Ok(0) };
    if let Some(mut process) = process.take() {
        process.kill().await?;
    }
    scene.lasts(dice.time(Duration::from_millis(1), GONE_MAX)).await;
    *process = Some(slot.spawn(&scene.group, &[])?);
    Ok(1)
}

pub(super) async fn kill_all(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let mut victims = Vec::new();
    // Those that others disturb are left to them.
    while let Some((slot, mut process)) = scene.victim(Role::Worker, &mut dice) {
        if let Some(process) = process.as_mut() {
            process.start_kill()?;
        }
        victims.push((slot, process));
    }
    for (_, process) in &mut victims {
        if let Some(mut process) = process.take() {
            process.wait().await?;
        }
    }
    scene.lasts(dice.time(Duration::from_millis(1), GONE_MAX)).await;
    for (slot, process) in &mut victims {
        **process = Some(slot.spawn(&scene.group, &[])?);
    }
    Ok(u64::from(!victims.is_empty()))
}

pub(super) async fn pause(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let Some((_, process)) = scene.victim(Role::Worker, &mut dice) else { return Ok(0) };
    let Some(process) = process.as_ref() else { return Ok(0) };
    send(process, Signal::STOP)?;
    scene.lasts(around_a_lease(&scene, &mut dice)).await;
    send(process, Signal::CONT)?;
    Ok(1)
}

pub(super) async fn roll(scene: Arc<Scene>) -> anyhow::Result<u64> {
    for slot in scene.slots.iter().filter(|slot| slot.role == Role::Worker) {
        // Whoever disturbs it is done soon.
        let mut process = slot.process.lock().await;
        if let Some(old) = process.as_mut() {
            scene.stop(slot, old).await;
            *process = Some(slot.spawn(&scene.group, &[])?);
        }
    }
    Ok(1)
}
