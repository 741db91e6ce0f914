//! An operator asks for a turn: subagent, run and job in one transaction.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::accept::{Accept, Runner, accept};
use crate::control_plane::problem::Problem;
use crate::control_plane::registry::{GATEWAY_JOBS, SUBAGENTS, TEAM_GATEWAYS};
use crate::control_plane::store::{Rows, Store, Tx};
use crate::domain::ids::TeamId;
use crate::domain::prompt::{self, PromptProblem};

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Goes on with this subagent; a new one is made if absent.
    #[serde(default)]
    pub subagent_id: Option<Uuid>,
    /// Type of a new subagent, such as `claude_code_gateway`.
    #[serde(default)]
    pub subagent_type: Option<String>,
    /// Gateway of a new subagent.
    #[serde(default)]
    pub gateway_id: Option<Uuid>,
    /// What to say to the agent.
    pub prompt: String,
    /// Configuration of a new subagent; replaces that of an existing one.
    #[serde(default)]
    pub config: Option<Map<String, Value>>,
    /// Who asks, for the job row.
    #[serde(default)]
    pub requested_via: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The subagent.
    pub subagent_id: String,
    /// The run.
    pub run_id: String,
    /// Its number.
    pub run_sequence: i64,
    /// The job.
    pub job_id: String,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum StartRefused {
    /// The request contradicts itself or lacks something.
    #[error("{0}")]
    Request(&'static str),
    /// The prompt cannot be sent.
    #[error("{0}")]
    Prompt(#[from] PromptProblem),
    /// No gateway of the team.
    #[error("your team has no such gateway")]
    Gateway,
    /// No subagent of the team.
    #[error("your team has no such subagent")]
    Subagent,
    /// Busy.
    #[error("the subagent is busy with another run; wait for it, or cancel it")]
    Busy,
    /// No gateway runs that type.
    #[error("no gateway runs subagents of type {0}")]
    Type(String),
    /// The database.
    #[error("{0}")]
    Store(Problem),
}

impl From<Problem> for StartRefused {
    fn from(problem: Problem) -> Self {
        match problem.code.as_str() {
            "P0002" => Self::Subagent,
            "55000" => Self::Busy,
            _ => Self::Store(problem),
        }
    }
}

/// Writes subagent (unless it exists), run and job.
///
/// # Errors
/// [`StartRefused`]; nothing was written then.
pub async fn start(store: &Store, team: &TeamId, start: &Start) -> Result<Started, StartRefused> {
    let mut tx = store.begin().await?;
    let subagent = match start.subagent_id {
        Some(id) => existing(&mut tx, team, id, start).await?,
        None => new(&mut tx, team, start).await?,
    };
    let accepted = Accept {
        subagent_id: subagent.id,
        run_id: Uuid::new_v4(),
        prompt: start.prompt.clone(),
        prompted_at: None,
        prompted_by_agent_id: None,
        runner: Runner::Gateway,
        gateway_id: None,
        input: Map::new(),
        metadata: Map::new(),
    };
    let run = accept(&mut tx, team, &accepted).await?;
    let job = json!({
        "team_id": team.as_str(),
        "gateway_id": subagent.gateway,
        "job_type": "subagent_run",
        "payload": {"subagent_id": subagent.id, "run_id": accepted.run_id},
        "requested_via": start.requested_via,
    });
    let job = tx.insert_row(&GATEWAY_JOBS, &job).await?;
    tx.commit().await?;
    let text = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Started {
        subagent_id: subagent.id.to_string(),
        run_id: accepted.run_id.to_string(),
        run_sequence: run.get("run_sequence").and_then(Value::as_i64).unwrap_or_default(),
        job_id: text(&job, "id"),
    })
}

struct Subagent {
    id: Uuid,
    gateway: Value,
}

async fn new(tx: &mut Tx, team: &TeamId, start: &Start) -> Result<Subagent, StartRefused> {
    let kind = start.subagent_type.as_deref();
    let kind = kind.ok_or(StartRefused::Request("subagent_type or subagent_id must be given"))?;
    let gateway = start
        .gateway_id
        .ok_or(StartRefused::Request("gateway_id must be given"))?;
    check(&start.prompt, kind)?;
    let own = Rows::of(&TEAM_GATEWAYS)
        .eq("id", &gateway.to_string())
        .eq("team_id", team.as_str());
    if tx.select_rows(&own).await?.is_empty() {
        return Err(StartRefused::Gateway);
    }
    let id = Uuid::new_v4();
    let row = json!({
        "id": id,
        "team_id": team.as_str(),
        "gateway_id": gateway,
        "subagent_type": kind,
        "status": "idle",
        "config": start.config.clone().unwrap_or_default(),
    });
    tx.insert_row(&SUBAGENTS, &row).await?;
    Ok(Subagent {
        id,
        gateway: Value::from(gateway.to_string()),
    })
}

async fn existing(tx: &mut Tx, team: &TeamId, id: Uuid, start: &Start) -> Result<Subagent, StartRefused> {
    if start.subagent_type.is_some() || start.gateway_id.is_some() {
        return Err(StartRefused::Request(
            "subagent_type and gateway_id belong to a new subagent, not to one that exists",
        ));
    }
    let own = Rows::of(&SUBAGENTS)
        .eq("id", &id.to_string())
        .eq("team_id", team.as_str());
    let row = tx.select_rows(&own).await?.pop().ok_or(StartRefused::Subagent)?;
    check(
        &start.prompt,
        row.get("subagent_type").and_then(Value::as_str).unwrap_or_default(),
    )?;
    if let Some(config) = &start.config {
        tx.update_rows(&own, &json!({"config": config})).await?;
    }
    Ok(Subagent {
        id,
        gateway: row.get("gateway_id").cloned().unwrap_or_default(),
    })
}

fn check(prompt: &str, kind: &str) -> Result<(), StartRefused> {
    let (agent, limit) = prompt::of_subagent_type(kind).ok_or_else(|| StartRefused::Type(kind.to_owned()))?;
    Ok(prompt::check(prompt, agent, limit)?)
}
