//! Writing. A log never fails its writer: what cannot be written is counted, and said once it can.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use super::name_of;
use crate::config::paths::Paths;
use crate::domain::clock::{self, wire_time};
use crate::state::fs::{FsError, OwnerDir};
use crate::state::place;

/// How large a log grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Files, the current one included.
    pub files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 10 << 20,
            files: 5,
        }
    }
}

/// A log with a bound on its size; clones share it.
#[derive(Debug, Clone)]
pub struct RotatingLog {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    dir: OwnerDir,
    name: String,
    limits: Limits,
    /// None while the file cannot be opened; every write tries again.
    file: Option<File>,
    dropped: u64,
    dropped_unsaid: u64,
}

impl RotatingLog {
    /// The log of these paths.
    ///
    /// # Errors
    /// [`FsError`] when its path cannot be used: that is told at the start, not swallowed.
    pub fn open(paths: &Paths) -> Result<Self, FsError> {
        let (dir, name) = place::plain_file(paths, &paths.log_file)?;
        Self::with_limits(dir, &name, Limits::default())
    }

    /// A log with other limits.
    ///
    /// # Errors
    /// [`FsError`] when its path cannot be used.
    pub fn with_limits(dir: OwnerDir, name: &str, limits: Limits) -> Result<Self, FsError> {
        let file = match dir.append(name) {
            Ok(file) => Some(file),
            Err(error) if error.is_full() => None,
            Err(error) => return Err(error),
        };
        let shared = Shared {
            dir,
            name: name.to_owned(),
            limits,
            file,
            dropped: 0,
            dropped_unsaid: 0,
        };
        Ok(Self {
            shared: Arc::new(Mutex::new(shared)),
        })
    }

    /// Lines that could not be written since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.with(|shared| shared.dropped)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn write_lines(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        if self.dropped_unsaid > 0 && !self.say_dropped() {
            return self.count(text);
        }
        if self.append(text).is_err() {
            self.count(text);
        }
    }

    fn count(&mut self, text: &[u8]) {
        let lines = text.iter().filter(|byte| **byte == b'\n').count().max(1);
        let lines = u64::try_from(lines).unwrap_or(u64::MAX);
        self.dropped = self.dropped.saturating_add(lines);
        self.dropped_unsaid = self.dropped_unsaid.saturating_add(lines);
    }

    fn say_dropped(&mut self) -> bool {
        let note = format!(
            "{{\"timestamp\":\"{}\",\"level\":\"WARN\",\"message\":\"log lines were dropped\",\"count\":{}}}\n",
            wire_time(clock::now()),
            self.dropped_unsaid
        );
        let said = self.append(note.as_bytes()).is_ok();
        if said {
            self.dropped_unsaid = 0;
        }
        said
    }

    /// All of `text` or nothing: a part that a full disk left behind is cut off again.
    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let size = self.make_room(text)?;
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let written = file.write_all(text);
        if written.is_err() {
            file.set_len(size)?;
        }
        written
    }

    /// An open file with room for `text`, and its size. Others append too (a panic's text), and
    /// somebody may have removed the file: the descriptor is asked every time.
    fn make_room(&mut self, text: &[u8]) -> io::Result<u64> {
        let wanted = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if let Some(file) = &self.file {
            let found = file.metadata()?;
            let full = found.len() > 0 && found.len().saturating_add(wanted) > self.limits.file_bytes;
            if found.nlink() > 0 && !full {
                return Ok(found.len());
            }
            if full && found.nlink() > 0 {
                self.rotate()?;
            }
        }
        let file = self.dir.append(&self.name).map_err(io::Error::other);
        let size = file
            .as_ref()
            .map_or(0, |file| file.metadata().map_or(0, |found| found.len()));
        self.file = file.ok();
        Ok(size)
    }

    fn rotate(&self) -> io::Result<()> {
        let last = self.limits.files.max(1).saturating_sub(1);
        if last == 0 {
            return self.dir.remove(&self.name).map(drop).map_err(io::Error::other);
        }
        for generation in (0..last).rev() {
            let (from, to) = (name_of(&self.name, generation), name_of(&self.name, generation + 1));
            self.dir.rename(&from, &to).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// Writes one event; never fails.
#[derive(Debug)]
pub struct LogWriter<'a>(&'a RotatingLog);

impl Write for LogWriter<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.with(|shared| shared.write_lines(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RotatingLog {
    type Writer = LogWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LogWriter(self)
    }
}

impl Write for RotatingLog {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        LogWriter(self).write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
