//! Where a backend is.

use std::fmt;

use reqwest::Url;

use crate::backend::error::HttpError;
use crate::domain::secret::Secret;

/// A backend: where it is and the public key it wants to see.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    base: Url,
    key: Secret,
}

impl Endpoint {
    /// Checks the address: `http` or `https`, a host, no credentials, no query.
    ///
    /// # Errors
    /// [`HttpError::Address`] saying what is wrong with it.
    pub fn new(url: &str, key: Secret) -> Result<Self, HttpError> {
        let refuse = |why: &str| HttpError::Address(shown(url), why.to_owned());
        let mut base = Url::parse(url.trim()).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(refuse("it must begin with http:// or https://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(refuse("it must not hold a user name or password"));
        }
        base.set_query(None);
        base.set_fragment(None);
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        Ok(Self { base, key })
    }

    /// The public key.
    #[must_use]
    pub const fn key(&self) -> &Secret {
        &self.key
    }

    /// Scheme, host and port: what a session is pinned to.
    #[must_use]
    pub fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// The address of a path below the base, which may itself have a path.
    #[must_use]
    pub fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// Host and port, for texts.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    pub(super) fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
    }

    pub(super) fn is_loopback(&self) -> bool {
        match self.base.host_str() {
            Some("localhost" | "[::1]") => true,
            Some(host) => host.starts_with("127."),
            None => false,
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.base)
    }
}

/// An address without whatever stands before an `@`.
fn shown(url: &str) -> String {
    url.rsplit_once('@').map_or(url, |(_, rest)| rest).to_owned()
}
