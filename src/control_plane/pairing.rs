//! Pairing codes: made by an operator on the host, traded once for a gateway's session.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::control_plane::auth::session::{Owner, RefreshError, Tokens};
use crate::control_plane::auth::{Auth, text};
use crate::control_plane::keys::{self, NoRandomness};
use crate::control_plane::problem::Problem;
use crate::control_plane::query::ast::Op;
use crate::control_plane::query::value::stored_time;
use crate::control_plane::registry::{GATEWAY_PAIRING_CODES, TEAM_GATEWAYS, TEAM_RESOURCES, USERS};
use crate::control_plane::store::{Rows, Store, Tx};
use crate::domain::clock;
use crate::domain::ids::{GatewayId, TeamId};
use crate::domain::secret::Secret;
use crate::wire::pairing::ExchangeReply;

/// How long a code counts unless somebody says otherwise.
pub const DEFAULT_LIFE: Duration = Duration::from_secs(600);
/// Most wrong codes of one address in [`WINDOW`].
const MAX_FAILURES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Most addresses watched at a time.
const MAX_ADDRESSES: usize = 10_000;
/// Longest device name, in characters.
const MAX_NAME_CHARS: usize = 200;

/// Why a code gives no session. The texts are for the person who typed it.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// No code at all.
    #[error("A pairing code is required.")]
    NoCode,
    /// No such code.
    #[error("This pairing code is not known. Check it, or ask for a new one.")]
    Unknown,
    /// It was used.
    #[error("This pairing code was already used. Ask for a new one.")]
    Used,
    /// It is too old.
    #[error("This pairing code has expired. Ask for a new one.")]
    Expired,
    /// Too many wrong ones.
    #[error("Too many wrong pairing codes. Try again in a minute.")]
    TooMany,
    /// The operating system failed us.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The store failed us.
    #[error(transparent)]
    Store(#[from] Problem),
}

impl From<RefreshError> for PairingError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Random(error) => Self::Random(error),
            RefreshError::Store(problem) => Self::Store(problem),
            RefreshError::NotFound | RefreshError::AlreadyUsed | RefreshError::SessionGone => {
                Self::Store(Problem::new("XX000", error.to_string()))
            }
        }
    }
}

/// A code for a person, and until when it counts.
#[derive(Debug)]
pub struct NewCode {
    /// `ABCD-EFGH-JKLM`
    pub code: Secret,
    /// The end of its life.
    pub expires_at: Timestamp,
}

/// Makes a code; only its hash is stored.
///
/// # Errors
/// [`PairingError::Random`], [`PairingError::Store`].
pub async fn create_code(store: &Store, team: &TeamId, by: &str, life: Duration) -> Result<NewCode, PairingError> {
    let code = keys::random_code()?;
    let life = SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX);
    let expires_at = clock::now().saturating_add(life).unwrap_or(Timestamp::MAX);
    let row = json!({
        "code": keys::stored_form(&keys::canonical_code(code.expose())),
        "team_id": team,
        "created_by": by,
        "expires_at": stored_time(expires_at),
    });
    store.insert_row(&GATEWAY_PAIRING_CODES, &row).await?;
    Ok(NewCode { code, expires_at })
}

/// The exchange of codes; knows who guessed too often.
#[derive(Debug)]
pub struct Exchange {
    store: Store,
    auth: Auth,
    failures: Failures,
}

impl Exchange {
    /// An exchange over a store.
    #[must_use]
    pub fn new(store: Store, auth: Auth) -> Self {
        Self {
            store,
            auth,
            failures: Failures::default(),
        }
    }

    /// Trades a code for a gateway with its user, session and remote shell, all or nothing.
    ///
    /// # Errors
    /// [`PairingError`].
    pub async fn trade(&self, typed: &str, device: &str, from: IpAddr) -> Result<ExchangeReply, PairingError> {
        let code = keys::canonical_code(typed);
        if code.is_empty() {
            return Err(PairingError::NoCode);
        }
        if self.failures.too_many(from) {
            return Err(PairingError::TooMany);
        }
        let hash = keys::stored_form(&code);
        let mut tx = self.store.begin().await?;
        let Some(used) = use_code(&mut tx, &hash).await? else {
            drop(tx);
            self.failures.count(from);
            return Err(self.why_not(&hash).await?);
        };
        let reply = self.welcome(&mut tx, &used, device).await?;
        tx.commit().await?;
        Ok(reply)
    }

    async fn why_not(&self, hash: &str) -> Result<PairingError, Problem> {
        let found = self
            .store
            .select_rows(&Rows::of(&GATEWAY_PAIRING_CODES).eq("code", hash))
            .await?;
        Ok(match found.first() {
            None => PairingError::Unknown,
            Some(row) if text(row, "used_at").is_some() => PairingError::Used,
            Some(_) => PairingError::Expired,
        })
    }

    async fn welcome(&self, tx: &mut Tx, code: &Value, device: &str) -> Result<ExchangeReply, PairingError> {
        let broken = |what: &str| Problem::new("XX000", format!("a new row has no {what}"));
        let team_id = text(code, "team_id").ok_or_else(|| broken("team"))?;
        let name = device_name(device);
        let row = json!({"team_id": team_id, "device_name": name, "status": "pending"});
        let gateway = tx.insert_row(&TEAM_GATEWAYS, &row).await?;
        let gateway_id = text(&gateway, "id").ok_or_else(|| broken("gateway"))?;
        let row = json!({"team_id": team_id, "gateway_id": gateway_id, "display_name": name});
        let user = tx.insert_row(&USERS, &row).await?;
        let user_id = text(&user, "id").ok_or_else(|| broken("user"))?;
        tx.insert_row(&TEAM_RESOURCES, &remote_shell(&team_id, &gateway_id, &name))
            .await?;
        let used = Rows::of(&GATEWAY_PAIRING_CODES).eq("id", &text(code, "id").unwrap_or_default());
        tx.update_rows(&used, &json!({"used_gateway_id": gateway_id})).await?;
        let owner = Owner {
            user_id: &user_id,
            gateway_id: &gateway_id,
            team_id: &team_id,
        };
        let tokens = self.auth.start_session(tx, owner).await?;
        Ok(reply(&gateway_id, &team_id, &tokens)?)
    }
}

/// A remote shell of a gateway, machine control off.
#[must_use]
pub fn remote_shell(team_id: &str, gateway_id: &str, name: &str) -> Value {
    json!({
        "team_id": team_id,
        "resource_type": "remote_shell",
        "max_access_level": "full",
        "display_name": name,
        "metadata": {"gateway_id": gateway_id, "full_control": false},
    })
}

fn reply(gateway_id: &str, team_id: &str, tokens: &Tokens) -> Result<ExchangeReply, Problem> {
    let broken = |_invalid| Problem::new("XX000", "a new row has no id");
    Ok(ExchangeReply {
        success: true,
        gateway_id: GatewayId::new(gateway_id).map_err(broken)?,
        team_id: TeamId::new(team_id).map_err(broken)?,
        access_token: tokens.access_token.expose().to_owned(),
        refresh_token: tokens.refresh_token.expose().to_owned(),
        token_type: "bearer".to_owned(),
        expires_at: clock::wire_time(tokens.expires_at),
    })
}

/// Marks a code as used if it can be used: of several exchanges at once one wins.
async fn use_code(tx: &mut Tx, hash: &str) -> Result<Option<Value>, Problem> {
    let now = stored_time(clock::now());
    let usable = Rows::of(&GATEWAY_PAIRING_CODES)
        .eq("code", hash)
        .is_null("used_at")
        .compare("expires_at", Op::Gt, &now);
    Ok(tx.update_rows(&usable, &json!({"used_at": now})).await?.pop())
}

/// A name as it is stored: trimmed, one line, never empty.
#[must_use]
pub fn device_name(given: &str) -> String {
    let name: String = given
        .trim()
        .chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_NAME_CHARS)
        .collect();
    if name.is_empty() { "gateway".to_owned() } else { name }
}

/// Wrong codes by address, in the current minute. Each node counts for itself and forgets when it restarts, and that
/// is fine: what protects a code is that it has 60 random bits, lives minutes and works once. Counting only keeps
/// guessers from costing much; a database that remembered them would cost more than they do.
#[derive(Debug, Default)]
struct Failures(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl Failures {
    fn too_many(&self, from: IpAddr) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .get(&from)
            .is_some_and(|(since, count)| since.elapsed() < WINDOW && *count >= MAX_FAILURES)
    }

    fn count(&self, from: IpAddr) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_ADDRESSES {
            counts.retain(|_, (since, _)| since.elapsed() < WINDOW);
        }
        if counts.len() >= MAX_ADDRESSES {
            return;
        }
        let entry = counts.entry(from).or_insert_with(|| (Instant::now(), 0));
        if entry.0.elapsed() >= WINDOW {
            *entry = (Instant::now(), 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_guesses_waits_a_minute() {
        let (failures, guesser, other) = (Failures::default(), [1, 2, 3, 4].into(), [1, 2, 3, 5].into());
        for _guess in 0..MAX_FAILURES {
            assert!(!failures.too_many(guesser));
            failures.count(guesser);
        }
        assert!(failures.too_many(guesser) && !failures.too_many(other));
        tokio::time::advance(WINDOW).await;
        assert!(!failures.too_many(guesser));
    }

    #[test]
    fn device_names_are_one_short_line() {
        assert_eq!(device_name("  box\n1 "), "box1");
        assert_eq!(device_name(" \t"), "gateway");
        assert_eq!(device_name(&"x".repeat(999)).len(), MAX_NAME_CHARS);
    }
}
