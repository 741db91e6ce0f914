//! What is sent, and what comes back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::backend::error::BackendError;

/// Deadline of an ordinary request, from its start to the last byte of the answer. A control plane under load may take
/// twenty seconds and still serve.
pub const DEADLINE: Duration = Duration::from_secs(25);
/// Longest deadline of an upload, and the rate it is planned with.
const MAX_UPLOAD_DEADLINE: Duration = Duration::from_secs(180);
const UPLOAD_BYTES_PER_SECOND: u64 = 512 * 1024;

/// Makes chunks of a body that is sent piece by piece; called again when the request is repeated.
pub type Chunks = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// A body whose length is known but which never exists as a whole.
#[derive(Clone)]
pub struct StreamBody {
    /// Exact number of bytes over all chunks.
    pub length: u64,
    /// Starts the chunks from the beginning.
    pub chunks: Arc<dyn Fn() -> Chunks + Send + Sync>,
}

impl fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamBody({} bytes)", self.length)
    }
}

/// What a request carries.
#[derive(Clone, Default)]
pub(crate) enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// A JSON text.
    Json(String),
    /// A JSON text, piece by piece.
    Stream(StreamBody),
}

impl fmt::Debug for Body {
    /// Lengths only: bodies hold refresh tokens, commands and output.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Json(text) => write!(f, "Json({} bytes)", text.len()),
            Self::Stream(stream) => stream.fmt(f),
        }
    }
}

/// One request, not yet bound to a bearer.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Method and target for texts, such as `GET gateway_jobs`.
    pub(crate) what: String,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

impl Request {
    pub(crate) fn new(method: Method, target: &str, url: Url) -> Self {
        Self {
            what: format!("{method} {target}"),
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers
            .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    pub(crate) fn json(mut self, body: String) -> Self {
        self.body = Body::Json(body);
        self
    }

    pub(super) fn deadline(&self) -> Duration {
        match &self.body {
            Body::Empty | Body::Json(_) => DEADLINE,
            Body::Stream(body) => {
                let extra = Duration::from_secs(body.length / UPLOAD_BYTES_PER_SECOND);
                DEADLINE.saturating_add(extra).min(MAX_UPLOAD_DEADLINE)
            }
        }
    }
}

/// A good answer: status 2xx, body JSON or empty.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) what: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, BackendError> {
        serde_json::from_slice(&self.body).map_err(|error| BackendError::unexpected(&self.what, &error))
    }
}
