//! `gateway-heartbeat`: a gateway says that it lives, and what it can do. Server time stamps it.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::control_plane::auth::text;
use crate::control_plane::functions::{Call, Refusal, capability};
use crate::control_plane::pairing::device_name;
use crate::control_plane::query::value::stored_time;
use crate::control_plane::registry::TEAM_GATEWAYS;
use crate::control_plane::store::Rows;
use crate::domain::clock;
use crate::wire::heartbeat::WireStatus;

/// Largest capability document stored, in bytes.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct Beat {
    status: WireStatus,
    capabilities: Value,
    #[serde(default)]
    device_name: Option<String>,
}

pub(super) async fn beat(call: &Call<'_>) -> Result<Value, Refusal> {
    let (gateway_id, team_id) = call.gateway()?;
    if call.body.len() > MAX_DOCUMENT_BYTES {
        return Err(Refusal::bad(format!(
            "A heartbeat has at most {MAX_DOCUMENT_BYTES} bytes."
        )));
    }
    let beat: Beat = call.read()?;
    capability::validate(&beat.capabilities).map_err(|wrong| Refusal::bad(wrong.to_string()))?;
    let own = Rows::of(&TEAM_GATEWAYS)
        .eq("id", gateway_id.as_str())
        .eq("team_id", team_id.as_str());
    let mut tx = call.context.store.begin().await?;
    let Some(before) = tx.select_rows(&own).await?.pop() else {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "gateway_not_found",
            "This gateway was removed from its team. Pair it again.",
        ));
    };
    tx.update_rows(&own, &Value::Object(changes(beat, &before))).await?;
    tx.commit().await?;
    Ok(json!({"success": true, "egress_credential_renewal": null}))
}

fn changes(beat: Beat, before: &Value) -> Map<String, Value> {
    let now = stored_time(clock::now());
    let mut changes = Map::new();
    if beat.status == WireStatus::Ready && text(before, "status").as_deref() != Some("ready") {
        changes.insert("ready_at".to_owned(), Value::from(now.clone()));
    }
    if let Some(name) = beat.device_name {
        changes.insert("device_name".to_owned(), Value::from(device_name(&name)));
    }
    changes.insert("status".to_owned(), json!(beat.status));
    changes.insert("last_seen_at".to_owned(), Value::from(now));
    changes.insert("capabilities".to_owned(), beat.capabilities);
    changes
}
