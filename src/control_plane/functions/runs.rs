//! `start-`, `withdraw-` and `finalize-gateway-subagent-run`.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::control_plane::functions::{Call, Refusal};
use crate::control_plane::runs::{self, FinalStatus, Finalize, Finalized, Start, StartRefused, Withdraw};

pub(super) async fn start(call: &Call<'_>) -> Result<Value, Refusal> {
    let team = call.operator()?;
    let asked: Start = call.read()?;
    let started = runs::start(&call.context.store, team, &asked).await?;
    Ok(json!({
        "success": true,
        "subagent_id": started.subagent_id,
        "run_id": started.run_id,
        "run_sequence": started.run_sequence,
        "job_id": started.job_id,
    }))
}

impl From<StartRefused> for Refusal {
    fn from(refused: StartRefused) -> Self {
        let (status, code) = match &refused {
            StartRefused::Request(_) | StartRefused::Type(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            StartRefused::Prompt(_) => (StatusCode::BAD_REQUEST, "invalid_prompt"),
            StartRefused::Gateway => (StatusCode::NOT_FOUND, "gateway_not_found"),
            StartRefused::Subagent => (StatusCode::NOT_FOUND, "subagent_not_found"),
            StartRefused::Busy => (StatusCode::CONFLICT, "subagent_busy"),
            StartRefused::Store(problem) => return Self::from(problem.clone()),
        };
        Self::new(status, code, refused.to_string())
    }
}

pub(super) async fn withdraw(call: &Call<'_>) -> Result<Value, Refusal> {
    let team = call.operator()?;
    let asked: Withdraw = call.read()?;
    let withdrawn = runs::withdraw(&call.context.store, team, &asked).await?;
    Ok(json!({"success": true, "withdrawn": withdrawn}))
}

pub(super) async fn finalize(call: &Call<'_>) -> Result<Value, Refusal> {
    let (gateway, team) = call.gateway()?;
    let end: Finalize = call.read()?;
    let (needed, name) = match end.final_status {
        FinalStatus::Completed => (&end.output, "output"),
        FinalStatus::Failed | FinalStatus::Cancelled => (&end.failure_output, "failure_output"),
    };
    if needed.is_none() {
        let status = end.final_status.as_str();
        return Err(Refusal::bad(format!(
            "{name} must be given with final_status {status}."
        )));
    }
    let finalized = runs::finalize(&call.context.store, gateway, team, &end).await?;
    Ok(match finalized {
        Finalized::Done { output, status } => json!({"success": true, "output": output, "status": status}),
        Finalized::Refused { status, error } => json!({"success": false, "status": status, "error": error}),
    })
}
