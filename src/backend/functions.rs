//! Calls of the backend's functions.

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::backend::auth::Auth;
use crate::backend::client::Client;
use crate::backend::error::BackendError;
use crate::backend::http::{Http, Request};
use crate::domain::ids::GatewayId;
use crate::wire::heartbeat::{HEARTBEAT_PATH, Heartbeat, HeartbeatReply};
use crate::wire::pairing::{EXCHANGE_PATH, ExchangeReply, ExchangeRequest};

const FUNCTIONS: &str = "/functions/v1/";

/// Functions as seen by one login.
#[derive(Debug, Clone)]
pub struct Functions {
    client: Client,
}

impl Functions {
    pub(crate) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Calls any function by name.
    ///
    /// # Errors
    /// [`BackendError`] as for every request; [`BackendError::Unexpected`] when the answer has another shape.
    pub async fn invoke<T: DeserializeOwned>(
        &self,
        name: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, BackendError> {
        self.post(&format!("{FUNCTIONS}{name}"), body).await
    }

    /// Tells the backend that this gateway lives, and how it is.
    ///
    /// # Errors
    /// [`BackendError`]; a reply `success: false` is not one.
    pub async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<HeartbeatReply, BackendError> {
        self.post(HEARTBEAT_PATH, heartbeat).await
    }

    /// Switches the team's layer of machine control for a gateway; operators only.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn set_full_control(&self, gateway: &GatewayId, enabled: bool) -> Result<Value, BackendError> {
        let body = json!({"gateway_id": gateway, "enabled": enabled});
        self.invoke("set-gateway-full-control", &body).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<T, BackendError> {
        let target = path.strip_prefix(FUNCTIONS).unwrap_or(path);
        let url = self.client.http().endpoint().at(path);
        let text = serde_json::to_string(body).map_err(|error| BackendError::unexpected(target, &error))?;
        let request = Request::new(Method::POST, target, url).json(text);
        self.client.send(&request).await?.json()
    }
}

/// Trades a pairing code for a session. Nobody is logged in yet, so the public key is the bearer.
///
/// # Errors
/// [`BackendError::Status`] carries the backend's own words for a wrong, used or expired code.
pub async fn exchange(http: &Http, request: &ExchangeRequest) -> Result<ExchangeReply, BackendError> {
    let anonymous = Client::new(http.clone(), Auth::fixed(http.endpoint().key().clone()));
    let reply: ExchangeReply = anonymous.functions().post(EXCHANGE_PATH, request).await?;
    if !reply.success || reply.access_token.trim().is_empty() || reply.refresh_token.trim().is_empty() {
        return Err(BackendError::unexpected("pairing", "it holds no session"));
    }
    Ok(reply)
}
