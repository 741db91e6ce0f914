//! A host whose clock is wrong, and jumps: libfaketime answers a program that asks what time it is. The monotonic clock
//! stays, as it does when somebody sets the other one.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::state_dir::put;

/// The clock of one program.
#[derive(Debug)]
pub(crate) struct OddClock {
    dir: TempDir,
}

impl OddClock {
    /// Ahead of the right time by so many seconds.
    pub(crate) fn ahead(seconds: i64) -> Self {
        let clock = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        clock.set(seconds);
        clock
    }

    /// From now on it is ahead by so many seconds.
    pub(crate) fn set(&self, seconds: i64) {
        let aside = self.dir.path().join("next");
        put(&aside, format!("{seconds:+}s\n").as_bytes());
        std::fs::rename(aside, self.file()).unwrap();
    }

    /// What the program is started with.
    pub(crate) fn settings(&self) -> [(&'static str, String); 5] {
        let file = self.file().display().to_string();
        [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }
}

/// Debian puts it into the folder of the machine's kind.
fn library() -> PathBuf {
    let kinds = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut found = kinds.map(|kind| kind.path().join(Path::new("faketime/libfaketimeMT.so.1")));
    found
        .find(|path| path.exists())
        .expect("libfaketime, which tests/run installs")
}
