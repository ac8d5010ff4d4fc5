//! Workers whose clock is wrong. It must not know what they read it for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pgworkflows_testkit::runtime::dice::Dice;

use crate::scene::Scene;
use crate::slot::Role;

/// How far a clock may be off, in seconds.
const OFF_MAX: u64 = 3600;

/// How long such a worker runs, unless it is killed earlier. Its successor has a right clock.
const RUNS: Duration = Duration::from_secs(20);

/// The library that falsifies a process's clock.
fn library() -> Option<PathBuf> {
    let directories = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let directories = directories.chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")]);
    directories.map(|path| path.join("faketime/libfaketime.so.1")).find(|path| path.exists())
}

pub(super) fn missing() -> Option<String> {
    library()
        .is_none()
        .then(|| "libfaketime is not installed (Debian: `apt-get install libfaketime`)".to_owned())
}

pub(super) async fn skew(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let Some(library) = library() else { return Ok(0) };
    let Some((slot, mut process)) = scene.victim(Role::Worker, &mut dice) else { return Ok(0) };
    if let Some(mut process) = process.take() {
        process.kill().await?;
    }
    let sign = if dice.chance(500) { "+" } else { "-" };
    let environment = [
        ("LD_PRELOAD", library.to_string_lossy().into_owned()),
        ("FAKETIME", format!("{sign}{}", dice.between(1, OFF_MAX))),
        // The machine's other clock has no date that could be wrong.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    *process = Some(slot.spawn(&scene.group, &environment)?);
    // Others may disturb it meanwhile.
    drop(process);
    scene.lasts(RUNS).await;
    Ok(1)
}
