//! Sessions of paired gateways: made by pairing, carried on by refresh tokens, ended by logout, removal or misuse.
//!
//! Every use of a refresh token revokes it and issues a child. A revoked one is judged by three rules: the parent of
//! the active token gets that same active token again, at any age, because the client failed to save it; within the
//! reuse interval any gets a new one; otherwise it was stolen or restored from a backup, and the session ends.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::control_plane::auth::{Auth, text};
use crate::control_plane::jwt::{AccessClaims, AppMetadata};
use crate::control_plane::keys::{self, NoRandomness};
use crate::control_plane::problem::Problem;
use crate::control_plane::query::value::stored_time;
use crate::control_plane::registry::{AUTH_REFRESH_TOKENS, AUTH_SESSIONS, USERS};
use crate::control_plane::store::{Rows, Tx};
use crate::domain::clock;
use crate::domain::secret::Secret;

/// What a client needs to be somebody.
#[derive(Debug)]
pub struct Tokens {
    /// JWT for every request.
    pub access_token: Secret,
    /// Single-use token for the next pair.
    pub refresh_token: Secret,
    /// Life of the access token, in seconds.
    pub expires_in: i64,
    /// Its end.
    pub expires_at: Timestamp,
    /// Whose session it is, as Supabase Auth describes a user.
    pub user: Value,
}

/// Whose session is made.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The user, a row of `users`.
    pub user_id: &'a str,
    /// The paired gateway.
    pub gateway_id: &'a str,
    /// Its team.
    pub team_id: &'a str,
}

/// Why there is no new session.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Nobody was ever given this token.
    #[error("Invalid Refresh Token: Refresh Token Not Found")]
    NotFound,
    /// It was used before, and the session is over because of that.
    #[error("Invalid Refresh Token: Already Used")]
    AlreadyUsed,
    /// The session was ended.
    #[error("Session not found")]
    SessionGone,
    /// The operating system failed us.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The store failed us.
    #[error(transparent)]
    Store(#[from] Problem),
}

/// A stored refresh token.
struct Stored {
    id: String,
    hash: String,
    session_id: String,
    revoked: bool,
    revoked_at: Option<Timestamp>,
}

impl Stored {
    fn read(row: &Value) -> Option<Self> {
        Some(Self {
            id: text(row, "id")?,
            hash: text(row, "token_hash")?,
            session_id: text(row, "session_id")?,
            revoked: row.get("revoked") == Some(&Value::Bool(true)),
            revoked_at: text(row, "updated_at").and_then(|at| at.parse().ok()),
        })
    }
}

impl Auth {
    /// Starts a session inside a unit of work.
    ///
    /// # Errors
    /// [`RefreshError::Random`], [`RefreshError::Store`].
    pub async fn start_session(&self, tx: &mut Tx, owner: Owner<'_>) -> Result<Tokens, RefreshError> {
        let row = json!({"user_id": owner.user_id, "team_id": owner.team_id, "gateway_id": owner.gateway_id});
        let session = tx.insert_row(&AUTH_SESSIONS, &row).await?;
        let session_id = text(&session, "id").unwrap_or_default();
        let token = keys::random_token("")?;
        let row = json!({"session_id": session_id, "token_hash": keys::stored_form(token.expose())});
        tx.insert_row(&AUTH_REFRESH_TOKENS, &row).await?;
        Ok(self.tokens(owner, &session_id, token))
    }

    /// Trades a refresh token for the next pair of tokens.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn refresh(&self, presented: &str) -> Result<Tokens, RefreshError> {
        let mut tx = self.store().begin().await?;
        let hash = keys::stored_form(presented);
        let Some(mut stored) = find_token(&mut tx, &hash).await? else {
            return Err(RefreshError::NotFound);
        };
        let session = Rows::of(&AUTH_SESSIONS)
            .eq("id", &stored.session_id)
            .is_null("revoked_at");
        let session = tx.select_rows(&session).await?.pop().ok_or(RefreshError::SessionGone)?;
        if !stored.revoked && !revoke_if_active(&mut tx, &stored.id).await? {
            // Another node was quicker: judge the token as the revoked one it is now.
            stored.revoked = true;
            stored.revoked_at = Some(clock::now());
        } else if !stored.revoked {
            let next = self.child(&mut tx, presented, &stored).await?;
            return self.finish(tx, &session, next).await;
        }
        match active_child(&mut tx, &stored).await? {
            Some(salt) => {
                let same = keys::successor(self.0.secret.as_bytes(), presented, &salt);
                self.finish(tx, &session, same).await
            }
            None if self.within_reuse(&stored) => {
                let next = self.child(&mut tx, presented, &stored).await?;
                self.finish(tx, &session, next).await
            }
            None => {
                end_session(&mut tx, &stored.session_id).await?;
                tx.commit().await?;
                self.forget(&stored.session_id);
                Err(RefreshError::AlreadyUsed)
            }
        }
    }

    /// Ends one session.
    ///
    /// # Errors
    /// What the store says.
    pub async fn end_session(&self, session_id: &str) -> Result<(), Problem> {
        let mut tx = self.store().begin().await?;
        end_session(&mut tx, session_id).await?;
        tx.commit().await?;
        self.forget(session_id);
        Ok(())
    }

    /// Ends every session of a gateway, inside a unit of work, and says which they were.
    ///
    /// # Errors
    /// What the store says.
    pub async fn end_sessions_of(tx: &mut Tx, gateway_id: &str) -> Result<Vec<String>, Problem> {
        let sessions = Rows::of(&AUTH_SESSIONS)
            .eq("gateway_id", gateway_id)
            .is_null("revoked_at");
        let sessions = tx.select_rows(&sessions).await?;
        let ids: Vec<String> = sessions.iter().filter_map(|row| text(row, "id")).collect();
        for id in &ids {
            end_session(tx, id).await?;
        }
        Ok(ids)
    }

    /// Makes the end of sessions known to this process at once, after the commit.
    pub fn forget_sessions(&self, ids: &[String]) {
        for id in ids {
            self.forget(id);
        }
    }

    /// The user a session belongs to, as Supabase Auth describes it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn user(&self, user_id: &str) -> Result<Option<Value>, Problem> {
        Ok(self
            .store()
            .select_rows(&Rows::of(&USERS).eq("id", user_id))
            .await?
            .pop())
    }

    async fn child(&self, tx: &mut Tx, parent: &str, stored: &Stored) -> Result<Secret, RefreshError> {
        // The random row id doubles as the salt from which the parent can derive the child again.
        let id = Uuid::new_v4().hyphenated().to_string();
        let token = keys::successor(self.0.secret.as_bytes(), parent, &id);
        let row = json!({
            "id": id,
            "session_id": stored.session_id,
            "token_hash": keys::stored_form(token.expose()),
            "parent_hash": stored.hash,
        });
        tx.insert_row(&AUTH_REFRESH_TOKENS, &row).await?;
        let session = Rows::of(&AUTH_SESSIONS).eq("id", &stored.session_id);
        tx.update_rows(&session, &json!({"refreshed_at": stored_time(clock::now())}))
            .await?;
        Ok(token)
    }

    async fn finish(&self, tx: Tx, session: &Value, token: Secret) -> Result<Tokens, RefreshError> {
        tx.commit().await?;
        let field = |name| text(session, name).unwrap_or_default();
        let (user_id, gateway_id, team_id) = (field("user_id"), field("gateway_id"), field("team_id"));
        let owner = Owner {
            user_id: &user_id,
            gateway_id: &gateway_id,
            team_id: &team_id,
        };
        Ok(self.tokens(owner, &field("id"), token))
    }

    fn within_reuse(&self, stored: &Stored) -> bool {
        let interval = self.lives().reuse_seconds;
        stored
            .revoked_at
            .is_some_and(|at| clock::now().as_second() - at.as_second() < interval)
    }

    fn tokens(&self, owner: Owner<'_>, session_id: &str, refresh_token: Secret) -> Tokens {
        let (issued, life) = (clock::now().as_second(), self.lives().access_seconds);
        let claims = AccessClaims {
            sub: owner.user_id.to_owned(),
            aud: "authenticated".to_owned(),
            role: "authenticated".to_owned(),
            exp: issued.saturating_add(life),
            iat: issued,
            session_id: session_id.to_owned(),
            aal: "aal1".to_owned(),
            amr: json!([{"method": "pairing_code", "timestamp": issued}]),
            is_anonymous: false,
            email: String::new(),
            phone: String::new(),
            app_metadata: AppMetadata {
                role: "gateway".to_owned(),
                gateway_id: owner.gateway_id.to_owned(),
                team_id: owner.team_id.to_owned(),
            },
            user_metadata: json!({}),
        };
        Tokens {
            access_token: Secret::new(self.0.jwt.sign(&claims)),
            refresh_token,
            expires_in: life,
            expires_at: Timestamp::from_second(claims.exp).unwrap_or(Timestamp::MAX),
            user: describe_user(owner.user_id, &json!(claims.app_metadata), None),
        }
    }
}

/// A user object of Supabase Auth.
#[must_use]
pub fn describe_user(id: &str, app_metadata: &Value, row: Option<&Value>) -> Value {
    let created = row.and_then(|row| text(row, "created_at"));
    let created = created.unwrap_or_else(|| stored_time(clock::now()));
    json!({
        "id": id,
        "aud": "authenticated",
        "role": "authenticated",
        "email": row.and_then(|row| text(row, "email")).unwrap_or_default(),
        "phone": "",
        "app_metadata": app_metadata,
        "user_metadata": {},
        "identities": [],
        "created_at": created,
        "updated_at": row.and_then(|row| text(row, "updated_at")).unwrap_or_else(|| created.clone()),
        "is_anonymous": false,
    })
}

async fn find_token(tx: &mut Tx, hash: &str) -> Result<Option<Stored>, Problem> {
    let found = tx
        .select_rows(&Rows::of(&AUTH_REFRESH_TOKENS).eq("token_hash", hash))
        .await?;
    Ok(found.first().and_then(Stored::read))
}

/// Revokes a token unless that was done already, and says whether it was us.
async fn revoke_if_active(tx: &mut Tx, id: &str) -> Result<bool, Problem> {
    let active = Rows::of(&AUTH_REFRESH_TOKENS).eq("id", id).eq("revoked", "false");
    Ok(!tx.update_rows(&active, &json!({"revoked": true})).await?.is_empty())
}

/// The salt of the active token, when the given one is its parent.
async fn active_child(tx: &mut Tx, stored: &Stored) -> Result<Option<String>, Problem> {
    let active = Rows::of(&AUTH_REFRESH_TOKENS)
        .eq("session_id", &stored.session_id)
        .eq("parent_hash", &stored.hash)
        .eq("revoked", "false");
    let children = tx.select_rows(&active).await?;
    Ok(children.first().and_then(|row| text(row, "id")))
}

async fn end_session(tx: &mut Tx, session_id: &str) -> Result<(), Problem> {
    let session = Rows::of(&AUTH_SESSIONS).eq("id", session_id).is_null("revoked_at");
    tx.update_rows(&session, &json!({"revoked_at": stored_time(clock::now())}))
        .await?;
    let tokens = Rows::of(&AUTH_REFRESH_TOKENS)
        .eq("session_id", session_id)
        .eq("revoked", "false");
    tx.update_rows(&tokens, &json!({"revoked": true})).await?;
    Ok(())
}
