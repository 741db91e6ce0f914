//! The door before REST and functions: every request shows a key, and turns into claims.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::control_plane::auth::{Auth, Denied};
use crate::control_plane::claims::Claims;

const API_KEY: HeaderName = HeaderName::from_static("apikey");

/// The token of an `Authorization: Bearer` header.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

/// The key of a request: header or query parameter `apikey`.
#[must_use]
pub fn api_key(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let header = headers.get(API_KEY).and_then(|key| key.to_str().ok());
    if let Some(key) = header.filter(|key| !key.is_empty()) {
        return Some(key.to_owned());
    }
    // Keys have no character that a query string would escape.
    uri.query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("apikey="))
        .filter(|key| !key.is_empty())
        .map(str::to_owned)
}

/// The public key of a request, if it is ours.
///
/// # Errors
/// The answer to send.
fn check_key(auth: &Auth, headers: &HeaderMap, uri: &Uri) -> Result<String, Response> {
    let refused = |body: Value| (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    match api_key(headers, uri) {
        Some(key) if auth.is_anon_key(&key) => Ok(key),
        Some(_) => Err(refused(json!({
            "message": "Invalid API key",
            "hint": "The key of this control plane is another one.",
        }))),
        None => Err(refused(json!({
            "message": "No API key found in request",
            "hint": "No `apikey` request header or url param was found.",
        }))),
    }
}

/// Checks the public key, and says who asks.
///
/// # Errors
/// The answer to send.
async fn enter(auth: &Auth, headers: &HeaderMap, uri: &Uri) -> Result<Claims, Response> {
    let key = check_key(auth, headers, uri)?;
    match bearer(headers) {
        Some(token) if token != key => auth
            .identify(token, auth.lives().leeway_seconds)
            .await
            .map_err(|denied| refusal(&denied, uri.path())),
        Some(_) | None => Ok(Claims::anon()),
    }
}

fn refusal(denied: &Denied, path: &str) -> Response {
    if let Denied::Store(problem) = denied {
        tracing::error!(%problem, "the store failed an authentication request");
        return (StatusCode::SERVICE_UNAVAILABLE, Json(problem.body())).into_response();
    }
    let message = denied.to_string();
    let body = if path.starts_with("/functions/") {
        json!({"code": 401, "message": format!("Invalid JWT: {message}")})
    } else {
        let code = match denied {
            Denied::Expired { .. } => "PGRST303",
            Denied::Malformed | Denied::Signature | Denied::Revoked | Denied::Store(_) => "PGRST301",
        };
        json!({"code": code, "details": Value::Null, "hint": Value::Null, "message": message})
    };
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{message}\"");
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)], Json(body)).into_response()
}

/// Middleware: puts [`Claims`] into the request's extensions, or refuses.
pub async fn gate(State(auth): State<Auth>, mut request: Request, next: Next) -> Response {
    match enter(&auth, request.headers(), request.uri()).await {
        Ok(claims) => {
            request.extensions_mut().insert(claims);
            next.run(request).await
        }
        Err(answer) => answer,
    }
}

/// Middleware: lets a request with the public key pass, whoever it is from.
pub async fn door(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    match check_key(&auth, request.headers(), request.uri()) {
        Ok(_) => next.run(request).await,
        Err(answer) => answer,
    }
}
