//! Why the last daemon ended, left for `start` and `status`, which may run long after.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::state::fs::{FsError, OwnerDir};

const NAME: &str = "last_exit.json";

/// How a daemon ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// When, to the millisecond.
    #[serde(serialize_with = "clock::serialize")]
    pub at: Timestamp,
    /// Its process id.
    pub pid: u32,
    /// Its exit code.
    pub code: u8,
    /// Why, in a sentence.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether running work had to be cancelled for it.
    #[serde(default)]
    pub work_cancelled: bool,
}

impl LastExit {
    /// The end of this process, now.
    #[must_use]
    pub fn of_this_process(code: u8, reason: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            at: clock::now(),
            pid: std::process::id(),
            code,
            reason: reason.into(),
            hint,
            work_cancelled: false,
        }
    }
}

/// The last end that was written; an unreadable one counts as none, it only informs.
///
/// # Errors
/// [`FsError`] when the path cannot be used.
pub fn load(dir: &OwnerDir) -> Result<Option<LastExit>, FsError> {
    let bytes = dir.read(NAME)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Writes how this daemon ended.
///
/// # Errors
/// [`FsError`].
pub fn save(dir: &OwnerDir, exit: &LastExit) -> Result<(), FsError> {
    let text = serde_json::to_vec_pretty(exit)
        .map_err(|error| FsError::io("encode", dir.path().join(NAME), std::io::Error::other(error)))?;
    dir.replace(NAME, &text)
}

/// Forgets the last end, so that the next one cannot be mistaken for it.
///
/// # Errors
/// [`FsError`].
pub fn clear(dir: &OwnerDir) -> Result<(), FsError> {
    dir.remove(NAME).map(drop)
}
