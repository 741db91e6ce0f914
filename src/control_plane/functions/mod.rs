//! `/functions/v1`: what a row update cannot express.

pub mod capability;
mod full_control;
mod heartbeat;
mod pairing_code;
mod revoke;
mod runs;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::control_plane::auth::Auth;
use crate::control_plane::claims::{Claims, Role};
use crate::control_plane::pairing::Exchange;
use crate::control_plane::problem::Problem;
use crate::control_plane::store::Store;
use crate::domain::ids::{GatewayId, TeamId};

/// Largest body of most functions: results of jobs are big, but those are rows.
pub const MOST_BODY_BYTES: usize = 256 * 1024;
/// Largest body of the functions that carry a prompt or an answer.
pub const MOST_RUN_BODY_BYTES: usize = 32 * 1024 * 1024;

/// What functions work with.
#[derive(Debug)]
struct Context {
    store: Store,
    auth: Auth,
    exchange: Exchange,
}

/// Who calls, and with what.
struct Call<'a> {
    context: &'a Context,
    claims: Claims,
    body: Bytes,
    from: SocketAddr,
}

/// A function's refusal.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    error: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, error: impl Into<String>) -> Self {
        Self {
            status,
            code,
            error: error.into(),
        }
    }

    fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", error)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        tracing::error!(%problem, "the store failed a function");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The control plane cannot reach its database. Try again.",
        )
    }
}

impl Call<'_> {
    /// The body as this function's type.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| Refusal::bad(format!("Invalid request body: {error}")))
    }

    fn gateway(&self) -> Result<(&GatewayId, &TeamId), Refusal> {
        match &self.claims.role {
            Role::Gateway { gateway_id, team_id } => Ok((gateway_id, team_id)),
            Role::Anon => Err(unauthenticated()),
            Role::Operator { .. } | Role::Service => Err(forbidden("Only a paired gateway may call this function.")),
        }
    }

    fn operator(&self) -> Result<&TeamId, Refusal> {
        match &self.claims.role {
            Role::Operator { team_id, .. } => Ok(team_id),
            Role::Anon => Err(unauthenticated()),
            Role::Gateway { .. } | Role::Service => Err(forbidden("Only an operator may call this function.")),
        }
    }
}

fn unauthenticated() -> Refusal {
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "This function needs a logged-in caller.",
    )
}

fn forbidden(error: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "forbidden", error)
}

/// The routes; callers come with [`Claims`] in the request's extensions.
pub fn router(store: Store, auth: Auth) -> Router {
    let exchange = Exchange::new(store.clone(), auth.clone());
    let context = Arc::new(Context { store, auth, exchange });
    let runs = Router::new()
        .route("/functions/v1/start-gateway-subagent-run", post(call))
        .route("/functions/v1/finalize-gateway-subagent-run", post(call))
        .layer(DefaultBodyLimit::max(MOST_RUN_BODY_BYTES));
    Router::new()
        .route("/functions/v1/{name}", post(call))
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .merge(runs)
        .with_state(context)
}

async fn call(
    State(context): State<Arc<Context>>,
    uri: Uri,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Extension(claims): Extension<Claims>,
    body: Bytes,
) -> Response {
    let call = Call {
        context: &context,
        claims,
        body,
        from,
    };
    let answer: Result<Value, Refusal> = match uri.path().rsplit('/').next().unwrap_or_default() {
        "exchange-gateway-pairing-code" => pairing_code::exchange(&call).await,
        "gateway-heartbeat" => heartbeat::beat(&call).await,
        "set-gateway-full-control" => full_control::set(&call).await,
        "revoke-gateway" => revoke::revoke(&call).await,
        "start-gateway-subagent-run" => runs::start(&call).await,
        "withdraw-gateway-subagent-run" => runs::withdraw(&call).await,
        "finalize-gateway-subagent-run" => runs::finalize(&call).await,
        _ => {
            let body = json!({"code": "NOT_FOUND", "message": "Requested function was not found"});
            return (StatusCode::NOT_FOUND, Json(body)).into_response();
        }
    };
    match answer {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => {
            let body = json!({"success": false, "error": refusal.error, "code": refusal.code});
            (refusal.status, Json(body)).into_response()
        }
    }
}
