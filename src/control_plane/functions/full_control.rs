//! `set-gateway-full-control`: the team's layer of machine control, switched by an operator.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control_plane::functions::{Call, Refusal};
use crate::control_plane::registry::TEAM_GATEWAYS;
use crate::control_plane::store::Rows;
use crate::domain::ids::GatewayId;

#[derive(Deserialize)]
struct Switch {
    gateway_id: GatewayId,
    enabled: bool,
}

pub(super) async fn set(call: &Call<'_>) -> Result<Value, Refusal> {
    let team_id = call.operator()?;
    let switch: Switch = call.read()?;
    if uuid::Uuid::try_parse(switch.gateway_id.as_str()).is_err() {
        return Err(Refusal::bad("gateway_id is not a UUID."));
    }
    let target = Rows::of(&TEAM_GATEWAYS)
        .eq("id", switch.gateway_id.as_str())
        .eq("team_id", team_id.as_str());
    let change = json!({"full_control_enabled": switch.enabled});
    if call.context.store.update_rows(&target, &change).await?.is_empty() {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "gateway_not_found",
            "Your team has no such gateway.",
        ));
    }
    Ok(json!({
        "success": true,
        "gateway_id": switch.gateway_id,
        "full_control_enabled": switch.enabled,
    }))
}
