//! Who is asking: the server's keys, access tokens of paired gateways, operator tokens.
//!
//! Supabase Auth is the model; only what a paired device needs exists.

pub mod gate;
pub mod http;
mod known;
pub mod session;
pub(crate) mod settings;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::control_plane::claims::{Claims, Role};
use crate::control_plane::jwt::{AccessClaims, JwtError, JwtKey};
use crate::control_plane::keys::{self, NoRandomness};
use crate::control_plane::problem::Problem;
use crate::control_plane::registry::{AUTH_SESSIONS, OPERATOR_TOKENS};
use crate::control_plane::store::{Rows, Store};
use crate::domain::clock;
use crate::domain::ids::{GatewayId, TeamId};
use known::Known;

/// How long a token was found good or bad is remembered, so how late a revocation by another process can take effect.
const MEMORY: Duration = Duration::from_secs(2);

/// How long things live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lives {
    /// Of an access token, in seconds.
    pub access_seconds: i64,
    /// How long after its end REST still takes it, in seconds; clocks differ.
    pub leeway_seconds: i64,
    /// How long a used refresh token can be used again by a client that raced itself, in seconds.
    pub reuse_seconds: i64,
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            access_seconds: 3600,
            leeway_seconds: 30,
            reuse_seconds: 10,
        }
    }
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Its life is over.
    #[error("JWT expired")]
    Expired {
        /// For how long.
        seconds: i64,
    },
    /// Not a token of ours by its form.
    #[error("The token is not a valid JWT")]
    Malformed,
    /// Signed with another key.
    #[error("The token's signature does not match")]
    Signature,
    /// Revoked, or unknown.
    #[error("The token was revoked or is not known")]
    Revoked,
    /// The store could not be asked.
    #[error("{0}")]
    Store(Problem),
}

impl From<JwtError> for Denied {
    fn from(error: JwtError) -> Self {
        match error {
            JwtError::Malformed => Self::Malformed,
            JwtError::Signature => Self::Signature,
            JwtError::Expired { seconds } => Self::Expired { seconds },
        }
    }
}

/// A text member of a stored row.
pub(crate) fn text(row: &Value, name: &str) -> Option<String> {
    row.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// The server could not get ready to know anybody.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No keys could be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// No keys could be read or stored.
    #[error("the keys of the control plane cannot be read: {0}")]
    Store(#[from] Problem),
}

/// The authentication service; cheap to clone.
#[derive(Debug, Clone)]
pub struct Auth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    anon_key: String,
    secret: String,
    jwt: JwtKey,
    lives: Lives,
    known: Known,
}

impl Auth {
    /// Reads the server's keys, or makes them on the first start.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn open(store: Store, lives: Lives) -> Result<Self, AuthError> {
        let anon_key = settings::anon_key(&store).await?;
        let secret = settings::get_or_set(&store, "auth_secret", &keys::random_token("")?).await?;
        Ok(Self(Arc::new(Inner {
            jwt: JwtKey::new(secret.as_bytes()),
            store,
            anon_key,
            secret,
            lives,
            known: Known::new(MEMORY),
        })))
    }

    /// The public key: it lets a request through the door and shows nothing.
    #[must_use]
    pub fn anon_key(&self) -> &str {
        &self.0.anon_key
    }

    /// Whether this is the public key.
    #[must_use]
    pub fn is_anon_key(&self, key: &str) -> bool {
        keys::same_key(key, &self.0.anon_key)
    }

    /// How long things live.
    #[must_use]
    pub fn lives(&self) -> Lives {
        self.0.lives
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    /// Who holds this token.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn identify(&self, token: &str, leeway_seconds: i64) -> Result<Claims, Denied> {
        if token.starts_with(keys::OPERATOR_PREFIX) {
            return self.operator(token).await;
        }
        let access = self.0.jwt.verify(token, clock::now(), leeway_seconds)?;
        if !self.session_lives(&access.session_id).await? {
            return Err(Denied::Revoked);
        }
        gateway_claims(&access).ok_or(Denied::Malformed)
    }

    /// Forgets what was found out about a session or an operator token, after changing it.
    fn forget(&self, key: &str) {
        self.0.known.forget(key);
    }

    async fn session_lives(&self, session_id: &str) -> Result<bool, Denied> {
        if let Some(claims) = self.0.known.get(session_id) {
            return Ok(claims.is_some());
        }
        let session = Rows::of(&AUTH_SESSIONS).eq("id", session_id).is_null("revoked_at");
        let lives = !self
            .store()
            .select_rows(&session)
            .await
            .map_err(Denied::Store)?
            .is_empty();
        self.0.known.put(session_id, lives.then(Claims::anon));
        Ok(lives)
    }

    async fn operator(&self, token: &str) -> Result<Claims, Denied> {
        let hash = keys::stored_form(token);
        let claims = match self.0.known.get(&hash) {
            Some(claims) => claims,
            None => {
                let stored = Rows::of(&OPERATOR_TOKENS).eq("token_hash", &hash).is_null("revoked_at");
                let found = self.store().select_rows(&stored).await.map_err(Denied::Store)?;
                let claims = found.first().and_then(operator_claims);
                self.0.known.put(&hash, claims.clone());
                claims
            }
        };
        let claims = claims.ok_or(Denied::Revoked)?;
        match claims.expires_at {
            Some(end) if end <= clock::now() => Err(Denied::Expired {
                seconds: clock::now().as_second() - end.as_second(),
            }),
            Some(_) | None => Ok(claims),
        }
    }
}

fn gateway_claims(access: &AccessClaims) -> Option<Claims> {
    let mut claims = Claims::new(Role::Gateway {
        gateway_id: GatewayId::new(&access.app_metadata.gateway_id).ok()?,
        team_id: TeamId::new(&access.app_metadata.team_id).ok()?,
    });
    claims.subject = Some(access.sub.clone());
    claims.session_id = Some(access.session_id.clone());
    claims.expires_at = Timestamp::from_second(access.exp).ok();
    Some(claims)
}

fn operator_claims(row: &Value) -> Option<Claims> {
    let text = |key: &str| row.get(key).and_then(Value::as_str);
    let user_id = text("user_id")?.to_owned();
    let mut claims = Claims::new(Role::Operator {
        team_id: TeamId::new(text("team_id")?).ok()?,
        user_id: user_id.clone(),
    });
    claims.subject = Some(user_id);
    claims.expires_at = text("expires_at").and_then(|end| end.parse().ok());
    Some(claims)
}
