//! Reading and changing the session file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::Session;
use super::format::{self, Fault};
use crate::config::paths::Paths;
use crate::state::fs::{FsError, OwnerDir};
use crate::state::lock::{LockError, StateLock};
use crate::state::place;

const LOCK: &str = "session.lock";
const REFRESH_LOCK: &str = "session.refresh.lock";
/// A change takes milliseconds; a holder that stays longer is stuck.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);
/// A refresh includes a request and its retries.
const REFRESH_PATIENCE: Duration = Duration::from_secs(45);

/// The session file could not be used. Missing is no error: see [`SessionStore::load`].
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The path cannot be read or written.
    #[error(transparent)]
    File(#[from] FsError),
    /// It is there, and no session can be read from it.
    #[error("{} is corrupt ({reason})", path.display())]
    Corrupt {
        /// The session file.
        path: PathBuf,
        /// What is wrong, without content.
        reason: String,
    },
    /// Some of the members that make a session are there, others are not.
    #[error("{} is incomplete: {} missing", path.display(), missing.join(", "))]
    Incomplete {
        /// The session file.
        path: PathBuf,
        /// The members that are missing or blank.
        missing: Vec<&'static str>,
    },
    /// A change needs a session.
    #[error("this host is not paired: {} holds no session; run `gateway pair CODE`", path.display())]
    NotPaired {
        /// The session file.
        path: PathBuf,
    },
    /// Another process holds the lock for too long.
    #[error("the session is in use: {0}")]
    Busy(#[source] LockError),
    /// It could not be written as JSON.
    #[error("the session cannot be written as JSON: {0}")]
    Encode(#[from] serde_json::Error),
}

impl SessionError {
    /// Whether pairing again is what mends it.
    #[must_use]
    pub const fn requires_pairing(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Incomplete { .. } | Self::NotPaired { .. } => true,
            Self::File(_) | Self::Busy(_) | Self::Encode(_) => false,
        }
    }

    /// The command that mends it.
    #[must_use]
    pub fn mend(&self) -> Option<String> {
        match self {
            Self::Corrupt { .. } | Self::Incomplete { .. } => {
                Some("pair again, which replaces the file: gateway pair CODE; or move it away".to_owned())
            }
            Self::NotPaired { .. } => Some("gateway pair CODE".to_owned()),
            Self::File(error) => error.mend(),
            Self::Busy(_) | Self::Encode(_) => None,
        }
    }

    /// Whether the same call may work later: the disk was full, or somebody else was busy with the file.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::File(error) => error.is_full(),
            Self::Busy(_) => true,
            Self::Corrupt { .. } | Self::Incomplete { .. } | Self::NotPaired { .. } | Self::Encode(_) => false,
        }
    }
}

impl From<LockError> for SessionError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::File(file) => Self::File(file),
            held @ LockError::Held { .. } => Self::Busy(held),
        }
    }
}

/// Held while one process refreshes the tokens, so that no other one rotates them too.
#[derive(Debug)]
pub struct RefreshGuard {
    _lock: StateLock,
}

/// Door to the session file. Holds paths only: every call opens and checks anew. Calls block for as
/// long as a small file takes.
#[derive(Debug, Clone)]
pub struct SessionStore {
    paths: Paths,
    name: String,
}

impl SessionStore {
    /// The store at these paths.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        let name = paths.config_file.file_name().unwrap_or_default();
        Self {
            paths: paths.clone(),
            name: name.to_string_lossy().into_owned(),
        }
    }

    /// The session file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.paths.config_file
    }

    /// The session, none when the host is not paired.
    ///
    /// A file that was damaged falls back to the generation before it, while that is kept.
    ///
    /// # Errors
    /// [`SessionError`] when something is there and cannot be read.
    pub fn load(&self) -> Result<Option<Session>, SessionError> {
        let Some(dir) = place::find_session_dir(&self.paths)? else {
            return Ok(None);
        };
        match self.load_in(&dir) {
            Err(corrupt @ SessionError::Corrupt { .. }) => match self.read_previous(&dir) {
                Some(previous) => {
                    tracing::warn!(error = %corrupt, "the session before this one is used");
                    Ok(Some(previous))
                }
                None => Err(corrupt),
            },
            other => other,
        }
    }

    /// Host machine control as the file says now; false without a file.
    ///
    /// # Errors
    /// [`SessionError`] when something is there and cannot be read.
    pub fn full_control_enabled(&self) -> Result<bool, SessionError> {
        Ok(self.fields()?.as_ref().is_some_and(format::full_control))
    }

    /// Whether the file holds a VM guest identity, paired or not.
    ///
    /// # Errors
    /// [`SessionError`] when something is there and cannot be read.
    pub fn is_vm_guest(&self) -> Result<bool, SessionError> {
        Ok(self.fields()?.as_ref().is_some_and(format::is_vm_guest))
    }

    /// Changes the session as it is on disk now, whoever wrote it last.
    ///
    /// When tokens change, the generation before is kept until they change again: the control plane takes the last used
    /// refresh token as well as the current one.
    ///
    /// # Errors
    /// [`SessionError`]; the file is then as it was.
    pub fn update(&self, change: impl FnOnce(&mut Session)) -> Result<Session, SessionError> {
        let Some(dir) = place::find_session_dir(&self.paths)? else {
            return Err(self.not_paired());
        };
        let _lock = StateLock::acquire_within(&dir, LOCK, CHANGE_PATIENCE)?;
        let base = self.read_fields(&dir)?.unwrap_or_default();
        let mut session = self.decode(base.clone())?.ok_or_else(|| self.not_paired())?;
        let before = session.clone();
        change(&mut session);
        if session == before {
            return Ok(session);
        }
        if session.refresh_token != before.refresh_token {
            dir.replace(&self.previous_name(), &format::encode(&before, &base)?)?;
        }
        dir.replace(&self.name, &format::encode(&session, &base)?)?;
        Ok(session)
    }

    /// Writes a new session. With `keep_unknown`, a VM guest identity and every member this version
    /// does not know are taken over from the file that is there, also from one that is not paired.
    ///
    /// # Errors
    /// [`SessionError`]; the file is then as it was.
    pub fn create(&self, mut session: Session, keep_unknown: bool) -> Result<Session, SessionError> {
        let dir = place::session_dir(&self.paths)?;
        let _lock = StateLock::acquire_within(&dir, LOCK, CHANGE_PATIENCE)?;
        let base = match self.read_fields(&dir) {
            Ok(fields) if keep_unknown => fields.unwrap_or_default(),
            // A new pairing is what mends a damaged file.
            Ok(_) | Err(SessionError::Corrupt { .. }) => Map::new(),
            Err(error) => return Err(error),
        };
        for (key, value) in format::carried_over(&base) {
            session.other.entry(key.clone()).or_insert_with(|| value.clone());
        }
        dir.replace(&self.name, &format::encode(&session, &base)?)?;
        dir.remove(&self.previous_name())?;
        Ok(session)
    }

    /// Removes the session and the generation before it.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn wipe(&self) -> Result<bool, SessionError> {
        let Some(dir) = place::find_session_dir(&self.paths)? else {
            return Ok(false);
        };
        let _lock = StateLock::acquire_within(&dir, LOCK, CHANGE_PATIENCE)?;
        dir.remove(&self.previous_name())?;
        Ok(dir.remove(&self.name)?)
    }

    /// The generation before the current tokens, if there is one.
    ///
    /// # Errors
    /// [`SessionError`] when the directory cannot be used.
    pub fn previous(&self) -> Result<Option<Session>, SessionError> {
        Ok(place::find_session_dir(&self.paths)?.and_then(|dir| self.read_previous(&dir)))
    }

    /// Waits until no other process refreshes the tokens. Load again under the guard: another process
    /// may just have done it.
    ///
    /// # Errors
    /// [`SessionError::Busy`] when somebody holds it for too long.
    pub async fn refresh_guard(&self) -> Result<RefreshGuard, SessionError> {
        let dir = place::session_dir(&self.paths)?;
        let lock = StateLock::acquire_async(&dir, REFRESH_LOCK, REFRESH_PATIENCE).await?;
        Ok(RefreshGuard { _lock: lock })
    }

    fn load_in(&self, dir: &OwnerDir) -> Result<Option<Session>, SessionError> {
        self.decode(self.read_fields(dir)?.unwrap_or_default())
    }

    fn fields(&self) -> Result<Option<Map<String, Value>>, SessionError> {
        match place::find_session_dir(&self.paths)? {
            Some(dir) => self.read_fields(&dir),
            None => Ok(None),
        }
    }

    fn read_fields(&self, dir: &OwnerDir) -> Result<Option<Map<String, Value>>, SessionError> {
        let bytes = dir.read(&self.name)?;
        bytes
            .map(|bytes| format::parse(&bytes))
            .transpose()
            .map_err(|fault| self.fault(fault))
    }

    fn read_previous(&self, dir: &OwnerDir) -> Option<Session> {
        let bytes = dir.read(&self.previous_name()).ok()??;
        format::parse(&bytes).and_then(format::decode).ok()?
    }

    fn decode(&self, fields: Map<String, Value>) -> Result<Option<Session>, SessionError> {
        format::decode(fields).map_err(|fault| self.fault(fault))
    }

    fn previous_name(&self) -> String {
        format!("{}.previous", self.name)
    }

    fn not_paired(&self) -> SessionError {
        SessionError::NotPaired {
            path: self.path().to_path_buf(),
        }
    }

    fn fault(&self, fault: Fault) -> SessionError {
        let path = self.path().to_path_buf();
        match fault {
            Fault::Corrupt(reason) => SessionError::Corrupt { path, reason },
            Fault::Incomplete(missing) => SessionError::Incomplete { path, missing },
        }
    }
}
