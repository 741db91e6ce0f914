//! What the model was asked, for tests and for people who watch.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Something that was seen; one JSON line each in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Seen {
    /// A request came.
    Asked(Box<Asked>),
    /// Its answer is over.
    Ended(Ended),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Asked {
    /// Number of the request.
    pub n: u64,
    /// When it came.
    pub at: String,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `anthropic`, `openai` or `gemini`; none for other paths.
    pub api: Option<&'static str>,
    /// The client's name for itself.
    pub client: Option<String>,
    /// Header that holds a credential, and the last characters of that.
    pub credential: Option<String>,
    /// Length of the body.
    pub body_bytes: usize,
    /// Model that was asked.
    pub model: String,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// How often the user has spoken.
    pub turn: u64,
    /// What the user said last, exactly as it came: one text per block, the client's own blocks among them.
    pub user: Vec<String>,
    /// What tools have answered since.
    pub results: Vec<String>,
    /// Names of the tools on offer.
    pub tools: Vec<String>,
    /// Whether the answer has to fit a schema.
    pub schema: bool,
    /// Status of the answer.
    pub status: u16,
    /// Beginning of the answer's text.
    pub answer: Option<String>,
    /// Tools that the answer calls.
    pub calls: Vec<String>,
}

/// The end of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Number of the request.
    pub n: u64,
    /// How it ended.
    pub how: How,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It was sent whole.
    Complete,
    /// It was broken off, as scripted.
    Broken,
    /// The client left before its end.
    ClientLeft,
}

/// Who is told.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(&Seen) + Send + Sync>);

impl Observer {
    /// Calls `tell` with everything that is seen. It must not block for long.
    pub fn new(tell: impl Fn(&Seen) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(super) fn tell(&self, seen: &Seen) {
        (self.0)(seen);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// One answer on its way: tells of its end when it goes.
#[derive(Debug)]
pub(super) struct Exchange {
    n: u64,
    how: How,
    observer: Observer,
}

impl Exchange {
    pub(super) const fn new(n: u64, observer: Observer) -> Self {
        let how = How::ClientLeft;
        Self { n, how, observer }
    }

    pub(super) const fn ends(&mut self, how: How) {
        self.how = how;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let ended = Ended {
            n: self.n,
            how: self.how,
        };
        self.observer.tell(&Seen::Ended(ended));
    }
}
