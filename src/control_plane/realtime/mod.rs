//! `/realtime/v1`: changes of rows, pushed over a WebSocket as Supabase Realtime does it.
//!
//! The [`feed`] reads the change log once per node, the [`hub`] knows who listens, a [`socket`] carries the
//! [`channels`] of one client. Supabase judges rows by what the table holds when it polls; here the logged row is
//! judged, and a channel listens before it says so, so that nothing falls between insert and delivery. What was
//! committed before a join is never heard by it, however late the log shows it.

pub mod bindings;
pub mod channels;
pub mod event;
pub mod feed;
pub mod filter;
pub mod frames;
pub mod hub;
pub mod socket;

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control_plane::auth::Auth;
use crate::control_plane::store::Store;
use crate::wire::phoenix::{MAX_FRAME_BYTES, Vsn};
use channels::Channels;
use hub::Hub;
use socket::Socket;

/// Most sockets of one node.
const MAX_SOCKETS: usize = 10_000;

/// What every socket needs.
#[derive(Debug, Clone)]
pub struct Realtime {
    auth: Auth,
    store: Store,
    hub: Hub,
    seats: Arc<Semaphore>,
    sockets: TaskTracker,
    stop: CancellationToken,
}

impl Realtime {
    /// Sockets that listen at `hub` until `stop`, each counted by `sockets`.
    #[must_use]
    pub fn new(auth: Auth, store: Store, hub: Hub, sockets: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            auth,
            store,
            hub,
            seats: Arc::new(Semaphore::new(MAX_SOCKETS)),
            sockets,
            stop,
        }
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/realtime/v1/websocket", get(upgrade))
            .with_state(self)
    }
}

async fn upgrade(
    State(realtime): State<Realtime>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let key = header("x-api-key")
        .or(query.get("apikey").map(String::as_str))
        .or(header("apikey"));
    match key {
        None => return refuse(StatusCode::UNAUTHORIZED, "missing API key"),
        Some(key) if !realtime.auth.is_anon_key(key) => {
            return refuse(
                StatusCode::UNAUTHORIZED,
                "the API key is not that of this control plane",
            );
        }
        Some(_) => {}
    }
    let Some(vsn) = Vsn::from_query(query.get("vsn").map(String::as_str)) else {
        return refuse(StatusCode::BAD_REQUEST, "vsn must be 1.0.0 or 2.0.0");
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return refuse(rejection.status(), &rejection.body_text()),
    };
    let Ok(seat) = Arc::clone(&realtime.seats).try_acquire_owned() else {
        return refuse(StatusCode::TOO_MANY_REQUESTS, "too many connections");
    };
    let present = realtime.sockets.token();
    upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .on_upgrade(async move |stream| {
            let (outbox, inbox) = hub::queue();
            let socket = Socket {
                stream,
                vsn,
                channels: Channels::new(realtime.auth, realtime.store, realtime.hub, outbox),
                inbox,
            };
            let end = socket.run(realtime.stop).await;
            tracing::debug!(?end, "a realtime socket ended");
            drop((seat, present));
        })
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}
