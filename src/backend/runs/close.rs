//! The end of a run, told until it is known. Every step may be repeated.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{EVENTS, RUNS, Runs, SUBAGENTS};
use crate::backend::error::BackendError;
use crate::domain::clock::{self, wire_time};
use crate::domain::ids::{RunId, SubagentId};
use crate::domain::run::{RunFinal, error_envelope};

const FINALIZE: &str = "finalize-gateway-subagent-run";
const LAST_EVENTS: [&str; 3] = ["run_completed", "run_failed", "run_cancelled"];

/// How the end of a run was taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Closed {
    /// It stands; the output is what was stored, if the backend changed it.
    Done {
        /// Stored output.
        output: Option<Value>,
    },
    /// The backend has another end for it.
    Refused {
        /// Its words.
        error: String,
    },
}

#[derive(Deserialize)]
struct Reply {
    success: bool,
    #[serde(default)]
    output: Option<Value>,
    #[serde(default)]
    error: Option<String>,
}

impl Runs {
    /// Ends a run by the backend's function; where there is none, by updates that a run that is not running refuses.
    ///
    /// # Errors
    /// [`BackendError`]; the call may be repeated.
    pub async fn finalize(&self, end: &RunFinal) -> Result<Closed, BackendError> {
        let reply: Result<Reply, BackendError> = self.functions.invoke(FINALIZE, &request(end)).await;
        match reply {
            Ok(Reply {
                success: true, output, ..
            }) => Ok(Closed::Done { output }),
            Ok(Reply { error, .. }) => Ok(Closed::Refused {
                error: error.unwrap_or_else(|| format!("Unexpected response from {FINALIZE}")),
            }),
            Err(error) if error.status() == Some(404) => self.finalize_by_updates(end).await,
            Err(error) => Err(error),
        }
    }

    async fn finalize_by_updates(&self, end: &RunFinal) -> Result<Closed, BackendError> {
        let run = self.run(&end.run_id).await?;
        let write = |row: Option<&Value>| {
            let mut metadata = metadata_of(row);
            metadata.extend(end.metadata_patch.clone());
            json!({
                "status": end.final_status,
                "output": end.output.as_ref().or(end.failure_output.as_ref()),
                "error": end.final_error,
                "completed_at": wire_time(end.completed_at),
                "metadata": metadata,
            })
        };
        let ended = self
            .own(self.rest.from(RUNS).update(&write(run.as_ref())))
            .eq("id", &end.run_id)
            .eq("status", "running")
            .returning("id")
            .fetch()
            .await?;
        let before = run
            .as_ref()
            .and_then(|run| run.get("status")?.as_str())
            .unwrap_or("gone");
        if ended.is_empty() && before != end.final_status.as_str() {
            let error = format!("The run is {before} already.");
            return Ok(Closed::Refused { error });
        }
        let subagent = self.subagent(&end.subagent_id).await?;
        if is_busy_with(subagent.as_ref(), Some(&end.run_id)) {
            self.own(self.rest.from(SUBAGENTS).update(&write(subagent.as_ref())))
                .eq("id", &end.subagent_id)
                .eq("status", "running")
                .execute()
                .await?;
        }
        Ok(Closed::Done { output: None })
    }

    /// Writes the events that tell of the end, once.
    ///
    /// # Errors
    /// [`BackendError`]; the call may be repeated.
    pub async fn tell_end(
        &self,
        run: &RunId,
        subagent: &SubagentId,
        events: &[(String, Value)],
    ) -> Result<(), BackendError> {
        let told = self.rest.from(EVENTS).select("id").eq("run_id", run);
        if !told.in_("event_type", LAST_EVENTS).limit(1).fetch().await?.is_empty() {
            return Ok(());
        }
        let first = self.next_event(run).await?;
        self.write_events(run, subagent, first, events).await.map(drop)
    }

    /// Fails what a failed job was to run, as far as it still runs under this gateway: the run it named, else the one
    /// its subagent is busy with.
    ///
    /// # Errors
    /// [`BackendError`]; the call may be repeated.
    pub async fn fail(&self, subagent: &SubagentId, run: Option<&RunId>, error: &str) -> Result<(), BackendError> {
        let Some(row) = self.subagent(subagent).await? else {
            return Ok(());
        };
        if row.get("gateway_id").and_then(Value::as_str) != Some(self.gateway.as_str())
            || !is_busy_with(Some(&row), run)
        {
            return Ok(());
        }
        let current = row.pointer("/metadata/current_run_id").and_then(Value::as_str);
        let active = self.active_run(subagent).await?;
        let active = active.filter(|active| {
            let id = active.get("id").and_then(Value::as_str);
            run.map_or(current.is_none() || id == current, |run| id == Some(run.as_str()))
        });
        if let Some(active) = &active {
            self.own(self.rest.from(RUNS).update(&failure(active, error)))
                .eq("id", active.get("id").and_then(Value::as_str).unwrap_or_default())
                .eq("status", "running")
                .execute()
                .await?;
        }
        self.own(self.rest.from(SUBAGENTS).update(&failure(&row, error)))
            .eq("id", subagent)
            .eq("status", "running")
            .execute()
            .await?;
        let id = active
            .as_ref()
            .and_then(|active| RunId::new(active.get("id")?.as_str()?).ok());
        match id {
            Some(id) => {
                let payload = json!({"reason": error, "source": "gateway_job_failure"});
                self.tell_end(&id, subagent, &[("run_failed".to_owned(), payload)])
                    .await
            }
            None => Ok(()),
        }
    }
}

fn request(end: &RunFinal) -> Value {
    json!({
        "subagent_id": end.subagent_id,
        "run_id": end.run_id,
        "final_status": end.final_status,
        "output": end.output,
        "failure_output": end.failure_output,
        "final_error": end.final_error,
        "completed_at": wire_time(end.completed_at),
        "stderr": end.stderr,
        "metadata_patch": end.metadata_patch,
    })
}

fn failure(row: &Value, error: &str) -> Value {
    let now = wire_time(clock::now());
    let mut metadata = metadata_of(Some(row));
    metadata.insert("schema_version".to_owned(), Value::from(1));
    metadata.insert("runner".to_owned(), Value::from("gateway"));
    metadata.insert("last_run_at".to_owned(), Value::from(now.clone()));
    metadata.insert("gateway_error".to_owned(), Value::from(error));
    json!({
        "status": "failed",
        "error": error,
        "output": error_envelope(error),
        "completed_at": now,
        "metadata": metadata,
    })
}

fn metadata_of(row: Option<&Value>) -> Map<String, Value> {
    let metadata = row.and_then(|row| row.get("metadata")?.as_object());
    metadata.cloned().unwrap_or_default()
}

/// Whether the subagent runs, and runs that run as far as it says.
fn is_busy_with(subagent: Option<&Value>, run: Option<&RunId>) -> bool {
    let Some(subagent) = subagent else { return false };
    let current = subagent.pointer("/metadata/current_run_id").and_then(Value::as_str);
    subagent.get("status").and_then(Value::as_str) == Some("running")
        && run.zip(current).is_none_or(|(run, current)| run.as_str() == current)
}
