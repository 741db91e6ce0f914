//! The one HTTP client: deadlines, bounded answers, captive portals, server time.

mod endpoint;
mod outage;
mod request;

use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode};
use tokio::time::Instant;
use tracing::warn;

use self::outage::Outage;
pub(crate) use self::request::{Answer, Body, Request};
use crate::backend::error::{BackendError, HttpError, without_secrets};
use crate::domain::awake::Awake;
use crate::domain::clock::{self, ServerOffset};
use crate::domain::secret::Secret;
use crate::wire::problem::Problem;

pub use endpoint::Endpoint;
pub use request::{Chunks, DEADLINE, StreamBody};

/// Largest answer accepted, in bytes.
pub const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// What we call ourselves.
pub const CLIENT_INFO: &str = concat!("panorama-gateway/", env!("CARGO_PKG_VERSION"));

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Below a minute: load balancers in front of hosted backends drop idle connections after that.
const POOL_IDLE: Duration = Duration::from_secs(50);
const H2_PING: Duration = Duration::from_secs(10);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The HTTP client of one backend; cheap to clone.
#[derive(Debug, Clone)]
pub struct Http {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Mutex<reqwest::Client>,
    endpoint: Endpoint,
    offset: Mutex<Option<ServerOffset>>,
    outage: Outage,
    began: Instant,
    awake: Mutex<Awake>,
}

/// Installs the process's one cryptography provider; later calls do nothing.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    // An error says that somebody installed one before us, which is as good.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

impl Http {
    /// Builds the client.
    ///
    /// # Errors
    /// [`HttpError::Address`] when TLS cannot be set up or the key cannot stand in a header.
    pub fn new(endpoint: Endpoint) -> Result<Self, HttpError> {
        install_crypto();
        let client = client_of(&endpoint)?;
        Ok(Self {
            inner: Arc::new(Inner {
                client: Mutex::new(client),
                endpoint,
                offset: Mutex::new(None),
                outage: Outage::new(),
                began: Instant::now(),
                awake: Mutex::new(Awake::at(clock::now(), Duration::ZERO)),
            }),
        })
    }

    /// After a sleep of the host every connection is left behind: a request on one of them would wait for nobody.
    fn wake_up(&self) {
        let mut awake = self.inner.awake.lock().unwrap_or_else(PoisonError::into_inner);
        if awake.look(clock::now(), self.inner.began.elapsed()).is_none() {
            return;
        }
        match client_of(&self.inner.endpoint) {
            Ok(fresh) => *self.inner.client.lock().unwrap_or_else(PoisonError::into_inner) = fresh,
            Err(error) => warn!(%error, "Failed to make a new HTTP client; the old one goes on"),
        }
    }

    fn client(&self) -> reqwest::Client {
        let client = self.inner.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone()
    }

    /// Whom this client talks to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// How far the server's clock is ahead; `None` before its first answer.
    #[must_use]
    pub fn server_offset(&self) -> Option<ServerOffset> {
        *self.inner.offset.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now by the server's clock, by ours while it has not answered yet.
    #[must_use]
    pub fn server_time(&self) -> Timestamp {
        self.server_offset().unwrap_or_default().server_time(clock::now())
    }

    /// Whether the control plane did not answer lately.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.inner.outage.is_on()
    }

    /// Waits, while the control plane is away, until it may be tried again.
    ///
    /// # Errors
    /// [`HttpError::Connect`] when too many others are waiting too.
    pub(crate) async fn turn(&self) -> Result<(), HttpError> {
        if self.inner.outage.turn().await {
            return Ok(());
        }
        Err(HttpError::Connect {
            host: self.inner.endpoint.host(),
            reason: "it has not answered for a while".to_owned(),
        })
    }

    /// Sends once. An error status is an error.
    pub(crate) async fn send(&self, request: &Request, bearer: &Secret) -> Result<Answer, BackendError> {
        self.turn().await?;
        let (deadline, sent) = (request.deadline(), Instant::now());
        let exchange = self.exchange(request, bearer);
        let result = tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| {
            let host = self.inner.endpoint.host();
            Err(HttpError::Timeout { host, after: deadline }.into())
        });
        match &result {
            Err(error) if error.is_outage() => self.inner.outage.failed(error.retry_after()),
            Ok(_) | Err(_) => self.inner.outage.answered(sent),
        }
        result
    }

    async fn exchange(&self, request: &Request, bearer: &Secret) -> Result<Answer, BackendError> {
        self.wake_up();
        let built = self.build(request, bearer)?;
        let response = self
            .client()
            .execute(built)
            .await
            .map_err(|error| self.transport(&error))?;
        let status = response.status();
        self.refuse_strangers(&response)?;
        let retry_after = retry_after(response.headers(), self.server_time());
        let date = date(response.headers());
        let json = is_json(response.headers());
        let body = self.read(response).await?;
        if is_believed(status) && !json && !body.is_empty() {
            return Err(self.not_ours(&format!("a page (HTTP {})", status.as_u16())).into());
        }
        self.learn(date);
        if status.is_success() {
            return Ok(Answer {
                what: request.what.clone(),
                body,
            });
        }
        let mut problem = Problem::read(&body);
        let secrets = [bearer, self.inner.endpoint.key()];
        problem.message = problem.message.map(|text| without_secrets(text, &secrets));
        Err(BackendError::Status {
            what: request.what.clone(),
            status: status.as_u16(),
            problem,
            retry_after,
        })
    }

    fn build(&self, request: &Request, bearer: &Secret) -> Result<reqwest::Request, HttpError> {
        let authorization = secret_header(&Secret::new(format!("Bearer {}", bearer.expose())))
            .map_err(|why| HttpError::Address(self.inner.endpoint.host(), why.to_owned()))?;
        let mut builder = self
            .client()
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .header("authorization", authorization);
        if !matches!(request.body, Body::Empty) && !request.headers.contains_key(CONTENT_TYPE) {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        builder = match &request.body {
            Body::Empty => builder,
            Body::Json(text) => builder.body(text.clone()),
            Body::Stream(stream) => {
                let chunks = (stream.chunks)().map(Ok::<_, std::convert::Infallible>);
                builder
                    .header("content-length", stream.length)
                    .body(reqwest::Body::wrap_stream(futures_util::stream::iter(chunks)))
            }
        };
        builder.build().map_err(|error| self.transport(&error))
    }

    fn refuse_strangers(&self, response: &Response) -> Result<(), HttpError> {
        let status = response.status();
        if status.is_redirection() {
            return Err(self.not_ours(&format!("a redirect (HTTP {})", status.as_u16())));
        }
        if status == StatusCode::NETWORK_AUTHENTICATION_REQUIRED || status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            return Err(self.not_ours(&format!("HTTP {}", status.as_u16())));
        }
        Ok(())
    }

    fn not_ours(&self, what: &str) -> HttpError {
        HttpError::NotOurs {
            host: self.inner.endpoint.host(),
            what: what.to_owned(),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport(&error))? {
            if body.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
                return Err(HttpError::TooLarge {
                    host: self.inner.endpoint.host(),
                    limit: MAX_ANSWER_BYTES,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn learn(&self, server: Option<Timestamp>) {
        if let Some(server) = server {
            let learnt = ServerOffset::observe(server, clock::now());
            *self.inner.offset.lock().unwrap_or_else(PoisonError::into_inner) = Some(learnt);
        }
    }

    fn transport(&self, error: &reqwest::Error) -> HttpError {
        let host = self.inner.endpoint.host();
        let reason = innermost(error);
        let tls = ["certificate", "tls", "handshake", "TLS", "InvalidContentType"];
        if error.is_timeout() {
            return HttpError::Timeout {
                host,
                after: CONNECT_DEADLINE,
            };
        }
        match (error.is_connect(), tls.iter().any(|word| reason.contains(word))) {
            (true, true) => HttpError::Tls { host, reason },
            (true, false) => HttpError::Connect { host, reason },
            (false, _) => HttpError::Cut { host, reason },
        }
    }
}

/// A client with no connection yet. Root certificates are loaded only for `https`.
fn client_of(endpoint: &Endpoint) -> Result<reqwest::Client, HttpError> {
    let refuse = |why: &dyn fmt::Display| HttpError::Address(endpoint.host(), why.to_string());
    let mut headers = HeaderMap::new();
    headers.insert("x-client-info", HeaderValue::from_static(CLIENT_INFO));
    headers.insert("apikey", secret_header(endpoint.key()).map_err(|why| refuse(&why))?);
    let mut builder = reqwest::Client::builder()
        .user_agent(CLIENT_INFO)
        .default_headers(headers)
        .connect_timeout(CONNECT_DEADLINE)
        .pool_idle_timeout(POOL_IDLE)
        .redirect(Policy::none())
        .http2_keep_alive_interval(H2_PING)
        .http2_keep_alive_timeout(H2_PING);
    if endpoint.is_plain() {
        // Loading a trust store costs milliseconds and megabytes that a plain address never needs.
        builder = builder.tls_certs_only([]);
    }
    if endpoint.is_loopback() {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| refuse(&innermost(&error)))
}

fn secret_header(secret: &Secret) -> Result<HeaderValue, &'static str> {
    let mut value =
        HeaderValue::from_str(secret.expose()).map_err(|_error| "the key or token holds control characters")?;
    value.set_sensitive(true);
    Ok(value)
}

/// The deepest cause: the outer texts repeat the address with its query.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = None;
    while let Some(error) = cause {
        text = Some(error.to_string());
        cause = error.source();
    }
    text.unwrap_or_else(|| "the request failed".to_owned())
}

/// Statuses that lead to more than another try. Every service says them in JSON; a page that does is somebody else's, and
/// would end a session or cut a result. A size limit is often a proxy's and holds all the same.
fn is_believed(status: StatusCode) -> bool {
    let waits = matches!(status.as_u16(), 408 | 413 | 425 | 429);
    status.is_success() || (status.is_client_error() && !waits)
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.to_ascii_lowercase().contains("json"))
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    parse_date(headers.get(DATE)?.to_str().ok()?)
}

fn parse_date(text: &str) -> Option<Timestamp> {
    static PARSER: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new();
    PARSER.parse_timestamp(text).ok()
}

/// `Retry-After` as seconds or as a date, taken for a minute at most: what waits may hold a slot. Up to a quarter more,
/// so that those who were sent away together do not come back together.
pub(crate) fn retry_after(headers: &HeaderMap, server_now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Duration::try_from(parse_date(text)?.duration_since(server_now)).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER).mul_f64(1.0 + rand::random::<f64>() / 4.0))
}
