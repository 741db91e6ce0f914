//! A small JSON file of settings: read whole, changed under a lock, replaced at once.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::fs::{FsError, OwnerDir};
use crate::state::lock::{LockError, StateLock};

/// One lock for all of them: they change seldom.
const LOCK: &str = "settings.lock";
const PATIENCE: Duration = Duration::from_secs(5);

/// The file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The path cannot be read or written.
    #[error(transparent)]
    File(#[from] FsError),
    /// Somebody else is changing it, for too long.
    #[error(transparent)]
    Busy(#[from] LockError),
    /// It is there and does not hold what it should.
    #[error("{path} cannot be understood ({reason}); move it aside and say again what it held: mv {path} {path}.aside")]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong, without content.
        reason: serde_json::Error,
    },
}

/// One such file.
#[derive(Debug, Clone)]
pub(super) struct Document {
    dir: Arc<OwnerDir>,
    name: &'static str,
}

impl Document {
    pub(super) fn new(dir: &Arc<OwnerDir>, name: &'static str) -> Self {
        Self {
            dir: Arc::clone(dir),
            name,
        }
    }

    pub(super) fn dir(&self) -> &OwnerDir {
        &self.dir
    }

    /// What it holds; the default when it is missing.
    pub(super) fn load<T: DeserializeOwned + Default>(&self) -> Result<T, DocumentError> {
        let Some(bytes) = self.dir.read(self.name)? else {
            return Ok(T::default());
        };
        serde_json::from_slice(&bytes).map_err(|reason| self.corrupt(reason))
    }

    /// Changes what it holds now, whoever wrote it last. An error of `change` leaves it as it was.
    pub(super) fn update<T, R, E>(&self, change: impl FnOnce(&mut T) -> Result<R, E>) -> Result<R, E>
    where
        T: DeserializeOwned + Default + Serialize,
        E: From<DocumentError>,
    {
        let _lock = StateLock::acquire_within(&self.dir, LOCK, PATIENCE).map_err(DocumentError::from)?;
        let mut held: T = self.load()?;
        let result = change(&mut held)?;
        let text = serde_json::to_vec_pretty(&held).map_err(|reason| self.corrupt(reason))?;
        self.dir.replace(self.name, &text).map_err(DocumentError::from)?;
        Ok(result)
    }

    fn corrupt(&self, reason: serde_json::Error) -> DocumentError {
        DocumentError::Corrupt {
            path: self.dir.path().join(self.name).display().to_string(),
            reason,
        }
    }
}
