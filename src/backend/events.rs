//! What a gateway reports about itself to whoever looks after it.

use serde::Serialize;
use serde_json::{Value, json};

use crate::backend::error::BackendError;
use crate::backend::rest::Rest;
use crate::domain::ids::{GatewayId, TeamId};
use crate::domain::text::cut;

/// Longest message of an event, in characters.
const MAX_MESSAGE_CHARS: usize = 2_000;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something works less well than it could.
    Warn,
    /// Something does not work.
    Error,
}

/// One thing worth telling.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The provider it is about, by its name on the wire.
    pub provider: Option<&'static str>,
    /// How much it matters.
    pub level: Level,
    /// What kind of thing it is.
    pub code: &'static str,
    /// The same for people; cut when it is sent.
    pub message: String,
    /// A JSON object with the facts.
    pub details: Value,
}

/// Events of one gateway; cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    rest: Rest,
    team: TeamId,
    gateway: GatewayId,
}

impl Events {
    /// Events of `gateway` in `team`.
    #[must_use]
    pub const fn new(rest: Rest, team: TeamId, gateway: GatewayId) -> Self {
        Self { rest, team, gateway }
    }

    /// Writes an event; nothing is sent in the name of nobody.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn record(&self, event: &Event) -> Result<(), BackendError> {
        let (team, gateway) = (&self.team, &self.gateway);
        if team.as_str().trim().is_empty() || gateway.as_str().trim().is_empty() {
            return Ok(());
        }
        let row = json!({
            "gateway_id": gateway,
            "team_id": team,
            "provider": event.provider,
            "level": event.level,
            "code": event.code,
            "message": cut(&event.message, MAX_MESSAGE_CHARS),
            "details": event.details,
        });
        self.rest.from("gateway_events").insert(&row).execute().await
    }
}
