//! The login: who we are to the backend, kept fresh.
//!
//! A session is refreshed lazily, when less than 90 s of its access token are left by the server's clock. There is one
//! refresh at a time in the process and, through the store's lock, one on the machine; the new tokens are stored
//! before anybody sees them. A refused session is a state that everybody can watch, never a silent public key.

mod exchange;
mod jwt;
mod refresh;
mod store;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::backend::auth::refresh::Keeper;
use crate::backend::error::{BackendError, SessionLost};
use crate::backend::http::Http;
use crate::domain::secret::Secret;

pub use store::{StoreError, StoreGuard, TokenStore, Tokens};

/// How long a request waits for a refresh while its old token still works.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the session is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthState {
    /// As far as known, yes.
    Active,
    /// The backend refused it. It is tried again once a minute, and when somebody else stores new tokens.
    Lost(SessionLost),
}

/// A login; cheap to clone.
#[derive(Clone)]
pub struct Auth {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Fixed {
        token: Secret,
        state: watch::Sender<AuthState>,
        changes: watch::Sender<u64>,
    },
    Session(Arc<Keeper>),
}

impl Auth {
    /// A token that is never refreshed: an operator's, or the public key.
    #[must_use]
    pub fn fixed(token: Secret) -> Self {
        let kind = Kind::Fixed {
            token,
            state: watch::Sender::new(AuthState::Active),
            changes: watch::Sender::new(0),
        };
        Self { kind }
    }

    /// A session that is refreshed; `tokens` is what the store holds now.
    #[must_use]
    pub fn session(http: Http, store: Arc<dyn TokenStore>, tokens: Tokens) -> Self {
        Self {
            kind: Kind::Session(Arc::new(Keeper::new(http, store, tokens))),
        }
    }

    /// The token to send now, refreshed first where that is due.
    ///
    /// # Errors
    /// [`BackendError::SessionLost`] or [`BackendError::NotRefreshed`] when there is no token worth sending.
    pub async fn bearer(&self) -> Result<Secret, BackendError> {
        match &self.kind {
            Kind::Fixed { token, .. } => Ok(token.clone()),
            Kind::Session(keeper) => keeper.bearer().await,
        }
    }

    /// The token as last known, fresh or not.
    #[must_use]
    pub fn current(&self) -> Secret {
        match &self.kind {
            Kind::Fixed { token, .. } => token.clone(),
            Kind::Session(keeper) => keeper.current(),
        }
    }

    /// The backend refused `token`: gives another one, or `None` when there is none to be had now.
    ///
    /// # Errors
    /// [`BackendError::SessionLost`] when the session turned out to be over, [`BackendError::NotRefreshed`] when
    /// the refresh failed.
    pub async fn renew(&self, token: &Secret) -> Result<Option<Secret>, BackendError> {
        match &self.kind {
            Kind::Fixed { .. } => Ok(None),
            Kind::Session(keeper) => keeper.renew(token).await,
        }
    }

    /// Follows whether the session is good.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<AuthState> {
        match &self.kind {
            Kind::Fixed { state, .. } => state.subscribe(),
            Kind::Session(keeper) => keeper.state.subscribe(),
        }
    }

    /// Changes whenever [`Auth::current`] does.
    #[must_use]
    pub fn token_changes(&self) -> watch::Receiver<u64> {
        match &self.kind {
            Kind::Fixed { changes, .. } => changes.subscribe(),
            Kind::Session(keeper) => keeper.changes.subscribe(),
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Fixed { .. } => "Auth::Fixed",
            Kind::Session(_) => "Auth::Session",
        })
    }
}
