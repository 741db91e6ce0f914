//! Where a session lies, as a trait: the files are somebody else's.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::domain::secret::Secret;

/// A session's two tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// JWT, sent with every request.
    pub access: Secret,
    /// Good for one refresh.
    pub refresh: Secret,
}

/// The store failed; the text names path and cause and is shown to people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Held while one process refreshes; releases when dropped.
pub struct StoreGuard(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send>);

impl StoreGuard {
    /// Wraps whatever releases the lock when it is dropped.
    pub fn new(held: impl Send + 'static) -> Self {
        Self(Box::new(held))
    }
}

impl fmt::Debug for StoreGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreGuard")
    }
}

/// Keeps a session across processes.
pub trait TokenStore: Send + Sync {
    /// Reads the tokens as they are stored now.
    fn load(&self) -> BoxFuture<'_, Result<Tokens, StoreError>>;

    /// Stores tokens so that they survive a power cut. On error the old ones are still whole.
    fn persist<'a>(&'a self, tokens: &'a Tokens) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Waits until no other process refreshes; must not block the thread.
    fn lock(&self) -> BoxFuture<'_, Result<StoreGuard, StoreError>>;
}
