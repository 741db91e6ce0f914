//! A run ends: the gateway says how, run and subagent agree about it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::envelope::Envelope;
use super::{hold, members};
use crate::control_plane::problem::Problem;
use crate::control_plane::query::value::stored_time;
use crate::control_plane::registry::{SUBAGENT_RUNS, SUBAGENTS};
use crate::control_plane::store::{Rows, Store, Tx};
use crate::domain::ids::{GatewayId, TeamId};

/// Longest stderr kept whole in a run's metadata, and what is kept of a longer one; in characters.
const STDERR_WHOLE: usize = 6_000;
const STDERR_PREVIEW: usize = 2_000;

/// Request of `finalize-gateway-subagent-run`. Unknown members are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finalize {
    /// Whose run.
    pub subagent_id: Uuid,
    /// Which one.
    pub run_id: Uuid,
    /// How it ended.
    pub final_status: FinalStatus,
    /// The answer of a completed run.
    #[serde(default)]
    pub output: Option<Envelope>,
    /// What stands in for the answer of another one.
    #[serde(default)]
    pub failure_output: Option<Envelope>,
    /// Why it failed or was cancelled.
    #[serde(default)]
    pub final_error: Option<String>,
    /// When it ended.
    pub completed_at: Timestamp,
    /// What the program wrote to stderr.
    #[serde(default)]
    pub stderr: String,
    /// Merged over the metadata of run and subagent.
    #[serde(default)]
    pub metadata_patch: Map<String, Value>,
}

/// Final states of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalStatus {
    /// It has an answer.
    Completed,
    /// It has none.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl FinalStatus {
    /// The word of the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How finalising went.
#[derive(Debug, Clone, PartialEq)]
pub enum Finalized {
    /// The run is in that state now, or was by the same request before.
    Done {
        /// Stored output.
        output: Value,
        /// Stored state.
        status: String,
    },
    /// It had ended otherwise, or never was.
    Refused {
        /// Stored state, if there is such a run.
        status: Option<String>,
        /// Why.
        error: String,
    },
}

/// Ends a run of this gateway and, where the subagent is busy with it, the subagent's turn.
///
/// # Errors
/// Whatever the database says; nothing has changed then.
pub async fn finalize(store: &Store, gateway: &GatewayId, team: &TeamId, end: &Finalize) -> Result<Finalized, Problem> {
    let mut tx = store.begin().await?;
    match end_run(&mut tx, gateway, team, end).await? {
        Ok(output) => {
            tx.commit().await?;
            Ok(Finalized::Done {
                output,
                status: end.final_status.as_str().to_owned(),
            })
        }
        Err(stored) => {
            tx.rollback().await?;
            Ok(ended_before(stored, end))
        }
    }
}

/// Ends a run and its subagent's turn; gives the output that was stored, or the run's row if it does not run.
pub(super) async fn end_run(
    tx: &mut Tx,
    gateway: &GatewayId,
    team: &TeamId,
    end: &Finalize,
) -> Result<Result<Value, Option<Value>>, Problem> {
    let own = |rows: Rows, id: &Uuid| {
        rows.eq("id", &id.to_string())
            .eq("team_id", team.as_str())
            .eq("gateway_id", gateway.as_str())
    };
    let runs = own(Rows::of(&SUBAGENT_RUNS), &end.run_id).eq("subagent_id", &end.subagent_id.to_string());
    let Some(run) = hold(tx, &runs, "running").await?.pop() else {
        return Ok(Err(tx.select_rows(&runs).await?.pop()));
    };
    let output = json!(end.output.as_ref().or(end.failure_output.as_ref()));
    let mut patch = end.metadata_patch.clone();
    patch.extend(stderr_members(&end.stderr));
    tx.update_rows(&runs, &last_write(end, &output, &merged(&run, &patch)))
        .await?;
    end_turn(tx, &own(Rows::of(&SUBAGENTS), &end.subagent_id), end, &output).await?;
    Ok(Ok(output))
}

/// A request whose answer was lost comes again, and finds its own work.
fn ended_before(stored: Option<Value>, end: &Finalize) -> Finalized {
    let Some(run) = stored else {
        return Finalized::Refused {
            status: None,
            error: "This gateway has no such run.".to_owned(),
        };
    };
    let text = |name: &str| run.get(name).and_then(Value::as_str).map(str::to_owned);
    let status = text("status").unwrap_or_default();
    let same_moment = text("completed_at").and_then(|at| at.parse::<Timestamp>().ok()) == Some(end.completed_at);
    if status == end.final_status.as_str() && same_moment {
        return Finalized::Done {
            output: run.get("output").cloned().unwrap_or_default(),
            status,
        };
    }
    Finalized::Refused {
        error: format!("The run is {status} already."),
        status: Some(status),
    }
}

async fn end_turn(tx: &mut Tx, subagents: &Rows, end: &Finalize, output: &Value) -> Result<(), Problem> {
    let Some(subagent) = hold(tx, subagents, "running").await?.pop() else {
        return Ok(());
    };
    let current = subagent.pointer("/metadata/current_run_id").and_then(Value::as_str);
    if current.is_some_and(|current| current != end.run_id.to_string()) {
        return Ok(());
    }
    let write = last_write(end, output, &merged(&subagent, &end.metadata_patch));
    tx.update_rows(subagents, &write).await.map(drop)
}

fn last_write(end: &Finalize, output: &Value, metadata: &Map<String, Value>) -> Value {
    json!({
        "status": end.final_status,
        "output": output,
        "error": end.final_error,
        "completed_at": stored_time(end.completed_at),
        "metadata": metadata,
    })
}

fn merged(row: &Value, patch: &Map<String, Value>) -> Map<String, Value> {
    let mut metadata = members(row, "metadata");
    metadata.extend(patch.clone());
    metadata
}

fn stderr_members(stderr: &str) -> Map<String, Value> {
    let mut found = Map::new();
    if stderr.is_empty() {
        return found;
    }
    if stderr.chars().nth(STDERR_WHOLE).is_none() {
        found.insert("stderr".to_owned(), Value::from(stderr));
    } else {
        let preview: String = stderr.chars().take(STDERR_PREVIEW).collect();
        found.insert("stderr_preview".to_owned(), Value::from(preview));
        found.insert("stderr_bytes".to_owned(), Value::from(stderr.len()));
    }
    found
}
