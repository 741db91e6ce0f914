//! Locks between processes, held by an open descriptor and so never stale: when their holder dies in
//! whatever way, the kernel lets go. The pid inside is for naming the holder only.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::state::fs::{FsError, OwnerDir};

const STEP: Duration = Duration::from_millis(5);
/// A mere look at the lock holds it for microseconds; that must not make an acquirer give up.
const PATIENCE: Duration = Duration::from_millis(100);
const MAX_PID_BYTES: u64 = 20;

/// A lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{name} is held by {}", holder_name(*pid))]
    Held {
        /// The lock file's name.
        name: String,
        /// The holder, when it wrote its pid.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error(transparent)]
    File(#[from] FsError),
}

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, when it wrote one.
    pub pid: Option<u32>,
}

fn holder_name(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct StateLock {
    held: Flock<File>,
    path: PathBuf,
}

impl StateLock {
    /// Takes the lock, or tells who has it.
    ///
    /// # Errors
    /// [`LockError::Held`], or why the lock file cannot be used.
    pub fn acquire(dir: &OwnerDir, name: &str) -> Result<Self, LockError> {
        Self::acquire_within(dir, name, PATIENCE)
    }

    /// Takes the lock, waiting at most `patience` for its holder. Blocks the thread.
    ///
    /// # Errors
    /// As [`StateLock::acquire`].
    pub fn acquire_within(dir: &OwnerDir, name: &str, patience: Duration) -> Result<Self, LockError> {
        let mut left = patience;
        let mut file = dir.open_lock_file(name)?;
        loop {
            match try_lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Self::named(dir, name, held)?),
                Err((back, errno)) if errno == Errno::EWOULDBLOCK || errno == Errno::EINTR => file = back,
                Err((_, errno)) => return Err(FsError::io("lock", dir.path().join(name), errno).into()),
            }
            if left.is_zero() {
                return Err(LockError::Held {
                    name: name.to_owned(),
                    pid: read_pid(&mut file),
                });
            }
            thread::park_timeout(STEP.min(left));
            left = left.saturating_sub(STEP);
        }
    }

    /// As [`StateLock::acquire_within`], without blocking the thread.
    ///
    /// # Errors
    /// As [`StateLock::acquire`].
    pub async fn acquire_async(dir: &OwnerDir, name: &str, patience: Duration) -> Result<Self, LockError> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match Self::acquire_within(dir, name, Duration::ZERO) {
                Err(LockError::Held { .. }) if tokio::time::Instant::now() < deadline => tokio::time::sleep(STEP).await,
                other => return other,
            }
        }
    }

    /// Who holds the lock, none when it is free or was never taken.
    ///
    /// # Errors
    /// [`FsError`] when the lock file cannot be used.
    pub fn holder(dir: &OwnerDir, name: &str) -> Result<Option<Holder>, FsError> {
        let Some(file) = dir.open_read(name)? else {
            return Ok(None);
        };
        match try_lock(file, FlockArg::LockSharedNonblock) {
            Ok(_free) => Ok(None),
            Err((mut file, Errno::EWOULDBLOCK)) => Ok(Some(Holder {
                pid: read_pid(&mut file),
            })),
            Err((_, errno)) => Err(FsError::io("lock", dir.path().join(name), errno)),
        }
    }

    /// Whether the held file still is the one at its path. It is not when the directory was deleted or replaced: then
    /// the lock keeps nobody out any more.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let (held, found) = (self.held.metadata(), std::fs::symlink_metadata(&self.path));
        match (held, found) {
            (Ok(held), Ok(found)) => (held.dev(), held.ino()) == (found.dev(), found.ino()),
            (Ok(_), Err(error)) => error.kind() != ErrorKind::NotFound,
            (Err(_), Ok(_) | Err(_)) => true,
        }
    }

    fn named(dir: &OwnerDir, name: &str, mut held: Flock<File>) -> Result<Self, FsError> {
        let text = format!("{}\n", std::process::id());
        held.set_len(0)
            .and_then(|()| held.rewind())
            .and_then(|()| held.write_all(text.as_bytes()))
            .or_else(when_full)
            .map_err(|source| FsError::io("write", dir.path().join(name), source))?;
        Ok(Self {
            held,
            path: dir.path().join(name),
        })
    }
}

/// The lock is the descriptor; a full disk only costs the holder's name.
fn when_full(error: std::io::Error) -> std::io::Result<()> {
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    if full { Ok(()) } else { Err(error) }
}

fn try_lock(file: File, how: FlockArg) -> Result<Flock<File>, (File, Errno)> {
    Flock::lock(file, how)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(MAX_PID_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 0)
}
