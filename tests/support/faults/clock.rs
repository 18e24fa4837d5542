//! Clocks of the system that are wrong, by Debian's faketime.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{Variable, path};

/// Names the library that a program loads before all others.
pub const PRELOAD: &str = "LD_PRELOAD";
/// Shifts the system's clock, but not the monotonic clocks.
pub const ONLY_THE_SYSTEMS: Variable<'_> = ("FAKETIME_DONT_FAKE_MONOTONIC", "1");

/// The library that shifts the clock of a program.
pub fn library() -> String {
    let folders = fs::read_dir("/usr/lib").expect("the system's libraries").flatten().map(|entry| entry.path());
    let library = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists());
    library.expect("faketime is installed").display().to_string()
}

/// A clock that is stepped while a program runs by it.
pub struct Clock {
    folder: TempDir,
    file: PathBuf,
}

impl Clock {
    /// Returns a clock that is right.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder of the clock");
        let clock = Self { file: folder.path().join("offset"), folder };
        clock.step("+0");
        clock
    }

    /// Returns the variables of a program that goes by it.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let file = path(&self.file).to_owned();
        let (name, value) = ONLY_THE_SYSTEMS;
        vec![
            (PRELOAD, library()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            // Seconds until a step is noticed.
            ("FAKETIME_CACHE_DURATION", "1".into()),
            (name, value.into()),
        ]
    }

    /// Sets how far it is from the right time, such as `-600s`.
    pub fn step(&self, offset: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, offset).expect("write the offset");
        fs::rename(&new, &self.file).expect("set the clock");
    }

    /// Removes what a program that was killed left in shared memory.
    pub fn forget(process: u32) {
        for name in ["faketime_shm_", "sem.faketime_sem_"] {
            // One that ended in order has removed them.
            let _ = fs::remove_file(Path::new("/dev/shm").join(format!("{name}{process}")));
        }
    }
}
