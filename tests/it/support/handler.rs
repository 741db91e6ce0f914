//! What handlers need, for tests that call them without a daemon around.

use std::path::Path;
use std::sync::Arc;

use gateway::backend::{Client, Jobs, Runs};
use gateway::domain::ids::{GatewayId, TeamId};
use gateway::domain::outgoing::Outgoing;
use gateway::job::agent::Agents;
use gateway::job::audit::Audit;
use gateway::job::handler::active::ActiveRuns;
use gateway::job::handler::shell_session::Sessions;
use gateway::job::handler::{Context, Identity, InstallSwitch};
use gateway::process::env::ChildEnv;
use gateway::provider::Providers;
use gateway::provider::home::Homes;
use gateway::state::fs::OwnerDir;
use gateway::state::own_directories::OwnDirectories;
use gateway::state::workspaces::Workspaces;

/// Whose jobs, and with what.
pub(crate) struct Parts<'a> {
    pub(crate) client: &'a Client,
    pub(crate) ids: (&'a str, &'a str),
    pub(crate) host_enabled: bool,
    pub(crate) child_env: ChildEnv,
    pub(crate) providers: Providers,
    pub(crate) agents: Agents,
    pub(crate) state: &'a Path,
}

/// The handlers' surroundings, for team and gateway `ids`.
pub(crate) fn context(parts: Parts<'_>) -> Context {
    let (team_id, gateway_id) = (TeamId::new(parts.ids.0).unwrap(), GatewayId::new(parts.ids.1).unwrap());
    let dir = Arc::new(OwnerDir::open_or_create(&parts.state.join("state")).unwrap());
    let rest = parts.client.rest();
    let enabled = parts.host_enabled;
    Context {
        backend: Jobs::new(rest, team_id.clone(), gateway_id.clone()),
        runs: Runs::new(parts.client, team_id.clone(), gateway_id.clone()),
        identity: Identity { gateway_id, team_id },
        install_full_control: InstallSwitch::new(move || enabled),
        child_env: parts.child_env,
        providers: parts.providers,
        agents: parts.agents,
        active: ActiveRuns::default(),
        workspaces: Workspaces::new(&dir),
        directories: OwnDirectories::new(&dir),
        homes: Homes::new(&dir),
        sessions: Sessions::default(),
        outgoing: Outgoing::default(),
        audit: Audit::default(),
    }
}
