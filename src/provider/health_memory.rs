//! Health in the session file: what the daemon, `doctor` and `pair` tell each other and their next lives.

use std::collections::BTreeMap;

use crate::domain::ids::GatewayId;
use crate::provider::ProviderId;
use crate::state::session::{Session, SessionError, SessionStore};
use crate::wire::heartbeat::ProviderHealth;

/// Health by provider.
pub type Known = BTreeMap<ProviderId, ProviderHealth>;

/// What is remembered of one gateway.
#[derive(Debug, Clone)]
pub struct HealthMemory {
    store: SessionStore,
    gateway: GatewayId,
}

impl HealthMemory {
    /// In this store, as long as it is that gateway's.
    #[must_use]
    pub const fn new(store: SessionStore, gateway: GatewayId) -> Self {
        Self { store, gateway }
    }

    /// What is remembered now.
    #[must_use]
    pub fn known(&self) -> Known {
        let session = self.store.load().ok().flatten();
        let own = session.filter(|session| session.gateway_id == self.gateway);
        own.map(|session| of_session(&session)).unwrap_or_default()
    }

    /// Remembers what is said of each provider; of the others everything stays.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn keep(&self, known: &Known) -> Result<(), SessionError> {
        if self.known() == *known {
            return Ok(());
        }
        let keep = |session: &mut Session| {
            if session.gateway_id != self.gateway {
                return;
            }
            for (provider, health) in known {
                if let Ok(value) = serde_json::to_value(health) {
                    session.provider_health.insert(provider.wire().to_owned(), value);
                }
            }
        };
        self.store.update(keep).map(drop)
    }
}

/// What a session holds. Entries that are not understood are left out.
#[must_use]
pub fn of_session(session: &Session) -> Known {
    let known = ProviderId::ALL.into_iter().filter_map(|provider| {
        let stored = session.provider_health.get(provider.wire())?.clone();
        Some((provider, serde_json::from_value(stored).ok()?))
    });
    known.collect()
}
