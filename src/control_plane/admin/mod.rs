//! What the owner of a control plane does on its host, straight in the database: no credential is needed beyond the
//! right to open it. A running server notices through the change log, and forgets revoked credentials within seconds.

mod removal;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::control_plane::auth::{AuthError, settings};
use crate::control_plane::keys::{self, NoRandomness};
use crate::control_plane::pairing::{self, NewCode, PairingError};
use crate::control_plane::problem::Problem;
use crate::control_plane::query::value::stored_time;
use crate::control_plane::registry::{OPERATOR_TOKENS, TEAM_GATEWAYS, TEAM_RESOURCES, TEAMS, USERS};
use crate::control_plane::store::{DatabaseUrl, OpenError, Rows, Store};
use crate::domain::clock;
use crate::domain::ids::TeamId;
use crate::domain::secret::Secret;
use crate::wire::heartbeat::FRESH_SECONDS;

/// Why an administrative step failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no such thing.
    #[error("there is no {kind} `{id}`")]
    Missing {
        /// What was looked for.
        kind: &'static str,
        /// Under which id.
        id: String,
    },
    /// The operating system failed us.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The store failed us.
    #[error(transparent)]
    Store(#[from] Problem),
    /// The keys cannot be read.
    #[error(transparent)]
    Keys(#[from] AuthError),
    /// A stored row is not what this program writes.
    #[error("a stored row cannot be read: {0}")]
    Row(#[from] serde_json::Error),
}

impl From<PairingError> for AdminError {
    fn from(error: PairingError) -> Self {
        match error {
            PairingError::Random(error) => Self::Random(error),
            PairingError::Store(problem) => Self::Store(problem),
            PairingError::NoCode
            | PairingError::Unknown
            | PairingError::Used
            | PairingError::Expired
            | PairingError::TooMany => Self::Store(Problem::new("XX000", error.to_string())),
        }
    }
}

/// A new operator token; the only time it is seen.
#[derive(Debug)]
pub struct NewToken {
    /// Its row, for revoking it.
    pub id: String,
    /// `gwop_...`
    pub token: Secret,
    /// Its team.
    pub team_id: TeamId,
}

/// An operator token as it is listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Row id.
    pub id: String,
    /// Its team.
    pub team_id: String,
    /// What it was called.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// When it ends, if it ends.
    pub expires_at: Option<String>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<String>,
}

/// A paired gateway as it is listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GatewayInfo {
    /// Row id.
    pub id: String,
    /// Its team.
    pub team_id: String,
    /// Label of the host.
    pub device_name: Option<String>,
    /// What it last said: `pending`, `ready`, `error`, `offline`.
    pub status: String,
    /// When it said that, by the server's clock.
    pub last_seen_at: Option<String>,
    /// When it last became ready.
    pub ready_at: Option<String>,
    /// The team's layer of machine control.
    pub full_control_enabled: bool,
    /// When it was paired.
    pub created_at: String,
    /// Its capability document.
    pub capabilities: Option<Value>,
}

impl GatewayInfo {
    /// The status a person should see: a gateway that was not heard of for 90 s is offline, whatever it said.
    #[must_use]
    pub fn effective_status(&self, now: Timestamp) -> &str {
        let seen: Option<Timestamp> = self.last_seen_at.as_deref().and_then(|at| at.parse().ok());
        let fresh = seen.is_some_and(|at| now.duration_since(at) <= SignedDuration::from_secs(FRESH_SECONDS));
        if fresh || self.status == "pending" {
            &self.status
        } else {
            "offline"
        }
    }
}

/// A resource of a team as it is listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResourceInfo {
    /// Row id; what a job's `resource_id` names.
    pub id: String,
    /// Its team.
    pub team_id: String,
    /// `remote_shell`, ...
    pub resource_type: String,
    /// `viewer` may look only.
    pub max_access_level: Option<String>,
    /// Label.
    pub display_name: Option<String>,
    /// `gateway_id`, `full_control` and whatever else.
    pub metadata: Option<Value>,
    /// When it was made.
    pub created_at: String,
}

/// The owner's hands on a control plane's database.
#[derive(Debug, Clone)]
pub struct Admin {
    store: Store,
}

impl Admin {
    /// Opens the database, creating what is missing.
    ///
    /// # Errors
    /// [`AdminError::Open`].
    pub async fn open(database: &DatabaseUrl) -> Result<Self, AdminError> {
        Ok(Self {
            store: Store::open(database).await?,
        })
    }

    /// Works on a database that is open already.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Closes the database, folding what was written into its file.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// The public key of this control plane.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn anon_key(&self) -> Result<Secret, AdminError> {
        Ok(Secret::new(settings::anon_key(&self.store).await?))
    }

    /// The team that exists from the start.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn ensure_default_team(&self) -> Result<TeamId, AdminError> {
        let fresh = Secret::new(Uuid::new_v4().hyphenated().to_string());
        let id = settings::get_or_set(&self.store, "default_team", &fresh).await?;
        let row = json!({"id": id, "name": "Default team"});
        if self
            .store
            .select_rows(&Rows::of(&TEAMS).eq("id", &id))
            .await?
            .is_empty()
        {
            match self.store.insert_row(&TEAMS, &row).await {
                Ok(_) => {}
                Err(problem) if problem.code == "23505" => {}
                Err(problem) => return Err(problem.into()),
            }
        }
        TeamId::new(id).map_err(|error| Problem::new("XX001", error.to_string()).into())
    }

    /// Makes an operator token, with a user of its own.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn create_token(
        &self,
        team: &TeamId,
        name: &str,
        life: Option<Duration>,
    ) -> Result<NewToken, AdminError> {
        let token = keys::random_token(keys::OPERATOR_PREFIX)?;
        let mut tx = self.store.begin().await?;
        let user = json!({"team_id": team, "display_name": name});
        let user = tx.insert_row(&USERS, &user).await?;
        let row = json!({
            "team_id": team,
            "user_id": user.get("id"),
            "name": name,
            "token_hash": keys::stored_form(token.expose()),
            "expires_at": life.map(end_of),
        });
        let row = tx.insert_row(&OPERATOR_TOKENS, &row).await?;
        tx.commit().await?;
        let info: TokenInfo = serde_json::from_value(row)?;
        Ok(NewToken {
            id: info.id,
            token,
            team_id: team.clone(),
        })
    }

    /// Every operator token, newest first.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn list_tokens(&self) -> Result<Vec<TokenInfo>, AdminError> {
        self.list(Rows::of(&OPERATOR_TOKENS).descending("created_at")).await
    }

    /// Revokes an operator token.
    ///
    /// # Errors
    /// [`AdminError::Missing`] when there is none that is not revoked already.
    pub async fn revoke_token(&self, id: &str) -> Result<(), AdminError> {
        let row = named(&Rows::of(&OPERATOR_TOKENS), "operator token", id)?.is_null("revoked_at");
        let change = json!({"revoked_at": stored_time(clock::now())});
        self.change(&row, &change, "operator token", id).await.map(drop)
    }

    /// Makes a pairing code; `None` for the usual ten minutes.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn create_pairing_code(&self, team: &TeamId, life: Option<Duration>) -> Result<NewCode, AdminError> {
        let life = life.unwrap_or(pairing::DEFAULT_LIFE);
        Ok(pairing::create_code(&self.store, team, "control-plane", life).await?)
    }

    /// Every gateway, oldest first.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn gateways(&self) -> Result<Vec<GatewayInfo>, AdminError> {
        self.list(Rows::of(&TEAM_GATEWAYS).ascending("created_at")).await
    }

    /// One gateway.
    ///
    /// # Errors
    /// [`AdminError::Missing`], and the rest of [`AdminError`].
    pub async fn gateway(&self, id: &str) -> Result<GatewayInfo, AdminError> {
        let found = self.list(named(&Rows::of(&TEAM_GATEWAYS), "gateway", id)?).await?;
        found.into_iter().next().ok_or_else(|| missing("gateway", id))
    }

    /// Switches the team's layer of machine control for a gateway.
    ///
    /// # Errors
    /// [`AdminError::Missing`], and the rest of [`AdminError`].
    pub async fn set_full_control(&self, gateway_id: &str, enabled: bool) -> Result<GatewayInfo, AdminError> {
        let row = named(&Rows::of(&TEAM_GATEWAYS), "gateway", gateway_id)?;
        let change = json!({"full_control_enabled": enabled});
        let row = self.change(&row, &change, "gateway", gateway_id).await?;
        Ok(serde_json::from_value(row)?)
    }

    /// Makes a remote shell for a gateway.
    ///
    /// # Errors
    /// [`AdminError::Missing`], and the rest of [`AdminError`].
    pub async fn create_resource(
        &self,
        gateway_id: &str,
        access_level: &str,
        machine_control: bool,
    ) -> Result<ResourceInfo, AdminError> {
        let gateway = self.gateway(gateway_id).await?;
        let name = gateway.device_name.as_deref().unwrap_or("gateway");
        let mut row = pairing::remote_shell(&gateway.team_id, &gateway.id, name);
        if let Some(row) = row.as_object_mut() {
            row.insert("max_access_level".to_owned(), Value::from(access_level));
            let metadata = json!({"gateway_id": gateway.id, "full_control": machine_control});
            row.insert("metadata".to_owned(), metadata);
        }
        Ok(serde_json::from_value(
            self.store.insert_row(&TEAM_RESOURCES, &row).await?,
        )?)
    }

    /// Every resource, oldest first.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn resources(&self) -> Result<Vec<ResourceInfo>, AdminError> {
        self.list(Rows::of(&TEAM_RESOURCES).ascending("created_at")).await
    }

    /// Switches the resource's layer of machine control.
    ///
    /// # Errors
    /// [`AdminError::Missing`], and the rest of [`AdminError`].
    pub async fn set_machine_control(&self, id: &str, enabled: bool) -> Result<ResourceInfo, AdminError> {
        let rows = named(&Rows::of(&TEAM_RESOURCES), "resource", id)?;
        let mut tx = self.store.begin().await?;
        let row = tx.select_rows(&rows).await?.pop();
        let resource: ResourceInfo = serde_json::from_value(row.ok_or_else(|| missing("resource", id))?)?;
        let mut metadata = resource
            .metadata
            .and_then(|value| value.as_object().cloned())
            .unwrap_or_default();
        metadata.insert("full_control".to_owned(), Value::from(enabled));
        let changed = tx.update_rows(&rows, &json!({"metadata": metadata})).await?.pop();
        tx.commit().await?;
        Ok(serde_json::from_value(changed.ok_or_else(|| missing("resource", id))?)?)
    }

    /// Takes a resource away.
    ///
    /// # Errors
    /// [`AdminError::Missing`], and the rest of [`AdminError`].
    pub async fn revoke_resource(&self, id: &str) -> Result<(), AdminError> {
        let rows = named(&Rows::of(&TEAM_RESOURCES), "resource", id)?;
        match self.store.delete_rows(&rows).await? {
            0 => Err(missing("resource", id)),
            _ => Ok(()),
        }
    }

    async fn list<T: serde::de::DeserializeOwned>(&self, rows: Rows) -> Result<Vec<T>, AdminError> {
        let found = self.store.select_rows(&rows).await?;
        let read = found.into_iter().map(serde_json::from_value);
        Ok(read.collect::<Result<_, _>>()?)
    }

    async fn change(&self, rows: &Rows, change: &Value, kind: &'static str, id: &str) -> Result<Value, AdminError> {
        let changed = self.store.update_rows(rows, change).await?.pop();
        changed.ok_or_else(|| missing(kind, id))
    }
}

fn missing(kind: &'static str, id: &str) -> AdminError {
    AdminError::Missing {
        kind,
        id: id.chars().take(100).collect(),
    }
}

/// The row with that id; what is no id names nothing.
fn named(rows: &Rows, kind: &'static str, id: &str) -> Result<Rows, AdminError> {
    if Uuid::try_parse(id).is_err() {
        return Err(missing(kind, id));
    }
    Ok(rows.clone().eq("id", id))
}

fn end_of(life: Duration) -> String {
    let life = SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX);
    stored_time(clock::now().saturating_add(life).unwrap_or(Timestamp::MAX))
}
