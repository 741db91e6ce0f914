//! A pairing code becomes a session on disk. Nothing is written unless the exchange worked.

use serde_json::Map;

use crate::backend::{BackendError, Endpoint, Http, functions};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::config::backend::Backend;
use crate::domain::secret::Secret;
use crate::state::session::Session;
use crate::wire::pairing::ExchangeRequest;

/// A pairing to be.
#[derive(Debug)]
pub(crate) struct NewPairing {
    pub(crate) backend: Backend,
    pub(crate) code: String,
    pub(crate) device_name: String,
    /// Host layer of machine control; none keeps what an earlier pairing had.
    pub(crate) full_control: Option<bool>,
}

/// Trades the code for a session.
pub(crate) async fn exchange(pairing: &NewPairing, cx: &Context) -> Result<Session, CliError> {
    let http = Endpoint::new(&pairing.backend.url, pairing.backend.anon_key.clone()).and_then(Http::new);
    let http = http.map_err(|error| CliError::failed(error.to_string()))?;
    let request = ExchangeRequest {
        code: pairing.code.clone(),
        device_name: pairing.device_name.clone(),
    };
    let reply = functions::exchange(&http, &request)
        .await
        .map_err(|error| explain(&pairing.backend.url, &error))?;
    let before = cx.sessions().load().ok().flatten();
    let full_control = pairing
        .full_control
        .unwrap_or_else(|| before.is_some_and(|session| session.full_control_enabled));
    Ok(Session {
        supabase_url: pairing.backend.url.clone(),
        anon_key: pairing.backend.anon_key.clone(),
        access_token: Secret::new(reply.access_token),
        refresh_token: Secret::new(reply.refresh_token),
        gateway_id: reply.gateway_id,
        team_id: reply.team_id,
        full_control_enabled: full_control,
        device_name: Some(pairing.device_name.clone()),
        provider_health: Map::new(),
        other: Map::new(),
    })
}

/// The control plane's own words for a bad code, ours for everything else.
fn explain(url: &str, error: &BackendError) -> CliError {
    match error {
        BackendError::Http(error) => CliError::unreachable(url, error),
        BackendError::Status { status, problem, .. } => {
            let message = problem.message.clone();
            CliError::failed(message.unwrap_or_else(|| format!("Pairing failed with status {status}")))
                .detail(format!("{url} answered with HTTP {status}"))
                .hint("ask for a new code; codes work once and for a short time")
        }
        BackendError::Unexpected { .. } => {
            CliError::failed("Pairing response did not match the expected contract").detail(error.to_string())
        }
        BackendError::SessionLost(_) | BackendError::NotRefreshed { .. } => CliError::failed(error.to_string()),
    }
}
