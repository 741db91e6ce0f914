//! Turns of agents, as an operator asks for them and watches them.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Cancel, Cancelled, NewJob, Operator};
use crate::backend::realtime::Binding;
use crate::backend::{BackendError, Realtime};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;

/// Events of one answer: each may have 200,000 characters.
const PAGE: u32 = 40;

/// What the control plane wrote for a turn.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StartedRun {
    pub(crate) subagent_id: String,
    pub(crate) run_id: String,
    pub(crate) run_sequence: i64,
    pub(crate) job_id: String,
}

impl Operator {
    /// Writes subagent, run and job at once.
    pub(crate) async fn start_run(&self, asked: &Value) -> Result<StartedRun, CliError> {
        let functions = self.client.functions();
        let started = functions.invoke("start-gateway-subagent-run", asked).await;
        started.map_err(|error| match error.status() {
            Some(404) if error.code() == Some("NOT_FOUND") => {
                CliError::failed("This control plane starts no runs for operators.").hint("gateway up")
            }
            Some(400 | 404 | 409) => CliError::failed("The run was not accepted.").detail(error.to_string()),
            Some(_) | None => self.explain(&error),
        })
    }

    /// Takes a turn back that no gateway took; whether it was so still.
    pub(crate) async fn withdraw_run(&self, job_id: &str, reason: &str) -> Result<bool, CliError> {
        let withdrawn = self.try_withdraw(job_id, reason).await;
        withdrawn.map_err(|error| self.explain(&error))
    }

    async fn try_withdraw(&self, job_id: &str, reason: &str) -> Result<bool, BackendError> {
        let asked = json!({"job_id": job_id, "reason": reason});
        let functions = self.client.functions();
        let answer: Value = functions.invoke("withdraw-gateway-subagent-run", &asked).await?;
        Ok(answer.get("withdrawn") == Some(&Value::Bool(true)))
    }

    /// Ends a turn that is not final, in the way that its state asks for.
    pub(super) async fn cancel_turn(
        &self,
        id: &str,
        job: &Value,
        when: Cancel,
        why: &str,
    ) -> Result<Option<Cancelled>, CliError> {
        match self.try_withdraw(id, why).await {
            Ok(true) => return Ok(Some(Cancelled::Ended(json!({"id": id, "status": "cancelled"})))),
            Ok(false) => {}
            // A control plane that takes no turns back: the gateway ends it when it comes to it.
            Err(error) if error.status() == Some(404) => {}
            Err(error) => return Err(self.explain(&error)),
        }
        if when == Cancel::Queued {
            return Ok(None);
        }
        let word = |name: &str| job.get(name).and_then(Value::as_str).unwrap_or_default();
        let named = |snake: &str, camel: &str| {
            let payload = job.get("payload")?;
            payload.get(snake).or_else(|| payload.get(camel)).cloned()
        };
        let payload = json!({
            "subagent_id": named("subagent_id", "subagentId"), "run_id": named("run_id", "runId"), "reason": why,
        });
        self.ask_to_cancel(word("gateway_id"), &payload).await?;
        Ok(Some(Cancelled::Asked))
    }

    /// Asks the gateway at work to end a turn.
    pub(crate) async fn cancel_run(&self, gateway: &str, run: &StartedRun, reason: &str) -> Result<Value, CliError> {
        let payload = json!({"subagent_id": run.subagent_id, "run_id": run.run_id, "reason": reason});
        self.ask_to_cancel(gateway, &payload).await
    }

    async fn ask_to_cancel(&self, gateway: &str, payload: &Value) -> Result<Value, CliError> {
        let job = NewJob {
            gateway_id: gateway.to_owned(),
            job_type: "subagent_cancel".to_owned(),
            payload: payload.as_object().cloned().unwrap_or_default(),
            idempotency_key: None,
        };
        self.insert(&job).await
    }

    /// A subagent of the team.
    pub(crate) async fn subagent(&self, id: &str) -> Result<Value, CliError> {
        let row = self.one("subagents", id).await.map_err(|error| self.explain(&error))?;
        row.ok_or_else(|| {
            CliError::with(
                Exit::USAGE,
                format!("There is no subagent {id} in this team; without --session and --resume a new one is made."),
            )
        })
    }

    /// A run, whole; null when it is gone.
    pub(crate) async fn run_row(&self, id: &str) -> Result<Value, CliError> {
        let row = self.one("subagent_runs", id).await;
        row.map(Option::unwrap_or_default).map_err(|error| self.explain(&error))
    }

    async fn one(&self, table: &str, id: &str) -> Result<Option<Value>, BackendError> {
        let query = self.client.rest().from(table).select("*");
        query.eq("id", id).eq("team_id", &self.team_id).maybe_one().await
    }

    /// The next events of a run after a number, in order, and whether there may be more.
    pub(crate) async fn run_events(&self, run: &str, after: i64) -> Result<(Vec<Value>, bool), BackendError> {
        let query = self.client.rest().from("subagent_run_events");
        let query = query.select("sequence,event_type,payload").eq("run_id", run);
        let query = query.eq("team_id", &self.team_id).gt("sequence", &after);
        let rows = query.order("sequence.asc").limit(PAGE).fetch().await?;
        let more = u32::try_from(rows.len()).is_ok_and(|found| found >= PAGE);
        Ok((rows, more))
    }

    /// Follows one job and whatever else is bound.
    pub(crate) fn follow_with(&self, job: &str, beside: Vec<Binding>) -> Realtime {
        let own = Binding {
            event: "UPDATE".to_owned(),
            table: "gateway_jobs".to_owned(),
            filter: Some(format!("id=eq.{job}")),
        };
        let bindings = std::iter::once(own).chain(beside).collect();
        Realtime::new(self.client.clone(), &format!("operator_job_{job}"), bindings)
    }
}
