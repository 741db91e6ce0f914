//! Whether somebody is there, who the login is, and its end.

use reqwest::Method;
use serde_json::Value;

use crate::backend::client::Client;
use crate::backend::error::BackendError;
use crate::backend::http::Request;

/// The user behind the login, as the backend knows it; also the cheapest proof that a session is good.
///
/// # Errors
/// [`BackendError`]; 401 and 403 mean that the token is not accepted.
pub async fn user(client: &Client) -> Result<Value, BackendError> {
    let url = client.http().endpoint().at("/auth/v1/user");
    client.send(&Request::new(Method::GET, "user", url)).await?.json()
}

/// Whether the embedded control plane is alive; hosted ones have no such path.
///
/// # Errors
/// [`BackendError`] as for every request.
pub async fn health(client: &Client) -> Result<(), BackendError> {
    let url = client.http().endpoint().at("/health");
    client.send(&Request::new(Method::GET, "health", url)).await.map(drop)
}

/// Ends the session on the backend: its refresh token is worth nothing afterwards.
///
/// # Errors
/// [`BackendError`] as for every request.
pub async fn logout(client: &Client) -> Result<(), BackendError> {
    let mut url = client.http().endpoint().at("/auth/v1/logout");
    url.set_query(Some("scope=local"));
    client.send(&Request::new(Method::POST, "logout", url)).await.map(drop)
}
