//! `exchange-gateway-pairing-code`: a code for a session. The only function for callers who are nobody yet.

use axum::http::StatusCode;
use serde_json::Value;

use crate::control_plane::functions::{Call, Refusal};
use crate::control_plane::pairing::PairingError;
use crate::control_plane::problem::Problem;
use crate::wire::pairing::ExchangeRequest;

pub(super) async fn exchange(call: &Call<'_>) -> Result<Value, Refusal> {
    let request: ExchangeRequest = call.read()?;
    let traded = call
        .context
        .exchange
        .trade(&request.code, &request.device_name, call.from.ip())
        .await;
    let reply = traded.map_err(refusal)?;
    tracing::info!(gateway_id = %reply.gateway_id, "a gateway was paired");
    serde_json::to_value(reply).map_err(|error| Problem::new("XX000", error.to_string()).into())
}

fn refusal(error: PairingError) -> Refusal {
    let (status, code) = match error {
        PairingError::NoCode => (StatusCode::BAD_REQUEST, "invalid_request"),
        PairingError::Unknown => (StatusCode::BAD_REQUEST, "pairing_code_unknown"),
        PairingError::Used => (StatusCode::CONFLICT, "pairing_code_used"),
        PairingError::Expired => (StatusCode::GONE, "pairing_code_expired"),
        PairingError::TooMany => (StatusCode::TOO_MANY_REQUESTS, "over_request_rate_limit"),
        PairingError::Random(error) => return Problem::new("XX000", error.to_string()).into(),
        PairingError::Store(problem) => return problem.into(),
    };
    Refusal::new(status, code, error.to_string())
}
