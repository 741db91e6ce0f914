//! The operator's credential: what `exec` and `job` log in with, kept apart from the gateway's session.

use serde::{Deserialize, Serialize};

use crate::domain::ids::TeamId;
use crate::domain::secret::Secret;
use crate::state::fs::{FsError, OwnerDir};

const NAME: &str = "operator.json";

/// Who submits jobs, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The control plane.
    pub url: String,
    /// Its public key.
    pub anon_key: Secret,
    /// The operator's token.
    pub token: Secret,
    /// The team the token speaks for.
    pub team_id: TeamId,
}

/// The credential file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The path cannot be read or written.
    #[error(transparent)]
    File(#[from] FsError),
    /// It is there and is no credential.
    #[error("{path} holds no operator credential ({reason}); write it anew with `gateway login`")]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong, without content.
        reason: serde_json::Error,
    },
}

/// The file's format. [`Secret`] has no `Serialize`, so the exposure is visible here.
#[derive(Serialize, Deserialize)]
struct Stored {
    url: String,
    anon_key: String,
    token: String,
    team_id: TeamId,
}

/// The credential, none when there is none.
///
/// # Errors
/// [`OperatorError`].
pub fn load(dir: &OwnerDir) -> Result<Option<Operator>, OperatorError> {
    let Some(bytes) = dir.read(NAME)? else {
        return Ok(None);
    };
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|reason| OperatorError::Corrupt {
        path: dir.path().join(NAME).display().to_string(),
        reason,
    })?;
    Ok(Some(Operator {
        url: stored.url,
        anon_key: Secret::new(stored.anon_key),
        token: Secret::new(stored.token),
        team_id: stored.team_id,
    }))
}

/// Writes the credential.
///
/// # Errors
/// [`OperatorError`].
pub fn save(dir: &OwnerDir, operator: &Operator) -> Result<(), OperatorError> {
    let stored = Stored {
        url: operator.url.clone(),
        anon_key: operator.anon_key.expose().to_owned(),
        token: operator.token.expose().to_owned(),
        team_id: operator.team_id.clone(),
    };
    let text = serde_json::to_vec_pretty(&stored).map_err(|reason| OperatorError::Corrupt {
        path: dir.path().join(NAME).display().to_string(),
        reason,
    })?;
    Ok(dir.replace(NAME, &text)?)
}

/// Removes the credential; whether there was one.
///
/// # Errors
/// [`OperatorError`].
pub fn wipe(dir: &OwnerDir) -> Result<bool, OperatorError> {
    Ok(dir.remove(NAME)?)
}
