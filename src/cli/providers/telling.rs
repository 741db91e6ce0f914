//! Tells the control plane which agent CLIs of this host cannot be used.

use std::time::Duration;

use futures_util::future::join_all;

use crate::backend::{Auth, Client, Endpoint, Events, Http};
use crate::domain::needles::Needles;
use crate::domain::outgoing::Outgoing;
use crate::provider::health_memory::Known;
use crate::runtime::events::{cleaned, verdict};
use crate::state::session::Session;
use crate::wire::heartbeat::HealthStatus;

/// Nobody waits longer for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// One event per provider that is not healthy. What does not arrive is only missing there.
pub(super) async fn tell(session: &Session, context: &'static str, health: Known) {
    let endpoint = Endpoint::new(&session.supabase_url, session.anon_key.clone());
    let Ok(http) = endpoint.and_then(Http::new) else { return };
    // The stored token as it is: a daemon may be using the session, and only one process may renew it.
    let client = Client::new(http, Auth::fixed(session.access_token.clone()));
    let events = Events::new(client.rest(), session.team_id.clone(), session.gateway_id.clone());
    let outgoing = Outgoing::new(secrets(session));
    let told = health
        .iter()
        .filter(|(_, health)| health.status != HealthStatus::Healthy)
        .map(|(provider, health)| {
            let event = cleaned(verdict(*provider, health, context), &outgoing);
            let events = &events;
            async move { events.record(&event).await }
        });
    for failed in tokio::time::timeout(PATIENCE, join_all(told)).await.unwrap_or_default() {
        if let Err(error) = failed {
            tracing::debug!(%error, "Failed to record gateway event");
        }
    }
}

fn secrets(session: &Session) -> Needles {
    let needles = Needles::default();
    for token in [&session.access_token, &session.refresh_token] {
        needles.hold(token);
    }
    needles
}
