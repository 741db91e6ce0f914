//! The end of a run, told until it is known. Every step may be repeated.

use serde::Deserialize;
use serde_json::{Value, json};

use super::merge::{Merge, Notes};
use super::{EVENTS, RUNS, Runs, SUBAGENTS, columns};
use crate::backend::error::BackendError;
use crate::backend::rest::Query;
use crate::domain::clock::{self, wire_time};
use crate::domain::ids::{RunId, SubagentId};
use crate::domain::run::{RunFinal, error_envelope, execution_context};

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
                error: error.unwrap_or_else(unexpected),
            }),
            Err(BackendError::Unexpected { .. }) => self.look(end).await,
            Err(error) if error.status() == Some(404) => self.finalize_by_updates(end).await,
            Err(error) => Err(error),
        }
    }

    /// Nobody understands the answer, so the row tells whether the end was taken.
    async fn look(&self, end: &RunFinal) -> Result<Closed, BackendError> {
        let status = self.run_status(&end.run_id).await?;
        if status.as_deref() == Some(end.final_status.as_str()) {
            return Ok(Closed::Done { output: None });
        }
        Ok(Closed::Refused { error: unexpected() })
    }

    async fn finalize_by_updates(&self, end: &RunFinal) -> Result<Closed, BackendError> {
        let merge = |table, id, patch| Merge {
            table,
            id,
            columns: columns(json!({
                "status": end.final_status,
                "output": end.output.as_ref().or(end.failure_output.as_ref()),
                "error": end.final_error,
                "completed_at": wire_time(end.completed_at),
            })),
            patch,
        };
        let mut patch = end.metadata_patch.clone();
        if !end.stderr.is_empty() {
            patch.insert("stderr".to_owned(), Value::from(end.stderr.as_str()));
        }
        let of_run = merge(RUNS, end.run_id.as_str(), &patch);
        if !self.merge(&of_run, None, |query| self.own(query)).await? {
            let status = self.run_status(&end.run_id).await?;
            if status.as_deref() != Some(end.final_status.as_str()) {
                let error = format!("The run is {} already.", status.as_deref().unwrap_or("gone"));
                return Ok(Closed::Refused { error });
            }
        }
        let subagent = self.subagent(&end.subagent_id).await?;
        if let Some(subagent) = subagent.filter(|row| !is_told(row, end))
            && self.is_busy_with(&subagent, Some(&end.run_id)).await?
        {
            let of_subagent = merge(SUBAGENTS, end.subagent_id.as_str(), &end.metadata_patch);
            let seen = Notes::of(&subagent);
            let _ended_otherwise = !self.merge(&of_subagent, Some(&seen), |query| self.own(query)).await?;
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
        self.append_events(run, subagent, events).await
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
        if row.get("gateway_id").and_then(Value::as_str) != Some(self.gateway.as_str()) {
            return Ok(());
        }
        let run = match run {
            Some(run) => Some(run.clone()),
            None => self.run_at_work(subagent, &row).await?,
        };
        if let Some(run) = &run {
            self.fail_row(RUNS, run.as_str(), (&row, error), |query| {
                query.eq("subagent_id", subagent)
            })
            .await?;
        }
        if self.is_busy_with(&row, run.as_ref()).await? {
            self.fail_row(SUBAGENTS, subagent.as_str(), (&row, error), |query| query)
                .await?;
        }
        match run {
            Some(run) if self.has_failed_so(&run, error).await? => {
                let payload = json!({"reason": error, "source": "gateway_job_failure"});
                let events = [("run_failed".to_owned(), payload)];
                self.tell_end(&run, subagent, &events).await
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn fail_row(
        &self,
        table: &'static str,
        id: &str,
        (subagent, error): (&Value, &str),
        narrow: impl Fn(Query) -> Query,
    ) -> Result<(), BackendError> {
        let now = wire_time(clock::now());
        let mut patch = columns(json!({
            "schema_version": 1, "runner": "gateway", "subagent_type": subagent.get("subagent_type"),
            "last_run_at": now, "gateway_error": error,
        }));
        patch.extend(execution_context());
        let failure = json!({
            "status": "failed", "error": error, "output": error_envelope(error), "completed_at": now,
        });
        let merge = Merge {
            table,
            id,
            columns: columns(failure),
            patch: &patch,
        };
        let narrow = |query| self.own(narrow(query));
        self.merge(&merge, None, narrow).await.map(|_or_it_had_ended| ())
    }

    async fn has_failed_so(&self, run: &RunId, error: &str) -> Result<bool, BackendError> {
        let row = self
            .rest
            .from(RUNS)
            .select("status,error")
            .eq("id", run)
            .maybe_one()
            .await?;
        Ok(row
            .is_some_and(|row| row.get("status") == Some(&json!("failed")) && row.get("error") == Some(&json!(error))))
    }

    /// The run that the subagent says it is busy with, if that one runs, else the newest that does.
    async fn run_at_work(&self, subagent: &SubagentId, row: &Value) -> Result<Option<RunId>, BackendError> {
        if let Some(current) = current_run(row)
            && self.run_status(&current).await?.as_deref() == Some("running")
        {
            return Ok(Some(current));
        }
        let newest = self.active_run(subagent).await?;
        Ok(newest.and_then(|run| RunId::new(run.get("id")?.as_str()?).ok()))
    }

    /// Whether the subagent runs, and runs that run as far as it says. What an earlier turn left there says nothing.
    async fn is_busy_with(&self, subagent: &Value, run: Option<&RunId>) -> Result<bool, BackendError> {
        if subagent.get("status").and_then(Value::as_str) != Some("running") {
            return Ok(false);
        }
        match (run, current_run(subagent)) {
            (Some(run), Some(current)) if *run != current => {
                Ok(self.run_status(&current).await?.as_deref() != Some("running"))
            }
            (Some(_), Some(_)) | (None, _) | (_, None) => Ok(true),
        }
    }
}

/// Whether the subagent knows of this end: it may be at its next turn already.
fn is_told(subagent: &Value, end: &RunFinal) -> bool {
    let metadata = subagent.get("metadata");
    let holds = |name: &str, value: &Value| metadata.and_then(|metadata| metadata.get(name)) == Some(value);
    !end.metadata_patch.is_empty() && end.metadata_patch.iter().all(|(name, value)| holds(name, value))
}

fn current_run(subagent: &Value) -> Option<RunId> {
    RunId::new(subagent.pointer("/metadata/current_run_id")?.as_str()?).ok()
}

fn unexpected() -> String {
    format!("Unexpected response from {FINALIZE}")
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
