//! What can go wrong with a request, and the questions callers ask about it.
//!
//! No text here ever holds a token, a request body or a query: they end up on screens and in logs.

use std::fmt;
use std::time::Duration;

use crate::domain::secret::Secret;
use crate::wire::problem::{MAX_MESSAGE_CHARS, Problem};

/// The transport failed: there is no answer of the backend to speak of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be used.
    #[error("{0} is not a usable address: {1}")]
    Address(String, String),
    /// Nobody could be reached.
    #[error("cannot reach {host}: {reason}")]
    Connect {
        /// Host and port.
        host: String,
        /// The innermost cause.
        reason: String,
    },
    /// The certificate or the TLS handshake was refused.
    #[error("no trusted connection to {host}: {reason}")]
    Tls {
        /// Host and port.
        host: String,
        /// The innermost cause.
        reason: String,
    },
    /// No answer within the deadline.
    #[error("{host} did not answer within {} s", .after.as_secs())]
    Timeout {
        /// Host and port.
        host: String,
        /// The deadline.
        after: Duration,
    },
    /// The connection ended in the middle.
    #[error("the connection to {host} was cut: {reason}")]
    Cut {
        /// Host and port.
        host: String,
        /// The innermost cause.
        reason: String,
    },
    /// Somebody else answered: a captive portal, a proxy's page, a redirect.
    #[error("{host} answered with {what}, not as a control plane; is a proxy or login page in between?")]
    NotOurs {
        /// Host and port.
        host: String,
        /// What came instead.
        what: String,
    },
    /// The answer is larger than we accept.
    #[error("the answer of {host} is over the limit of {limit} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
        /// The bound.
        limit: usize,
    },
}

impl HttpError {
    /// Whether the same request may succeed later without anybody changing anything here.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::Cut { .. }
            | Self::NotOurs { .. } => true,
            Self::Address(..) | Self::TooLarge { .. } => false,
        }
    }
}

/// The session is over: only pairing again helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the session was refused ({code}); pair this machine again with `gateway pair CODE`")]
pub struct SessionLost {
    /// The backend's code, such as `refresh_token_not_found`.
    pub code: String,
}

/// A request to the backend did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The transport failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The backend answered, with an error.
    #[error("{what}: {}", Self::status_text(*.status, .problem))]
    Status {
        /// Method and target, such as `PATCH gateway_jobs`.
        what: String,
        /// HTTP status.
        status: u16,
        /// What the body said.
        problem: Problem,
        /// How long the backend asks to wait.
        retry_after: Option<Duration>,
    },
    /// The answer is not of the promised shape.
    #[error("{what}: unexpected answer: {why}")]
    Unexpected {
        /// Method and target.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Pair again.
    #[error(transparent)]
    SessionLost(#[from] SessionLost),
    /// The session could not be refreshed just now, and is not tried again before `retry_after`.
    #[error("the session could not be refreshed: {reason}")]
    NotRefreshed {
        /// Why.
        reason: String,
        /// Whether time alone may mend it.
        transient: bool,
        /// When it is tried again.
        retry_after: Duration,
    },
}

impl BackendError {
    /// Whether the same request may succeed later without anybody changing anything here.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::Status { status, .. } => matches!(*status, 408 | 425 | 429 | 500..=599),
            Self::Unexpected { .. } | Self::SessionLost(_) => false,
            Self::NotRefreshed { transient, .. } => *transient,
        }
    }

    /// Whether nobody is there who could say more: no answer, somebody else's, or an error of the server.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::Status { status, .. } => matches!(*status, 500..=599),
            Self::Unexpected { .. } | Self::SessionLost(_) | Self::NotRefreshed { .. } => false,
        }
    }

    /// Whether only pairing again helps.
    #[must_use]
    pub const fn requires_pairing(&self) -> bool {
        match self {
            Self::SessionLost(_) => true,
            Self::Http(_) | Self::Status { .. } | Self::Unexpected { .. } | Self::NotRefreshed { .. } => false,
        }
    }

    /// How long to wait at least before the next attempt, where that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::NotRefreshed { retry_after, .. } => Some(*retry_after),
            Self::Http(_) | Self::Unexpected { .. } | Self::SessionLost(_) => None,
        }
    }

    /// Whether the backend refused what was sent, not us: sending the same again is useless, sending less may work.
    /// The database says why with a code; a bare 400 is a proxy's and says nothing about what was sent.
    #[must_use]
    pub const fn is_refused_payload(&self) -> bool {
        match self {
            Self::Status { status: 413, .. } => true,
            Self::Status { status, problem, .. } => matches!(*status, 400 | 422) && problem.code.is_some(),
            Self::Http(_) | Self::Unexpected { .. } | Self::SessionLost(_) | Self::NotRefreshed { .. } => false,
        }
    }

    /// Whether an answer came that cannot be taken in: too large, or not of the promised shape. Less may be.
    #[must_use]
    pub const fn is_indigestible(&self) -> bool {
        match self {
            Self::Http(HttpError::TooLarge { .. }) | Self::Unexpected { .. } => true,
            Self::Http(_) | Self::Status { .. } | Self::SessionLost(_) | Self::NotRefreshed { .. } => false,
        }
    }

    /// The HTTP status, if the backend answered.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Http(_) | Self::Unexpected { .. } | Self::SessionLost(_) | Self::NotRefreshed { .. } => None,
        }
    }

    /// The backend's own code: a SQLSTATE, `PGRSTnnn` or an auth code.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Status { problem, .. } => problem.code.as_deref(),
            Self::SessionLost(lost) => Some(&lost.code),
            Self::Http(_) | Self::Unexpected { .. } | Self::NotRefreshed { .. } => None,
        }
    }

    pub(crate) fn unexpected(what: impl Into<String>, why: &(impl fmt::Display + ?Sized)) -> Self {
        Self::Unexpected {
            what: what.into(),
            // A parser's complaint may quote what it found.
            why: why.to_string().chars().take(MAX_MESSAGE_CHARS).collect(),
        }
    }

    fn status_text(status: u16, problem: &Problem) -> String {
        match (&problem.message, &problem.code) {
            (Some(message), Some(code)) => format!("{message} (HTTP {status}, {code})"),
            (Some(message), None) => format!("{message} (HTTP {status})"),
            (None, Some(code)) => format!("HTTP {status}, {code}"),
            (None, None) => format!("HTTP {status}"),
        }
    }
}

/// Takes every occurrence of `secrets` out of a text that a stranger wrote.
pub(crate) fn without_secrets(text: String, secrets: &[&Secret]) -> String {
    secrets
        .iter()
        .map(|secret| secret.expose())
        .filter(|secret| !secret.is_empty())
        .fold(text, |text, secret| text.replace(secret, "[secret]"))
}
