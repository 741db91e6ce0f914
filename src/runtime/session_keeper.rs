//! The session file as the login's token store, the host's switch of machine control in it, and whether the directory
//! is still there.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tracing::debug;

use crate::backend::auth::{Auth, AuthState};
use crate::backend::{StoreError, StoreGuard, TokenStore, Tokens};
use crate::domain::needles::Needles;
use crate::job::handler::InstallSwitch;
use crate::runtime::supervisor::Note;
use crate::state::lock::StateLock;
use crate::state::session::{Session, SessionError, SessionStore};

/// Between two looks for a new session.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Tokens in `gateway.json`.
#[derive(Debug)]
pub struct SessionKeeper {
    store: SessionStore,
    gateway_id: String,
    secrets: Needles,
}

impl SessionKeeper {
    /// Keeps the tokens of the session that was loaded from `store`. `secrets` learns every one of them.
    #[must_use]
    pub fn new(store: SessionStore, session: &Session, secrets: Needles) -> Self {
        let keeper = Self {
            store,
            gateway_id: session.gateway_id.to_string(),
            secrets,
        };
        // Those before lie on disk too, and the control plane still takes them. Later ones push the older out.
        if let Ok(Some(previous)) = keeper.store.previous() {
            keeper.learn(&tokens_of(&previous));
        }
        keeper.learn(&tokens_of(session));
        keeper
    }

    fn learn(&self, tokens: &Tokens) {
        self.secrets.rotate(&tokens.access);
        self.secrets.rotate(&tokens.refresh);
    }

    /// The stored tokens, as long as the file still is this gateway's.
    fn read(&self) -> Result<Tokens, StoreError> {
        let session = self.store.load().map_err(|error| store_error(&error))?;
        let session = session.ok_or_else(|| StoreError("this host is not paired any more".to_owned()))?;
        if session.gateway_id.as_str() != self.gateway_id {
            return Err(StoreError("this host was paired as another gateway".to_owned()));
        }
        let tokens = tokens_of(&session);
        self.learn(&tokens);
        Ok(tokens)
    }
}

/// A session's tokens.
#[must_use]
pub fn tokens_of(session: &Session) -> Tokens {
    Tokens {
        access: session.access_token.clone(),
        refresh: session.refresh_token.clone(),
    }
}

impl TokenStore for SessionKeeper {
    fn load(&self) -> BoxFuture<'_, Result<Tokens, StoreError>> {
        std::future::ready(self.read()).boxed()
    }

    fn persist<'a>(&'a self, tokens: &'a Tokens) -> BoxFuture<'a, Result<(), StoreError>> {
        self.learn(tokens);
        let persisted = self.read().and_then(|_| {
            let update = self.store.update(|session| {
                session.access_token = tokens.access.clone();
                session.refresh_token = tokens.refresh.clone();
            });
            update.map(drop).map_err(|error| store_error(&error))
        });
        std::future::ready(persisted).boxed()
    }

    fn lock(&self) -> BoxFuture<'_, Result<StoreGuard, StoreError>> {
        async {
            let guard = self.store.refresh_guard().await;
            guard.map(StoreGuard::new).map_err(|error| store_error(&error))
        }
        .boxed()
    }
}

/// Tells whether the session is good, and looks for a new one while it is not.
pub async fn follow(auth: Auth, store: SessionStore, gateway_id: String, notes: mpsc::Sender<Note>) {
    let mut state = auth.watch();
    loop {
        let now = state.borrow_and_update().clone();
        let lost = matches!(now, AuthState::Lost(_));
        if notes.send(Note::Session(now)).await.is_err() {
            return;
        }
        if !lost {
            if state.changed().await.is_err() {
                return;
            }
            continue;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        if let Ok(Some(session)) = store.load()
            && session.gateway_id.as_str() != gateway_id
        {
            // Whoever receives this ends the work. To return first would be a fault of a task that the rest needs.
            drop(notes.send(Note::PairedAnew).await);
            return std::future::pending().await;
        }
        if let Err(error) = auth.bearer().await {
            debug!(%error, "The session is still refused");
        }
    }
}

/// Tells when the state directory is no longer the one this daemon holds: nobody could find or stop it any more.
pub async fn watch_place(lock: Arc<StateLock>, notes: mpsc::Sender<Note>) {
    while lock.is_in_place() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // Whoever receives this ends the work.
    drop(notes.send(Note::StateGone).await);
}

fn store_error(error: &SessionError) -> StoreError {
    StoreError(error.to_string())
}

/// What makes a file the same file with the same content, as far as a look at it can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::symlink_metadata(path).ok()?;
        Some(Self {
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

/// A switch that reads `gateway.json` on every question, unless the file is the one it has read already.
/// A file that cannot be read means no.
#[must_use]
pub fn install_switch(store: SessionStore, path: PathBuf) -> InstallSwitch {
    let known: Mutex<Option<(Stamp, bool)>> = Mutex::new(None);
    InstallSwitch::new(move || {
        let stamp = Stamp::of(&path);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match (*known, stamp) {
            (Some((seen, enabled)), Some(stamp)) if seen == stamp => enabled,
            (Some(_) | None, Some(_) | None) => {
                let enabled = store.full_control_enabled().unwrap_or(false);
                *known = stamp.map(|stamp| (stamp, enabled));
                enabled
            }
        }
    })
}
