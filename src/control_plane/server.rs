//! The control plane on a socket: one process, one database, every service under one address.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::StreamExt as _;
use nix::fcntl::OFlag;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control_plane::auth::{Auth, AuthError, Lives, gate};
use crate::control_plane::listen::{self, ConnectionLimits};
use crate::control_plane::problem::Problem;
use crate::control_plane::query::sql::Dialect;
use crate::control_plane::realtime::hub::Hub;
use crate::control_plane::realtime::{Realtime, feed};
use crate::control_plane::store::{DatabaseUrl, OpenError, Store};
use crate::control_plane::{auth, functions, rest};
use crate::domain::secret::Secret;

/// Largest body taken.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// How much of a larger body is read and thrown away, so that its sender gets to hear the answer.
const MAX_DRAINED_BYTES: usize = 256 * 1024 * 1024;
/// Longest time for one request, its body included: as long as a gateway gives its biggest upload.
const REQUEST_LIMIT: Duration = Duration::from_secs(180);
/// How long requests and sockets get to end when the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Address to listen at; port 0 takes any.
    pub listen: SocketAddr,
    /// The data.
    pub database: DatabaseUrl,
    /// How long tokens live.
    pub lives: Lives,
    /// What connections may cost.
    pub limits: ConnectionLimits,
}

/// Where the server listens and what its clients need to know.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The address, with the real port.
    pub address: SocketAddr,
    /// The public key.
    pub anon_key: Secret,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The same file is served already.
    #[error("another control plane already serves {}; stop it first, or use another --database", database.display())]
    Locked {
        /// The database file.
        database: PathBuf,
    },
    /// The lock file.
    #[error("the lock file {} cannot be used: {source}", path.display())]
    Lock {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The address.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The keys.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The change log.
    #[error("the change log cannot be read: {0}")]
    ChangeLog(Problem),
}

/// Serves until `shutdown`, then lets requests end for a short while. `on_bound` hears of the address once it counts.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    options: ServeOptions,
    on_bound: impl FnOnce(Bound),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let _lock = lock(&options.database)?;
    let bound = TcpListener::bind(options.listen).await;
    let listener = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = listener.map_err(|source| ServeError::Listen {
        address: options.listen,
        source,
    })?;
    let store = Store::open(&options.database).await?;
    let auth = Auth::open(store.clone(), options.lives).await?;
    let feed = store.change_feed().await.map_err(ServeError::ChangeLog)?;
    let (hub, stop, tasks) = (Hub::default(), CancellationToken::new(), TaskTracker::new());
    tasks.spawn(feed::run(feed, hub.clone(), stop.clone()));
    let realtime = Realtime::new(auth.clone(), store.clone(), hub, tasks.clone(), stop.clone());
    let app = app(&store, &auth).merge(realtime.router());
    let bound = Bound {
        address,
        anon_key: Secret::new(auth.anon_key()),
    };
    tracing::info!(%address, dialect = dialect_name(&store), "the control plane listens");
    on_bound(bound);
    let serving = listen::run(listener, app, options.limits, stop.clone());
    until(serving, shutdown, &stop).await;
    stop.cancel();
    tasks.close();
    let _late = tokio::time::timeout(STOP_LIMIT, tasks.wait()).await;
    let _late = tokio::time::timeout(STOP_LIMIT, store.close()).await;
    Ok(())
}

/// Accepts connections until `shutdown`; then ends sockets and waits for requests, not for long.
async fn until(serving: impl Future<Output = ()>, shutdown: impl Future<Output = ()>, stop: &CancellationToken) {
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        () = &mut serving => {}
        () = shutdown => {
            stop.cancel();
            let _late = tokio::time::timeout(STOP_LIMIT, serving).await;
        }
    }
}

/// Every service but Realtime, behind the door and the limits.
fn app(store: &Store, auth: &Auth) -> Router {
    Router::new()
        .merge(rest::router(store.clone()))
        .merge(functions::router(store.clone(), auth.clone()))
        .layer(middleware::from_fn_with_state(auth.clone(), gate::gate))
        .merge(auth::http::router(auth.clone()))
        .route("/health", get(health).with_state(store.clone()))
        .fallback(async || (StatusCode::NOT_FOUND, Json(json!({"message": "no such path"}))))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(bounded))
}

async fn health(State(store): State<Store>) -> Json<Value> {
    Json(json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "dialect": dialect_name(&store),
    }))
}

fn dialect_name(store: &Store) -> &'static str {
    match store.dialect() {
        Dialect::Sqlite => "sqlite",
        Dialect::Postgres => "postgres",
    }
}

/// Middleware: no body over [`MAX_BODY_BYTES`], no request over [`REQUEST_LIMIT`], and JSON about both.
async fn bounded(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(REQUEST_LIMIT, async {
        if announced_length(request.headers()).is_some_and(|length| length > MAX_BODY_BYTES) {
            drain(request).await;
            return too_large();
        }
        let response = next.run(request).await;
        let plain = response
            .headers()
            .get(CONTENT_TYPE)
            .is_none_or(|kind| !kind.as_bytes().starts_with(b"application/json"));
        if response.status() == StatusCode::PAYLOAD_TOO_LARGE && plain {
            return too_large();
        }
        response
    });
    answered.await.unwrap_or_else(|_elapsed| {
        let body = json!({"code": "57014", "details": null, "hint": null, "message": "the request took too long"});
        (StatusCode::REQUEST_TIMEOUT, Json(body)).into_response()
    })
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn drain(request: Request) {
    let mut body = request.into_body().into_data_stream();
    let mut drained = 0_usize;
    while let Some(Ok(chunk)) = body.next().await {
        drained = drained.saturating_add(chunk.len());
        if drained > MAX_DRAINED_BYTES {
            return;
        }
    }
}

fn too_large() -> Response {
    let body = json!({
        "code": "413",
        "details": null,
        "hint": null,
        "message": "The body is larger than this path takes",
    });
    (StatusCode::PAYLOAD_TOO_LARGE, Json(body)).into_response()
}

/// Holds the lock of a database file for as long as the returned file lives. PostgreSQL serves many nodes at once.
fn lock(database: &DatabaseUrl) -> Result<Option<File>, ServeError> {
    let DatabaseUrl::Sqlite(database) = database else {
        return Ok(None);
    };
    let path = lock_path(database);
    let failed = |source| ServeError::Lock {
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(ServeError::Locked {
            database: database.clone(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The lock file of a database file: beside it, ending `.lock`.
#[must_use]
pub fn lock_path(database: &Path) -> PathBuf {
    database.with_extension("lock")
}
