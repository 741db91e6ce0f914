//! The subagent that this machine's operator talked to last, so that the next turn needs no id.

use serde::{Deserialize, Serialize};

use crate::state::fs::{FsError, OwnerDir};

const NAME: &str = "last_run.json";

/// A subagent, and the control plane that knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// Address of the control plane.
    pub url: String,
    /// The subagent.
    pub subagent_id: String,
}

/// The last one; an unreadable file counts as none, it only saves typing.
///
/// # Errors
/// [`FsError`] when the path cannot be used.
pub fn load(dir: &OwnerDir) -> Result<Option<LastRun>, FsError> {
    let bytes = dir.read(NAME)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Remembers one.
///
/// # Errors
/// [`FsError`].
pub fn save(dir: &OwnerDir, last: &LastRun) -> Result<(), FsError> {
    let text = serde_json::to_vec_pretty(last)
        .map_err(|error| FsError::io("encode", dir.path().join(NAME), std::io::Error::other(error)))?;
    dir.replace(NAME, &text)
}
