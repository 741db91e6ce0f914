//! The scripted model on a socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request as HttpRequest, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, UPGRADE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::domain::clock;
use crate::fake_model::api::{Api, Route};
use crate::fake_model::asked::Request;
use crate::fake_model::brain::Brain;
use crate::fake_model::reply::{Fault, Message, Outcome, Reply, words};
use crate::fake_model::seen::{Asked, Exchange, How, Observer, Seen};
use crate::fake_model::stream::{LONGEST_SILENCE, Paced};

/// Largest body taken.
const MAX_BODY_BYTES: usize = 64 << 20;
/// Longest time for a body to come in.
const BODY_LIMIT: Duration = Duration::from_secs(60);
/// Longest time for the headers of a request, and between two requests.
const HEADER_LIMIT: Duration = Duration::from_secs(75);
/// Most connections at a time; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 256;
/// How long to wait when the system has no descriptor for another connection.
const BREATH: Duration = Duration::from_secs(1);
/// How much of an answer is told, in characters.
const TOLD: usize = 200;
/// How much of a credential is told, in characters.
const TOLD_OF_CREDENTIAL: usize = 4;
/// Headers that hold a credential.
const CREDENTIALS: &[&str] = &["x-api-key", "authorization", "x-goog-api-key"];
/// A name for the list of models, which nobody chooses from.
const MODEL: &str = "fake-model";

/// Where to serve, and who watches.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Address to listen at, on loopback; port 0 takes any.
    pub listen: SocketAddr,
    /// Who is told of the requests.
    pub observer: Observer,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Whoever reaches it can ask it, and it checks nobody.
    #[error("{0} is no loopback address; the scripted model is for this machine only")]
    NotLoopback(SocketAddr),
    /// The address.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

#[derive(Debug, Clone)]
struct Model {
    brain: Arc<Brain>,
    numbers: Arc<AtomicU64>,
    observer: Observer,
}

/// Serves until `shutdown`, which ends every answer that is on its way. `on_bound` hears the address.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    options: ServeOptions,
    on_bound: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    if !options.listen.ip().is_loopback() {
        return Err(ServeError::NotLoopback(options.listen));
    }
    let bound = TcpListener::bind(options.listen).await;
    let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|source| ServeError::Listen {
        address: options.listen,
        source,
    })?;
    on_bound(address);
    let model = Model {
        brain: Arc::default(),
        numbers: Arc::default(),
        observer: options.observer,
    };
    tokio::select! {
        () = accept(listener, Router::new().fallback(answer).with_state(model)) => {}
        () = shutdown => {}
    }
    Ok(())
}

/// Accepts for ever. The connections end with this future.
async fn accept(listener: TcpListener, app: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, app.clone()));
                }
                Err(_) => tokio::time::sleep(BREATH).await,
            },
        }
    }
}

async fn converse(stream: TcpStream, app: Router) {
    // Each event leaves at once. A socket that refuses this still works.
    drop(stream.set_nodelay(true));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    // A client that leaves in the middle is told to the observer.
    drop(connection.await);
}

async fn answer(State(model): State<Model>, http: HttpRequest) -> Response {
    let n = model.numbers.fetch_add(1, Ordering::Relaxed) + 1;
    let (head, body) = http.into_parts();
    let mut asked = asked(
        n,
        &head.method,
        head.uri.path_and_query().map_or("/", |path| path.as_str()),
        &head.headers,
    );
    let path = head.uri.path().to_owned();
    if head.method != Method::POST {
        let (status, body) = look(&path, &head.headers);
        return model.tell(asked, status, Json(body).into_response());
    }
    let body = tokio::time::timeout(BODY_LIMIT, axum::body::to_bytes(body, MAX_BODY_BYTES)).await;
    let (Some(route), Ok(Ok(body))) = (Route::of(&path), body) else {
        let text = format!("there is nothing at {path}, or its body is larger than 64 MiB or too slow");
        let body = Api::OpenAi.problem(404, &text);
        return model.tell(asked, StatusCode::NOT_FOUND, Json(body).into_response());
    };
    asked.body_bytes = body.len();
    match route {
        Route::Count(api) => {
            let count = api.count(body.len().div_ceil(4));
            model.tell(asked, StatusCode::OK, Json(count).into_response())
        }
        Route::Answer(api) => model.think(api, asked, &path, &body).await,
    }
}

fn asked(n: u64, method: &Method, path: &str, headers: &HeaderMap) -> Asked {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let credential = CREDENTIALS.iter().find_map(|name| {
        let value = text(name)?;
        let hidden = value.chars().count().saturating_sub(TOLD_OF_CREDENTIAL);
        let end: String = value.chars().skip(hidden).collect();
        Some(format!("{name} ...{end}"))
    });
    Asked {
        n,
        at: clock::wire_time(clock::now()),
        method: method.to_string(),
        path: path.to_owned(),
        client: text(USER_AGENT.as_str()),
        credential,
        ..Asked::default()
    }
}

/// What there is to read: whether somebody is here, and which models.
fn look(path: &str, headers: &HeaderMap) -> (StatusCode, Value) {
    if headers.contains_key(UPGRADE) {
        // Codex asks for a WebSocket first and goes on without one after this answer only.
        let body = Api::OpenAi.problem(426, "no WebSockets here");
        return (StatusCode::UPGRADE_REQUIRED, body);
    }
    match path.trim_end_matches('/') {
        "" | "/v1" | "/health" | "/api/hello" => (StatusCode::OK, json!({"ok": true})),
        path if path.ends_with("/v1beta/models") => (
            StatusCode::OK,
            json!({"models": [{"name": format!("models/{MODEL}"), "displayName": MODEL}]}),
        ),
        path if path.ends_with("/models") => {
            let model = json!({"id": MODEL, "object": "model", "type": "model", "display_name": MODEL});
            (
                StatusCode::OK,
                json!({"object": "list", "has_more": false, "data": [model]}),
            )
        }
        path => (
            StatusCode::NOT_FOUND,
            Api::OpenAi.problem(404, &format!("there is nothing at {path}")),
        ),
    }
}

impl Model {
    /// An answer that needs no thought.
    fn tell(&self, mut asked: Asked, status: StatusCode, mut response: Response) -> Response {
        let mut exchange = Exchange::new(asked.n, self.observer.clone());
        asked.status = status.as_u16();
        self.observer.tell(&Seen::Asked(Box::new(asked)));
        exchange.ends(How::Complete);
        *response.status_mut() = status;
        response
    }

    async fn think(&self, api: Api, mut asked: Asked, path: &str, body: &Bytes) -> Response {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            let problem = api.problem(400, "the body is no JSON");
            return self.tell(asked, StatusCode::BAD_REQUEST, Json(problem).into_response());
        };
        let request = api.request(path, &body);
        let reply = self.brain.reply(asked.n, &request);
        let exchange = Exchange::new(asked.n, self.observer.clone());
        describe(&mut asked, api, &request, &reply);
        self.observer.tell(&Seen::Asked(Box::new(asked)));
        tokio::time::sleep(reply.delay).await;
        respond(api, request.stream, reply.outcome, exchange).await
    }
}

fn describe(asked: &mut Asked, api: Api, request: &Request, reply: &Reply) {
    asked.api = Some(api.name());
    asked.model.clone_from(&request.model);
    asked.stream = request.stream;
    asked.turn = request.talk.turn;
    asked.user.clone_from(&request.talk.raw);
    asked.results.clone_from(&request.talk.results);
    asked.tools = request.tools.iter().map(|tool| tool.name.clone()).collect();
    asked.schema = request.schema.is_some();
    match &reply.outcome {
        Outcome::Problem { status, .. } => asked.status = *status,
        Outcome::Message { message, .. } => {
            asked.status = StatusCode::OK.as_u16();
            asked.answer = message.text.as_deref().map(|text| text.chars().take(TOLD).collect());
            asked.calls = message.calls.iter().map(|call| call.name.clone()).collect();
        }
    }
}

async fn respond(api: Api, stream: bool, outcome: Outcome, mut exchange: Exchange) -> Response {
    match outcome {
        Outcome::Problem { status, retry_after } => {
            exchange.ends(How::Complete);
            problem(api, status, retry_after.as_deref())
        }
        Outcome::Message { message, slow, fault } if stream => {
            let events = api.events(&message);
            let body = Paced {
                api,
                events,
                slow,
                fault,
                exchange,
            }
            .body();
            ([(CONTENT_TYPE, "text/event-stream; charset=utf-8")], body).into_response()
        }
        Outcome::Message { message, slow, fault } => {
            whole_pause(&message, slow, fault.as_ref()).await;
            exchange.ends(How::Complete);
            Json(api.whole(&message)).into_response()
        }
    }
}

/// An answer in one piece takes as long as its words would, and may never come; the other faults are of streams only.
async fn whole_pause(message: &Message, slow: Duration, fault: Option<&Fault>) {
    let count = message.text.as_deref().map_or(1, |text| words(text).len());
    let spoken = slow.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    let pause = if fault == Some(&Fault::Hang) {
        LONGEST_SILENCE
    } else {
        spoken
    };
    tokio::time::sleep(pause.min(LONGEST_SILENCE)).await;
}

fn problem(api: Api, status: u16, retry_after: Option<&str>) -> Response {
    let body = api.problem(status, &format!("scripted error {status}"));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(body)).into_response();
    if let Some(value) = retry_after.and_then(|value| HeaderValue::from_str(value).ok()) {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}
