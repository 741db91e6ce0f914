//! A turn is taken back before any gateway took it: job, run and subagent in one transaction.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::envelope::{ContentType, Envelope};
use super::finalize::{FinalStatus, Finalize, end_run};
use crate::control_plane::problem::Problem;
use crate::control_plane::query::value::stored_time;
use crate::control_plane::registry::GATEWAY_JOBS;
use crate::control_plane::store::{Rows, Store};
use crate::domain::clock;
use crate::domain::ids::{GatewayId, TeamId};

/// What is taken back.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdraw {
    /// The job of the turn.
    pub job_id: Uuid,
    /// Why, for those who look later.
    pub reason: String,
}

/// Cancels a queued `subagent_run` job of the team with its run; whether it was queued still.
///
/// # Errors
/// Whatever the database says; nothing has changed then.
pub async fn withdraw(store: &Store, team: &TeamId, asked: &Withdraw) -> Result<bool, Problem> {
    let mut tx = store.begin().await?;
    let now = clock::now();
    let queued = Rows::of(&GATEWAY_JOBS)
        .eq("id", &asked.job_id.to_string())
        .eq("team_id", team.as_str())
        .eq("job_type", "subagent_run")
        .eq("status", "queued");
    let end = json!({"status": "cancelled", "error": asked.reason, "completed_at": stored_time(now)});
    let Some(job) = tx.update_rows(&queued, &end).await?.pop() else {
        tx.rollback().await?;
        return Ok(false);
    };
    let id = |pointer: &str| Uuid::try_parse(job.pointer(pointer)?.as_str()?).ok();
    let gateway = job.get("gateway_id").and_then(Value::as_str).unwrap_or_default();
    if let (Some(subagent_id), Some(run_id), Ok(gateway)) = (
        id("/payload/subagent_id"),
        id("/payload/run_id"),
        GatewayId::new(gateway),
    ) {
        let end = cancelled(subagent_id, run_id, now, &asked.reason);
        // A run that does not run needs no end.
        let _ended = end_run(&mut tx, &gateway, team, &end).await?;
    }
    tx.commit().await?;
    Ok(true)
}

fn cancelled(subagent_id: Uuid, run_id: Uuid, at: jiff::Timestamp, reason: &str) -> Finalize {
    Finalize {
        subagent_id,
        run_id,
        final_status: FinalStatus::Cancelled,
        output: None,
        failure_output: Some(Envelope {
            schema_version: std::num::NonZeroU32::MIN,
            content: Value::from(reason),
            content_type: ContentType::Text,
            original_content_type: None,
            exact_content_state: None,
            omission_reason: None,
            summary: None,
            sources: None,
            errors: Some(vec![reason.to_owned()]),
            overflow_artifact: None,
        }),
        final_error: Some(reason.to_owned()),
        completed_at: at,
        stderr: String::new(),
        metadata_patch: Map::new(),
    }
}
