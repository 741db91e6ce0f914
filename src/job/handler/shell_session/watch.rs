//! Sessions that nobody asks about: they too end when host, team or resource take their word back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::session::{Session, Why};
use super::sessions::Sessions;
use crate::backend::jobs::Jobs;
use crate::domain::ids::ResourceId;
use crate::job::handler::{Identity, InstallSwitch};
use crate::job::policy::{self, Access, Fact, GatewayFacts, Layer, Refusal, ResourceFacts};

/// Between two looks at the host's own switch, while sessions run.
const HOST_LOOK: Duration = Duration::from_secs(2);
/// Between two questions to the control plane, while sessions run.
const PLANE_LOOK: Duration = Duration::from_secs(10);

/// Looks after the sessions of a gateway.
#[derive(Debug)]
pub struct Watch {
    /// The table.
    pub sessions: Sessions,
    /// The host's own layer of machine control.
    pub host: InstallSwitch,
    /// Where team and resource say theirs.
    pub backend: Jobs,
    /// Whose sessions they are.
    pub identity: Identity,
}

impl Watch {
    /// Until dropped.
    pub async fn run(self) {
        let mut due = Instant::now();
        loop {
            sleep(HOST_LOOK).await;
            let running = self.sessions.at_work();
            if !running.is_empty() && !self.host.enabled() {
                close(&running, &Refusal::HostDisabled).await;
            } else if !running.is_empty() && due <= Instant::now() {
                self.ask(&running).await;
                due = Instant::now() + PLANE_LOOK;
            }
        }
    }

    /// What cannot be asked now is asked the next time: an outage closes nothing.
    async fn ask(&self, running: &[Arc<Session>]) {
        let gateway = self.backend.gateway_row(GatewayFacts::COLUMNS).await;
        let gateway = Fact::read(&gateway, GatewayFacts::from_row);
        let control = policy::machine_control(&gateway, true, self.backend.server_time());
        if let Some(refusal) = control.err().filter(|refusal| refusal.layer() == Layer::Team) {
            return close(running, &refusal).await;
        }
        let mut by_resource = BTreeMap::<_, Vec<_>>::new();
        for session in running {
            let sessions = by_resource.entry(&session.about.resource_id).or_default();
            sessions.push(Arc::clone(session));
        }
        for (id, sessions) in by_resource {
            if let Err(refusal) = self.resource(id, &gateway).await {
                close(&sessions, &refusal).await;
            }
        }
    }

    async fn resource(&self, id: &str, gateway: &Fact<GatewayFacts>) -> Result<(), Refusal> {
        let Ok(named) = ResourceId::new(id) else {
            return Ok(());
        };
        let resource = Fact::read(&self.backend.resource(&named).await, ResourceFacts::from_row);
        if matches!((gateway, &resource), (Fact::Unavailable, _) | (_, Fact::Unavailable)) {
            return Ok(());
        }
        let ours = (&self.identity.team_id, &self.identity.gateway_id);
        policy::remote_shell(&resource, gateway, ours, Access::Read)
    }
}

async fn close(sessions: &[Arc<Session>], refusal: &Refusal) {
    let reason = refusal.to_string();
    info!(sessions = sessions.len(), reason, "Closing shell sessions");
    let closing = sessions
        .iter()
        .map(|session| session.close(Why::Reason(reason.clone())));
    join_all(closing).await;
}
