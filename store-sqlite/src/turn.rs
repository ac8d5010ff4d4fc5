//! The queue of processes in front of the file's write lock. It must not know what is written.
//!
//! SQLite's own way to wait for its lock is to sleep and to try again, longer each time: of three processes that write without
//! a pause, one may wait for a second. Here a process waits for two locks of the operating system, which wakes it at once.
//!
//! There are two locks, *next* and *now*, each a file beside the database. Whoever has *next* waits for *now*, and gives *next*
//! away as soon as it has *now*. So the process that has just written has to pass *next* before it writes again, and the one that
//! waits for *now* is before it in any case. Those who wait for *next* get it in the order in which they came, as far as the
//! operating system keeps it. The locks of a process that dies are free at once.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use crate::place::beside;

/// A process's place at the queue.
#[derive(Debug)]
pub(crate) struct Queue {
    next: File,
    now: File,
}

/// The right to write. It ends when it is dropped.
pub(crate) struct Turn<'a>(&'a File);

impl Queue {
    /// The queue of a database file.
    pub(crate) fn of(database: &Path) -> io::Result<Self> {
        let open = |suffix: &str| {
            let path = beside(database, suffix);
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
        };
        Ok(Self { next: open("-next")?, now: open("-now")? })
    }

    /// Waits for the turn of this process. It blocks the thread.
    pub(crate) fn wait(&self) -> io::Result<Turn<'_>> {
        lock(&self.next)?;
        let now = lock(&self.now);
        self.next.unlock()?;
        now.map(|()| Turn(&self.now))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // It fails only if the file is closed, which frees the lock as well.
        let _ = self.0.unlock();
    }
}

fn lock(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn whoever_waits_comes_before_the_one_who_has_just_written() {
        let directory = std::env::temp_dir().join(format!("pgworkflows-turn-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let database = directory.join("runs.db");
        let (one, other) = (Queue::of(&database).unwrap(), Queue::of(&database).unwrap());
        let turn = one.wait().unwrap();

        // Given another that waits
        let (written, order) = mpsc::channel();
        let other_written = written.clone();
        let waiting = std::thread::spawn(move || {
            let _turn = other.wait().unwrap();
            other_written.send("other").unwrap();
        });
        let third = Queue::of(&database).unwrap();
        while third.next.try_lock().is_ok() {
            third.next.unlock().unwrap();
            std::thread::yield_now();
        }

        // When the one who writes wants to write again at once
        drop(turn);
        let _again = one.wait().unwrap();
        written.send("one").unwrap();
        waiting.join().unwrap();
        drop(written);
        assert!(order.iter().eq(["other", "one"]));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
