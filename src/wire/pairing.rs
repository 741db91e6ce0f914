//! Bodies of the function `exchange-gateway-pairing-code`.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{GatewayId, TeamId};

/// Path of the function below the backend's address.
pub const EXCHANGE_PATH: &str = "/functions/v1/exchange-gateway-pairing-code";

/// What a gateway sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeRequest {
    /// The code, trimmed.
    pub code: String,
    /// Label of the host.
    pub device_name: String,
}

/// What a gateway gets for a good code. Unknown members are ignored.
#[derive(Clone, Serialize, Deserialize)]
pub struct ExchangeReply {
    /// Always true.
    pub success: bool,
    /// The new gateway.
    pub gateway_id: GatewayId,
    /// Its team.
    pub team_id: TeamId,
    /// JWT for REST, functions and Realtime.
    pub access_token: String,
    /// Single-use token for the next session.
    pub refresh_token: String,
    /// `bearer`.
    pub token_type: String,
    /// When `access_token` ends, RFC 3339.
    pub expires_at: String,
}

impl std::fmt::Debug for ExchangeReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExchangeReply")
            .field("gateway_id", &self.gateway_id)
            .field("team_id", &self.team_id)
            .finish_non_exhaustive()
    }
}
