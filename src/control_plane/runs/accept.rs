//! A run is accepted: numbered, written, and made the one that its subagent is busy with.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{hold, members};
use crate::control_plane::problem::Problem;
use crate::control_plane::query::ast::Op;
use crate::control_plane::registry::{SUBAGENT_RUNS, SUBAGENTS};
use crate::control_plane::store::{Rows, Tx};
use crate::domain::ids::TeamId;

/// Arguments of `accept_subagent_run`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// Whose run.
    #[serde(rename = "p_subagent_id")]
    pub subagent_id: Uuid,
    /// Id of the new run.
    #[serde(rename = "p_run_id")]
    pub run_id: Uuid,
    /// What to say to the agent.
    #[serde(rename = "p_prompt")]
    pub prompt: String,
    /// When it was said; now, if absent.
    #[serde(rename = "p_prompted_at", default)]
    pub prompted_at: Option<jiff::Timestamp>,
    /// Agent that said it.
    #[serde(rename = "p_prompted_by_agent_id", default)]
    pub prompted_by_agent_id: Option<Uuid>,
    /// Who runs it; only `gateway` can here.
    #[serde(rename = "p_runner")]
    pub runner: Runner,
    /// Gateway that runs it; the subagent's own, if absent.
    #[serde(rename = "p_gateway_id", default)]
    pub gateway_id: Option<Uuid>,
    /// Replaces the subagent's input.
    #[serde(rename = "p_input", default)]
    pub input: Map<String, Value>,
    /// The run's first metadata.
    #[serde(rename = "p_metadata", default)]
    pub metadata: Map<String, Value>,
}

/// Who executes a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// A paired gateway.
    Gateway,
}

/// Accepts a run; gives its row.
///
/// # Errors
/// P0002 for a subagent that is not the team's, 55000 for one that is busy, 23505 for a run id that was used.
pub async fn accept(tx: &mut Tx, team: &TeamId, accept: &Accept) -> Result<Value, Problem> {
    let own = Rows::of(&SUBAGENTS)
        .eq("id", &accept.subagent_id.to_string())
        .eq("team_id", team.as_str());
    let idle = own.clone().compare("status", Op::Neq, "running");
    let begun = json!({"status": "running", "started_at": null, "completed_at": null, "output": null, "error": null});
    let Some(subagent) = tx.update_rows(&idle, &begun).await?.pop() else {
        return Err(not_idle(tx, &own).await?);
    };
    let sequence = next_sequence(tx, &accept.subagent_id).await?;
    let gateway = accept.gateway_id.map(|id| Value::from(id.to_string()));
    let gateway = gateway.unwrap_or_else(|| subagent.get("gateway_id").cloned().unwrap_or_default());
    let run = json!({
        "id": accept.run_id,
        "subagent_id": accept.subagent_id,
        "team_id": team.as_str(),
        "gateway_id": gateway,
        "run_sequence": sequence,
        "status": "running",
        "prompt": accept.prompt,
        "prompted_by_agent_id": accept.prompted_by_agent_id,
        "metadata": accept.metadata,
    });
    let run = tx.insert_row(&SUBAGENT_RUNS, &run).await?;
    let busy = json!({
        "gateway_id": gateway,
        "input": input(accept, sequence),
        "metadata": metadata(&subagent, accept, sequence),
    });
    tx.update_rows(&own, &busy).await?;
    Ok(run)
}

async fn not_idle(tx: &mut Tx, own: &Rows) -> Result<Problem, Problem> {
    Ok(if tx.select_rows(own).await?.is_empty() {
        Problem::new("P0002", "the team has no such subagent")
    } else {
        Problem::new("55000", "the subagent is busy with another run").hint("wait for it, or cancel it")
    })
}

/// The number of the next run of a subagent.
async fn next_sequence(tx: &mut Tx, subagent: &Uuid) -> Result<i64, Problem> {
    let runs = Rows::of(&SUBAGENT_RUNS).eq("subagent_id", &subagent.to_string());
    let last = tx.select_rows(&runs.descending("run_sequence").limit(1)).await?;
    let last = last.first().and_then(|run| run.get("run_sequence")?.as_i64());
    Ok(last.unwrap_or(0).saturating_add(1))
}

fn input(accept: &Accept, sequence: i64) -> Map<String, Value> {
    let mut input = accept.input.clone();
    input.insert("prompt".to_owned(), Value::from(accept.prompt.as_str()));
    input.insert("run_id".to_owned(), Value::from(accept.run_id.to_string()));
    input.insert("run_sequence".to_owned(), Value::from(sequence));
    input
}

/// What an earlier run left about its cancelling must not reach this one.
fn metadata(subagent: &Value, accept: &Accept, sequence: i64) -> Map<String, Value> {
    let mut metadata = members(subagent, "metadata");
    metadata.retain(|name, _| !name.starts_with("cancel"));
    metadata.insert("current_run_id".to_owned(), Value::from(accept.run_id.to_string()));
    metadata.insert("current_run_sequence".to_owned(), Value::from(sequence));
    metadata
}

/// Keeps the subagent as it is until the transaction ends, so that two callers get two numbers one after the other.
pub(in crate::control_plane) async fn allocate(tx: &mut Tx, team: &TeamId, subagent: &Uuid) -> Result<i64, Problem> {
    let own = Rows::of(&SUBAGENTS)
        .eq("id", &subagent.to_string())
        .eq("team_id", team.as_str());
    hold(tx, &own, "running").await?;
    if tx.select_rows(&own).await?.is_empty() {
        return Err(Problem::new("P0002", "the team has no such subagent"));
    }
    next_sequence(tx, subagent).await
}
