//! `revoke-gateway`: a gateway that is being unpaired ends its own sessions.

use serde_json::{Value, json};

use crate::control_plane::auth::Auth;
use crate::control_plane::functions::{Call, Refusal};
use crate::control_plane::registry::TEAM_GATEWAYS;
use crate::control_plane::store::Rows;

pub(super) async fn revoke(call: &Call<'_>) -> Result<Value, Refusal> {
    let (gateway_id, team_id) = call.gateway()?;
    let mut tx = call.context.store.begin().await?;
    let sessions = Auth::end_sessions_of(&mut tx, gateway_id.as_str()).await?;
    let own = Rows::of(&TEAM_GATEWAYS)
        .eq("id", gateway_id.as_str())
        .eq("team_id", team_id.as_str());
    // Nobody can speak for it any more: whoever pairs this host again gets a new gateway.
    let change = json!({"status": "offline", "full_control_enabled": false});
    tx.update_rows(&own, &change).await?;
    tx.commit().await?;
    call.context.auth.forget_sessions(&sessions);
    tracing::info!(%gateway_id, "a gateway was unpaired");
    Ok(json!({"success": true}))
}
