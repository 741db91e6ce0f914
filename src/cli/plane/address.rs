//! `control-plane/address.json`: the port stays the same between runs, because a pairing pins the origin.

use serde::{Deserialize, Serialize};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::state::fs::OwnerDir;
use crate::state::lock::StateLock;

/// File name inside the control plane's directory.
pub(crate) const FILE: &str = "address.json";
/// Lock of the serving process; its text is that process's id. The server's own lock guards the database file.
pub(crate) const LOCK: &str = "serving.lock";

/// How an embedded control plane is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlaneAddress {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// The serving process.
    pub(crate) pid: u32,
    /// The public key.
    pub(crate) anon_key: String,
    /// Whether `gateway stop` ends it too.
    #[serde(default)]
    pub(crate) started_by_up: bool,
}

/// The control plane that runs now, if one does: the lock tells, not the file.
pub(crate) fn running(cx: &Context) -> Option<PlaneAddress> {
    let dir = OwnerDir::open(&cx.paths.control_plane_dir()).ok().flatten()?;
    let holder = StateLock::holder(&dir, LOCK).ok()??.pid?;
    remembered(&dir).filter(|address| address.pid == holder)
}

/// What the last run wrote.
pub(crate) fn remembered(dir: &OwnerDir) -> Option<PlaneAddress> {
    let bytes = dir.read(FILE).ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes the address of the serving process.
pub(crate) fn save(dir: &OwnerDir, address: &PlaneAddress) -> Result<(), CliError> {
    let text = serde_json::to_vec_pretty(address)
        .map_err(|error| CliError::failed("The address could not be written.").detail(error.to_string()))?;
    dir.replace(FILE, &text).map_err(CliError::from)
}
