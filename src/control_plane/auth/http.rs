//! `/auth/v1`: the three routes a session needs, with the error bodies of both API generations.

use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control_plane::auth::gate::{bearer, door};
use crate::control_plane::auth::session::{RefreshError, Tokens, describe_user};
use crate::control_plane::auth::{Auth, Denied};
use crate::control_plane::claims::{Claims, Role};

const API_VERSION: HeaderName = HeaderName::from_static("x-supabase-api-version");
const NEW_GENERATION: HeaderValue = HeaderValue::from_static("2024-01-01");

/// Largest body: a refresh token and nothing else.
const MOST_BODY_BYTES: usize = 16 * 1024;

/// The routes.
pub fn router(auth: Auth) -> Router {
    Router::new()
        .route("/auth/v1/token", post(token))
        .route("/auth/v1/user", get(user))
        .route("/auth/v1/logout", post(logout))
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .layer(middleware::from_fn_with_state(auth.clone(), door))
        .with_state(auth)
}

/// A refusal, before it is known which generation of body the client reads.
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    fn answer(self, headers: &HeaderMap) -> Response {
        if headers.contains_key(API_VERSION) {
            let body = json!({"code": self.code, "message": self.message});
            return (self.status, [(API_VERSION, NEW_GENERATION)], Json(body)).into_response();
        }
        let body = json!({"code": self.status.as_u16(), "error_code": self.code, "msg": self.message});
        (self.status, Json(body)).into_response()
    }
}

#[derive(Deserialize)]
struct GrantQuery {
    #[serde(default)]
    grant_type: String,
}

async fn token(
    State(auth): State<Auth>,
    Query(query): Query<GrantQuery>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    match grant(&auth, &query.grant_type, &body).await {
        Ok(tokens) => session_answer(&tokens),
        Err(refused) => refused.answer(&headers),
    }
}

async fn grant(auth: &Auth, grant_type: &str, body: &[u8]) -> Result<Tokens, Refused> {
    let bad = |message: &str| Refused::new(StatusCode::BAD_REQUEST, "validation_failed", message);
    if grant_type != "refresh_token" {
        return Err(bad("only grant_type=refresh_token is supported"));
    }
    let body: Value = serde_json::from_slice(body).map_err(|_detail| bad("the body is not JSON"))?;
    let presented = body
        .get("refresh_token")
        .and_then(Value::as_str)
        .filter(|token| !token.is_empty())
        .ok_or_else(|| bad("refresh_token required"))?;
    auth.refresh(presented).await.map_err(|error| {
        let code = match error {
            RefreshError::NotFound => "refresh_token_not_found",
            RefreshError::AlreadyUsed => "refresh_token_already_used",
            RefreshError::SessionGone => "session_not_found",
            RefreshError::Random(_) | RefreshError::Store(_) => {
                tracing::error!(%error, "a session could not be refreshed");
                return Refused::new(StatusCode::SERVICE_UNAVAILABLE, "unexpected_failure", "try again");
            }
        };
        Refused::new(StatusCode::BAD_REQUEST, code, error.to_string())
    })
}

fn session_answer(tokens: &Tokens) -> Response {
    Json(json!({
        "access_token": tokens.access_token.expose(),
        "token_type": "bearer",
        "expires_in": tokens.expires_in,
        "expires_at": tokens.expires_at.as_second(),
        "refresh_token": tokens.refresh_token.expose(),
        "user": tokens.user,
    }))
    .into_response()
}

async fn user(State(auth): State<Auth>, headers: HeaderMap) -> Response {
    let found = async {
        let claims = holder(&auth, &headers).await?;
        let id = claims.subject.clone().unwrap_or_default();
        let row = auth
            .user(&id)
            .await
            .map_err(|problem| unavailable(&problem.to_string()))?;
        let row = row.ok_or_else(|| Refused::new(StatusCode::FORBIDDEN, "user_not_found", "User not found"))?;
        Ok(describe_user(&id, &app_metadata(&claims), Some(&row)))
    };
    match found.await {
        Ok(user) => Json(user).into_response(),
        Err(refused) => Refused::answer(refused, &headers),
    }
}

async fn logout(State(auth): State<Auth>, headers: HeaderMap) -> Response {
    let ended = async {
        let claims = holder(&auth, &headers).await?;
        let Some(session_id) = &claims.session_id else {
            return Err(Refused::new(
                StatusCode::FORBIDDEN,
                "not_admin",
                "an operator token is revoked on the host of the control plane",
            ));
        };
        let ended = auth.end_session(session_id).await;
        ended.map_err(|problem| unavailable(&problem.to_string()))
    };
    match ended.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => refused.answer(&headers),
    }
}

async fn holder(auth: &Auth, headers: &HeaderMap) -> Result<Claims, Refused> {
    let Some(token) = bearer(headers).filter(|token| !auth.is_anon_key(token)) else {
        let message = "This endpoint requires a valid Bearer token";
        return Err(Refused::new(StatusCode::UNAUTHORIZED, "no_authorization", message));
    };
    auth.identify(token, auth.lives().leeway_seconds)
        .await
        .map_err(|denied| {
            let bad_jwt =
                |message: &str| Refused::new(StatusCode::FORBIDDEN, "bad_jwt", format!("invalid JWT: {message}"));
            match denied {
                Denied::Expired { .. } => bad_jwt("token is expired"),
                Denied::Malformed => bad_jwt("token is malformed"),
                Denied::Signature => bad_jwt("signature is invalid"),
                Denied::Revoked => {
                    let message = "Session from session_id claim in JWT does not exist";
                    Refused::new(StatusCode::FORBIDDEN, "session_not_found", message)
                }
                Denied::Store(problem) => unavailable(&problem.to_string()),
            }
        })
}

fn unavailable(detail: &str) -> Refused {
    tracing::error!(detail, "the store failed an authentication request");
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, "unexpected_failure", "try again")
}

fn app_metadata(claims: &Claims) -> Value {
    match &claims.role {
        Role::Gateway { gateway_id, team_id } => {
            json!({"role": "gateway", "gateway_id": gateway_id, "team_id": team_id})
        }
        Role::Operator { team_id, .. } => json!({"role": "operator", "team_id": team_id}),
        Role::Anon | Role::Service => json!({}),
    }
}
