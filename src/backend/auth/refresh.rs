//! One refresh at a time, stored before used, never in a storm.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::backend::auth::exchange::{OUTAGE_PAUSE, REFUSED_PAUSE, exchange};
use crate::backend::auth::jwt::Life;
use crate::backend::auth::store::{StoreError, TokenStore, Tokens};
use crate::backend::auth::{AuthState, PATIENCE};
use crate::backend::error::BackendError;
use crate::backend::http::Http;
use crate::domain::secret::Secret;

/// Between two attempts to write tokens that the disk refused.
const STORE_PAUSE: Duration = Duration::from_secs(30);
/// How long another process may hold the store's lock.
const LOCK_DEADLINE: Duration = Duration::from_secs(75);
/// A wrong clock must not make a storm: so many refreshes in so long.
const MAX_REFRESHES: usize = 2;
const REFRESH_WINDOW: Duration = Duration::from_secs(30);
type Flight = Shared<BoxFuture<'static, Result<(), BackendError>>>;

/// Keeps one session fresh.
pub(super) struct Keeper {
    core: Arc<Core>,
    pub(super) state: watch::Sender<AuthState>,
    pub(super) changes: watch::Sender<u64>,
    tasks: TaskTracker,
}

struct Core {
    http: Http,
    store: Arc<dyn TokenStore>,
    inner: Mutex<Inner>,
    state: watch::Sender<AuthState>,
    changes: watch::Sender<u64>,
}

struct Inner {
    tokens: Tokens,
    life: Option<Life>,
    /// After a failed write: when to try it again.
    unstored: Option<Instant>,
    flight: Option<Flight>,
    /// The last failure, and when it may be tried again.
    failure: Option<(BackendError, Instant)>,
    recent: VecDeque<Instant>,
}

impl Keeper {
    pub(super) fn new(http: Http, store: Arc<dyn TokenStore>, tokens: Tokens) -> Self {
        let (state, changes) = (watch::Sender::new(AuthState::Active), watch::Sender::new(0));
        let inner = Inner {
            life: Life::of(tokens.access.expose()),
            tokens,
            unstored: None,
            flight: None,
            failure: None,
            recent: VecDeque::new(),
        };
        let core = Core {
            http,
            store,
            inner: Mutex::new(inner),
            state: state.clone(),
            changes: changes.clone(),
        };
        Self {
            core: Arc::new(core),
            state,
            changes,
            tasks: TaskTracker::new(),
        }
    }

    pub(super) fn current(&self) -> Secret {
        self.core.inner().tokens.access.clone()
    }

    pub(super) async fn bearer(&self) -> Result<Secret, BackendError> {
        let now = self.core.http.server_time();
        let (life, lost) = {
            let inner = self.core.inner();
            if inner.is_at_rest(now) {
                return Ok(inner.tokens.access.clone());
            }
            (inner.life, inner.is_lost())
        };
        if lost {
            self.core.adopt_stored().await;
        }
        let outcome = match self.flight(false) {
            Some(flight) if lost || life.is_none_or(|life| life.is_over(now)) => flight.await,
            Some(flight) => tokio::time::timeout(PATIENCE, flight).await.unwrap_or(Ok(())),
            None => Ok(()),
        };
        self.core.usable(outcome)
    }

    pub(super) async fn renew(&self, refused: &Secret) -> Result<Option<Secret>, BackendError> {
        if self.current() != *refused {
            return Ok(Some(self.current()));
        }
        let outcome = match self.flight(true) {
            Some(flight) => flight.await,
            None => self.core.resting(),
        };
        let current = self.current();
        if current != *refused {
            return Ok(Some(current));
        }
        outcome.map(|()| None)
    }

    /// Joins the refresh under way or starts one, unless it is too early for another.
    ///
    /// The refresh is a task of its own: a caller that gives up must not lose tokens already rotated.
    fn flight(&self, forced: bool) -> Option<Flight> {
        let mut inner = self.core.inner();
        if let Some(flight) = &inner.flight {
            return Some(flight.clone());
        }
        let now = Instant::now();
        if !forced && inner.is_at_rest(self.core.http.server_time()) {
            return None;
        }
        if inner.failure.as_ref().is_some_and(|(_, until)| now < *until) || !inner.may_refresh(now) {
            return None;
        }
        inner.recent.push_back(now);
        let core = Arc::clone(&self.core);
        let must = forced || inner.is_lost();
        let task = self.tasks.spawn(async move { core.refresh(must).await });
        let flight: Flight = async move {
            task.await
                .unwrap_or_else(|error| Err(BackendError::unexpected("refresh", &error)))
        }
        .boxed()
        .shared();
        inner.flight = Some(flight.clone());
        Some(flight)
    }
}

impl Inner {
    /// Nothing to refresh, to revive or to write.
    fn is_at_rest(&self, now: Timestamp) -> bool {
        let due = self.life.is_some_and(|life| life.is_due(now));
        !due && !self.is_lost() && self.unstored.is_none_or(|at| Instant::now() < at)
    }

    fn is_lost(&self) -> bool {
        matches!(self.failure, Some((BackendError::SessionLost(_), _)))
    }

    fn may_refresh(&mut self, now: Instant) -> bool {
        while self
            .recent
            .front()
            .is_some_and(|at| now.duration_since(*at) >= REFRESH_WINDOW)
        {
            self.recent.pop_front();
        }
        self.recent.len() < MAX_REFRESHES
    }
}

impl Core {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current token if it can be sent, else why not.
    fn usable(&self, outcome: Result<(), BackendError>) -> Result<Secret, BackendError> {
        let inner = self.inner();
        if let Some((error @ BackendError::SessionLost(_), _)) = &inner.failure {
            return Err(error.clone());
        }
        let over = inner.life.is_some_and(|life| life.is_over(self.http.server_time()));
        match (over, outcome, &inner.failure) {
            // A failed refresh does not end a token that still lives, nor does a rate limit of ours.
            (false, _, _) | (true, Ok(()), None) => Ok(inner.tokens.access.clone()),
            (true, Err(error), _) => Err(error),
            (true, Ok(()), Some((error, until))) => Err(paused(error, *until)),
        }
    }

    /// The last failure, while it is too early for another attempt.
    fn resting(&self) -> Result<(), BackendError> {
        match &self.inner().failure {
            Some((error, until)) => Err(paused(error, *until)),
            None => Ok(()),
        }
    }

    async fn refresh(&self, must: bool) -> Result<(), BackendError> {
        let refreshing = AssertUnwindSafe(self.refresh_locked(must)).catch_unwind().await;
        // Whatever happened in there: the next caller must find no flight that has long landed.
        let outcome = refreshing.unwrap_or_else(|_panic| Err(not_refreshed(&StoreError("it panicked".to_owned()))));
        let mut inner = self.inner();
        inner.flight = None;
        inner.failure = match &outcome {
            Ok(()) => None,
            Err(error) => {
                warn!(%error, "Gateway session was not refreshed");
                let until = Instant::now() + pause(error);
                // A lost session stays lost while the backend cannot be asked again.
                let lost = inner.failure.take().filter(|(error, _)| error.requires_pairing());
                Some((lost.map_or_else(|| error.clone(), |(lost, _)| lost), until))
            }
        };
        let state = match &inner.failure {
            Some((BackendError::SessionLost(lost), _)) => AuthState::Lost(lost.clone()),
            Some(_) | None => AuthState::Active,
        };
        drop(inner);
        self.become_(state);
        outcome
    }

    fn become_(&self, state: AuthState) {
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }

    async fn refresh_locked(&self, must: bool) -> Result<(), BackendError> {
        let _guard = tokio::time::timeout(LOCK_DEADLINE, self.store.lock())
            .await
            .unwrap_or_else(|_| {
                Err(StoreError(
                    "another process refreshes the session for too long".to_owned(),
                ))
            })
            .map_err(|error| not_refreshed(&error))?;
        self.store_pending().await?;
        let stored = self.store.load().await.map_err(|error| not_refreshed(&error))?;
        let adopted = self.adopt(stored);
        if (adopted || !must) && !self.is_due() {
            return Ok(());
        }
        let refresh = self.inner().tokens.refresh.clone();
        let tokens = exchange(&self.http, &refresh).await?;
        self.keep(tokens).await;
        Ok(())
    }

    /// Tokens whose write failed are written before they are rotated again: two generations behind is fatal.
    async fn store_pending(&self) -> Result<(), BackendError> {
        let pending = {
            let mut inner = self.inner();
            inner.unstored = inner.unstored.map(|_| Instant::now() + STORE_PAUSE);
            inner.unstored.map(|_| inner.tokens.clone())
        };
        if let Some(tokens) = pending {
            self.store
                .persist(&tokens)
                .await
                .map_err(|error| not_refreshed(&error))?;
            self.inner().unstored = None;
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.inner()
            .life
            .is_some_and(|life| life.is_due(self.http.server_time()))
    }

    /// Takes tokens that another process stored; false when they are ours.
    fn adopt(&self, stored: Tokens) -> bool {
        let mut inner = self.inner();
        if stored == inner.tokens || stored.access.is_empty() || stored.refresh.is_empty() {
            return false;
        }
        inner.life = Life::of(stored.access.expose());
        inner.tokens = stored;
        inner.failure = None;
        drop(inner);
        self.changes.send_modify(|generation| *generation += 1);
        true
    }

    /// After a loss: somebody may have paired again.
    async fn adopt_stored(&self) {
        if let Ok(stored) = self.store.load().await
            && self.adopt(stored)
        {
            self.become_(AuthState::Active);
        }
    }

    async fn keep(&self, tokens: Tokens) {
        // Stored before anybody sees them. When the disk refuses, they are still better than the old pair: the access
        // token is used, and the refresh token is not spent before it could be written.
        let written = self.store.persist(&tokens).await;
        if let Err(error) = &written {
            warn!(%error, "Failed to persist refreshed gateway session");
        }
        let mut inner = self.inner();
        inner.life = Life::of(tokens.access.expose());
        inner.tokens = tokens;
        inner.unstored = written.is_err().then(|| Instant::now() + STORE_PAUSE);
        drop(inner);
        self.changes.send_modify(|generation| *generation += 1);
        info!("Gateway session refreshed");
    }
}

fn pause(error: &BackendError) -> Duration {
    error.retry_after().unwrap_or(REFUSED_PAUSE)
}

fn paused(error: &BackendError, until: Instant) -> BackendError {
    match error {
        BackendError::NotRefreshed { reason, transient, .. } => BackendError::NotRefreshed {
            reason: reason.clone(),
            transient: *transient,
            retry_after: until.saturating_duration_since(Instant::now()),
        },
        BackendError::Http(_)
        | BackendError::Status { .. }
        | BackendError::Unexpected { .. }
        | BackendError::SessionLost(_) => error.clone(),
    }
}

fn not_refreshed(error: &StoreError) -> BackendError {
    BackendError::NotRefreshed {
        reason: error.to_string(),
        transient: true,
        retry_after: OUTAGE_PAUSE,
    }
}
