//! The session file, `gateway.json`: who this gateway is and the tokens that prove it.
//!
//! Several processes write it (daemon, `full-control`, `pair`), so every change is a read-modify-write
//! under a lock, and members this version does not know are kept. Tokens leave [`Secret`] here only.

mod format;
mod store;

use serde_json::{Map, Value};

pub use store::{RefreshGuard, SessionError, SessionStore};

use crate::domain::ids::{GatewayId, TeamId};
use crate::domain::secret::Secret;

/// The session of a paired gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Address of the backend that issued the tokens, as it was given.
    pub supabase_url: String,
    /// The backend's public key; empty in some old files.
    pub anon_key: Secret,
    /// Short-lived token; may have expired.
    pub access_token: Secret,
    /// Long-lived, rotated token.
    pub refresh_token: Secret,
    /// This gateway.
    pub gateway_id: GatewayId,
    /// Its team.
    pub team_id: TeamId,
    /// The host layer of machine control.
    pub full_control_enabled: bool,
    /// What `pair` called this host.
    pub device_name: Option<String>,
    /// Last known health by provider. Values are not ours alone: any shape is tolerated.
    pub provider_health: Map<String, Value>,
    /// Every other member, in order.
    pub other: Map<String, Value>,
}

impl Session {
    /// Whether a VM guest identity makes this a managed guest.
    #[must_use]
    pub fn is_vm_guest(&self) -> bool {
        format::is_vm_guest(&self.other)
    }
}
