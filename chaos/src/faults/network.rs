//! A network that loses, cuts and delays. It must not know what passes over it.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows_testkit::runtime::dice::Dice;

use super::processes::around_a_lease;
use crate::scene::Scene;
use crate::slot::{Cuts, Role, Slot};

/// How long connections are cut.
const CUTTING: Duration = Duration::from_secs(2);

/// How many in a thousand of the faults here meet a client.
const CLIENTS: u64 = 250;

/// A place whose network is disturbed. Its process may be disturbed at the same time.
fn victim<'a>(scene: &'a Scene, dice: &mut Dice) -> Option<&'a Slot> {
    let role = if dice.chance(CLIENTS) { Role::Client } else { Role::Worker };
    let of_role = scene.of_role(role, dice);
    let bound = (of_role.len() as u64).max(1);
    of_role.get(dice.below(bound) as usize).copied()
}

pub(super) async fn partition(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let Some(slot) = victim(&scene, &mut dice) else { return Ok(0) };
    slot.link().silence();
    scene.lasts(around_a_lease(&scene, &mut dice)).await;
    // What was sent meanwhile is lost, or arrives now.
    if dice.chance(500) {
        slot.link().disconnect();
    }
    slot.link().resume();
    Ok(1)
}

pub(super) async fn cut_before(scene: Arc<Scene>, dice: Dice) -> anyhow::Result<u64> {
    cut(scene, dice, Cuts::Before).await
}

pub(super) async fn cut_after(scene: Arc<Scene>, dice: Dice) -> anyhow::Result<u64> {
    cut(scene, dice, Cuts::After).await
}

async fn cut(scene: Arc<Scene>, mut dice: Dice, cuts: Cuts) -> anyhow::Result<u64> {
    let Some(slot) = victim(&scene, &mut dice) else { return Ok(0) };
    slot.cut(Some(cuts));
    scene.lasts(CUTTING).await;
    slot.cut(None);
    Ok(1)
}

pub(super) async fn disconnect(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let Some(slot) = victim(&scene, &mut dice) else { return Ok(0) };
    slot.link().disconnect();
    Ok(1)
}

pub(super) async fn delay(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let Some(slot) = victim(&scene, &mut dice) else { return Ok(0) };
    slot.link().set_latency(dice.time(Duration::from_millis(5), Duration::from_millis(400)));
    scene.lasts(dice.time(Duration::from_millis(500), Duration::from_secs(5))).await;
    slot.link().set_latency(Duration::ZERO);
    Ok(1)
}

pub(super) async fn deaf(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let all = |lose| scene.slots.iter().for_each(|slot| slot.link().lose_notifications(lose));
    all(true);
    scene.lasts(dice.time(Duration::from_secs(1), Duration::from_secs(15))).await;
    all(false);
    Ok(1)
}
