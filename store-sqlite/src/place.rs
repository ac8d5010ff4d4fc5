//! Checks where a file is to be, before anything is opened. It must not know what is in the file.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use pgworkflows_core::store::StoreError;

/// Refuses a path where no store can be.
pub(crate) fn check(path: &Path) -> Result<(), StoreError> {
    let refuse = |text: String| Err(StoreError::misconfigured(text));
    let shown = path.display();
    if path.as_os_str().is_empty() {
        return refuse(
            "the path of the database file is empty: give one, such as `sqlite:runs.db`".to_owned(),
        );
    }
    if path.to_str().is_none() {
        return refuse(format!("`{shown}` is not UTF-8, as SQLite needs it: give another path"));
    }
    match path.metadata() {
        Ok(found) if found.is_dir() => {
            return refuse(format!(
                "`{shown}` is a directory: give the path of a file in it, such as `{shown}/runs.db`"
            ));
        }
        Ok(found) if found.permissions().readonly() => {
            return refuse(format!(
                "`{shown}` is read-only: allow this user to write it, or copy it elsewhere"
            ));
        }
        Ok(found) if !found.is_file() => {
            return refuse(format!(
                "`{shown}` is a device, a pipe or a socket: give the path of a plain file"
            ));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return refuse(format!("`{shown}` cannot be looked at: {error}")),
    }
    let directory = directory_of(path);
    match directory.metadata() {
        Ok(found) if found.is_dir() => {
            let resolved = resolve(path);
            check_file_system(path, resolved.as_deref().map_or(directory, directory_of))
        }
        Ok(_) => refuse(format!("`{}`, where `{shown}` is to be, is not a directory", directory.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => refuse(format!(
            "the directory `{}` of `{shown}` does not exist: create it, or give another path",
            directory.display()
        )),
        Err(error) => refuse(format!("`{}` cannot be looked at: {error}", directory.display())),
    }
}

/// The path without links, so that all who open the file find the same files beside it; its directory may be a link, too.
pub(crate) fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    match (path.canonicalize(), path.file_name()) {
        (Err(error), Some(name)) if error.kind() == ErrorKind::NotFound => {
            Ok(directory_of(path).canonicalize()?.join(name))
        }
        (resolved, _) => resolved,
    }
}

/// A file beside the database.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Tells a file from another one that takes its place: its device and its number there.
pub(crate) type Identity = (u64, u64);

/// Which file a path leads to.
#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> std::io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;

    path.metadata().map(|found| (found.dev(), found.ino()))
}

/// Which file a path leads to. Elsewhere a file that is open is neither deleted nor replaced.
#[cfg(not(unix))]
pub(crate) fn identity(path: &Path) -> std::io::Result<Identity> {
    path.metadata().map(|_| (0, 0))
}

/// The directory of a file.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Refuses file systems that other machines share: SQLite's write-ahead log needs memory that all of its users share, so a file
/// that two machines write is damaged.
#[cfg(target_os = "linux")]
fn check_file_system(path: &Path, directory: &Path) -> Result<(), StoreError> {
    // Where it cannot be asked, SQLite itself will say what is wrong.
    let Ok(found) = rustix::fs::statfs(directory) else { return Ok(()) };
    // Its type is signed on some machines, and of 32 bits on others.
    check_kind(path, i128::from(found.f_type) & 0xffff_ffff)
}

/// Refuses a file system of this type, if other machines share it.
#[cfg(target_os = "linux")]
fn check_kind(path: &Path, kind: i128) -> Result<(), StoreError> {
    match NETWORK.iter().find(|(number, _)| i128::from(*number) == kind) {
        Some((_, name)) => Err(StoreError::misconfigured(format!(
            "`{}` is on a network file system ({name}), where several machines could damage it: put it on a local disk, or use \
             PostgreSQL",
            path.display()
        ))),
        None => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn check_file_system(_path: &Path, _directory: &Path) -> Result<(), StoreError> {
    Ok(())
}

/// The types of file systems that several machines share, as `statfs(2)` names them.
#[cfg(target_os = "linux")]
const NETWORK: [(u32, &str); 12] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9P"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x7461_636f, "OCFS2"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_without_a_directory_is_in_the_current_one() {
        assert_eq!(directory_of(Path::new("runs.db")), Path::new("."));
        assert_eq!(directory_of(Path::new("/tmp/runs.db")), Path::new("/tmp"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn local_disks_are_no_network_file_systems() {
        // ext4, xfs, btrfs, tmpfs, overlayfs, zfs
        for local in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1] {
            check_kind(Path::new("runs.db"), local).unwrap();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_system_is_refused_with_its_name_and_what_to_do() {
        for (kind, name) in [(0x6969, "(NFS)"), (0xff53_4d42, "(CIFS)"), (0x0102_1997, "(9P)")] {
            let error = check_kind(Path::new("/mnt/runs.db"), kind).unwrap_err();
            assert!(matches!(error, StoreError::Misconfigured { .. }), "{error:?}");
            for word in ["`/mnt/runs.db`", name, "local disk", "PostgreSQL"] {
                assert!(error.to_string().contains(word), "{error}");
            }
        }
    }
}
