//! Taking a gateway out of its team: it loses its sessions at once, what it did stays readable.

use serde_json::json;

use crate::control_plane::admin::{Admin, AdminError, missing, named};
use crate::control_plane::auth::text;
use crate::control_plane::problem::Problem;
use crate::control_plane::query::value::stored_time;
use crate::control_plane::registry::{
    AUTH_REFRESH_TOKENS, AUTH_SESSIONS, GATEWAY_EVENTS, GATEWAY_JOBS, SUBAGENT_RUN_EVENTS, SUBAGENT_RUNS, SUBAGENTS,
    TEAM_GATEWAYS, TEAM_RESOURCES, Table, USERS,
};
use crate::control_plane::store::{Rows, Tx};
use crate::domain::clock;

/// Tables whose rows survive the gateway, no longer naming it.
const HISTORY: [&Table; 4] = [&GATEWAY_JOBS, &SUBAGENTS, &SUBAGENT_RUNS, &SUBAGENT_RUN_EVENTS];

impl Admin {
    /// Removes a gateway: its unfinished jobs are cancelled, its resources and sessions are gone.
    ///
    /// # Errors
    /// [`AdminError::Missing`], and the rest of [`AdminError`].
    pub async fn remove_gateway(&self, id: &str) -> Result<(), AdminError> {
        let gateway = named(&Rows::of(&TEAM_GATEWAYS), "gateway", id)?;
        let mut tx = self.store.begin().await?;
        if tx.select_rows(&gateway).await?.is_empty() {
            return Err(missing("gateway", id));
        }
        cancel_jobs(&mut tx, id).await?;
        for table in HISTORY {
            let rows = Rows::of(table).eq("gateway_id", id);
            tx.update_rows(&rows, &json!({"gateway_id": null})).await?;
        }
        tx.delete_rows(&Rows::of(&GATEWAY_EVENTS).eq("gateway_id", id)).await?;
        delete_resources(&mut tx, id).await?;
        delete_account(&mut tx, id).await?;
        tx.delete_rows(&gateway).await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn cancel_jobs(tx: &mut Tx, gateway_id: &str) -> Result<(), Problem> {
    let open = Rows::of(&GATEWAY_JOBS)
        .eq("gateway_id", gateway_id)
        .any_of("status", &["queued", "running"]);
    let change = json!({
        "status": "cancelled",
        "error": "The gateway was removed from its team.",
        "completed_at": stored_time(clock::now()),
    });
    tx.update_rows(&open, &change).await.map(drop)
}

/// Resources name their gateway inside `metadata`, which no index knows: a team has few of them.
async fn delete_resources(tx: &mut Tx, gateway_id: &str) -> Result<(), Problem> {
    let all = tx.select_rows(&Rows::of(&TEAM_RESOURCES)).await?;
    let target = json!(gateway_id);
    for resource in all
        .iter()
        .filter(|row| row.pointer("/metadata/gateway_id") == Some(&target))
    {
        let id = text(resource, "id").unwrap_or_default();
        tx.delete_rows(&Rows::of(&TEAM_RESOURCES).eq("id", &id)).await?;
    }
    Ok(())
}

async fn delete_account(tx: &mut Tx, gateway_id: &str) -> Result<(), Problem> {
    let sessions = tx
        .select_rows(&Rows::of(&AUTH_SESSIONS).eq("gateway_id", gateway_id))
        .await?;
    for session in sessions.iter().filter_map(|row| text(row, "id")) {
        tx.delete_rows(&Rows::of(&AUTH_REFRESH_TOKENS).eq("session_id", &session))
            .await?;
    }
    tx.delete_rows(&Rows::of(&AUTH_SESSIONS).eq("gateway_id", gateway_id))
        .await?;
    tx.delete_rows(&Rows::of(&USERS).eq("gateway_id", gateway_id)).await?;
    Ok(())
}
