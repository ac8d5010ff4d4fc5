//! A directory of a test. It must not know what is in it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A new directory, which is deleted when it is dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Makes a directory that no other test has.
    ///
    /// # Panics
    /// Panics if the machine has no room for it.
    #[expect(clippy::new_without_default, reason = "a default should not touch the disk")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pgworkflows-tests-{}-{number}", std::process::id()));
        // Another process may have had this number.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A thread of a store may still close its files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
