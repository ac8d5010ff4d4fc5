//! A server whose disk is full. It must not know what it stores there.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pgworkflows_testkit::runtime::dice::Dice;
use rustix::fs::statvfs;

use crate::options::Options;
use crate::scene::Scene;

/// How large the file system may be, in bytes. It has to hold the data of a server and of its standby, with their write-ahead
/// logs. A larger one may be the disk of others, and takes long to fill.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 30..=8 << 30;

/// The file that takes the free space.
const BALLAST: &str = "ballast";

/// How much is written to it at once, in bytes: large pieces first, and small ones for the rest.
const PIECES: [usize; 2] = [1 << 20, 4 << 10];

/// How long the server may take to recover, at most.
const RECOVERS: Duration = Duration::from_secs(120);

/// How often it is asked whether it has recovered.
const LOOK: Duration = Duration::from_millis(100);

pub(super) fn missing(options: &Options) -> Option<String> {
    let Some(directory) = options.server_dir() else {
        return Some(
            "`--server-dir` names no small file system that can be filled (see `--help`)".to_owned(),
        );
    };
    small(directory).err().map(|problem| format!("{problem:#}"))
}

/// Checks that a directory is on a file system that may be filled.
fn small(directory: &Path) -> anyhow::Result<()> {
    let disk = statvfs(directory).with_context(|| directory.display().to_string())?;
    let size = disk.f_blocks * disk.f_frsize;
    ensure!(
        SIZES.contains(&size),
        "the file system of {} has {} MiB; to be filled, it must have {} to {} MiB",
        directory.display(),
        size >> 20,
        SIZES.start() >> 20,
        SIZES.end() >> 20
    );
    Ok(())
}

pub(super) async fn fill(scene: Arc<Scene>, mut dice: Dice) -> anyhow::Result<u64> {
    let _turn = scene.server_turn.lock().await;
    let Some(disk) = scene.server_dir.clone().filter(|_| !scene.is_calm()) else { return Ok(0) };
    let ballast = disk.join(BALLAST);
    let file = ballast.clone();
    let filled = tokio::task::spawn_blocking(move || fill_up(&file)).await?;
    if filled.is_ok() {
        scene.lasts(dice.time(Duration::from_millis(100), Duration::from_secs(10))).await;
    }
    std::fs::remove_file(&ballast).with_context(|| ballast.display().to_string())?;
    filled.with_context(|| ballast.display().to_string())?;
    recover(&scene).await?;
    Ok(1)
}

/// Writes a file until there is no space left.
fn fill_up(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    for size in PIECES {
        let piece = vec![0; size];
        let full = loop {
            if let Err(error) = file.write_all(&piece) {
                break error;
            }
        };
        if full.kind() != ErrorKind::StorageFull {
            return Err(full);
        }
    }
    Ok(())
}

/// Waits until the server accepts connections. It ends if it finds the disk full while it recovers, and is then started again.
async fn recover(scene: &Scene) -> anyhow::Result<()> {
    let begun = Instant::now();
    while scene.connect().await.is_err() {
        ensure!(begun.elapsed() < RECOVERS, "the server does not recover within {RECOVERS:?}");
        let server = scene.server();
        if !server.is_running() {
            tokio::task::spawn_blocking(move || server.restart()).await??;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::small;

    #[test]
    fn file_system_without_blocks_is_not_filled() {
        let problem = small("/proc".as_ref()).unwrap_err().to_string();
        assert!(problem.contains("/proc has 0 MiB") && problem.contains("1024 to 8192 MiB"), "{problem}");
    }

    #[test]
    fn missing_directory_is_named() {
        let problem = small("/no/such/directory".as_ref()).unwrap_err();
        assert!(format!("{problem:#}").contains("/no/such/directory"), "{problem:#}");
    }
}
