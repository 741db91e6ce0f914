//! The end of a job's run, told before the job's row ends.

use serde_json::Value;

use crate::backend::runs::Closed;
use crate::backend::{BackendError, Jobs, Runs};
use crate::domain::ids::{JobId, RunId, SubagentId};
use crate::domain::job::JobOutcome;
use crate::domain::run::{RunClose, RunFinal};

const NOT_PERSISTED: &str = "Failed to persist terminal subagent run state";

/// Tells the run's end, if the job has a run; gives the job's end with what came of it.
pub(super) async fn run_first(
    runs: &Runs,
    jobs: &Jobs,
    id: &JobId,
    mut outcome: JobOutcome,
) -> Result<JobOutcome, BackendError> {
    match outcome.take_run() {
        None => Ok(outcome),
        Some(RunClose::Ended(end)) => end_run(runs, outcome, &end).await,
        Some(RunClose::Failed { error }) => {
            let row = jobs.row(id, "payload").await?;
            let (subagent, run) = named(row.as_ref());
            if let Some(subagent) = subagent {
                runs.fail(&subagent, run.as_ref(), &error).await?;
            }
            Ok(outcome)
        }
    }
}

async fn end_run(runs: &Runs, mut outcome: JobOutcome, end: &RunFinal) -> Result<JobOutcome, BackendError> {
    match runs.finalize(end).await? {
        Closed::Done { output } => {
            runs.tell_end(&end.run_id, &end.subagent_id, &end.events).await?;
            if let Some(output) = output.filter(|output| !output.is_null())
                && end.output.is_some()
            {
                outcome.result_mut().fields.insert("output".to_owned(), output);
            }
            Ok(outcome)
        }
        Closed::Refused { error } => {
            tracing::warn!(run = %end.run_id, error, NOT_PERSISTED);
            // What has no end yet must not stay running; what has one may have a successor already.
            if runs.run_status(&end.run_id).await?.as_deref() == Some("running") {
                runs.fail(&end.subagent_id, Some(&end.run_id), &error).await?;
            }
            let ids = [
                ("subagent_id", Value::from(end.subagent_id.as_str())),
                ("run_id", Value::from(end.run_id.as_str())),
            ];
            Ok(JobOutcome::failed(error, ids).saying(NOT_PERSISTED))
        }
    }
}

/// The subagent and the run that a job's payload names.
fn named(row: Option<&Value>) -> (Option<SubagentId>, Option<RunId>) {
    let text = |snake: &str, camel: &str| {
        let payload = row?.get("payload")?;
        let found = payload.get(snake).or_else(|| payload.get(camel))?;
        Some(found.as_str()?.trim().to_owned())
    };
    (
        text("subagent_id", "subagentId").and_then(|id| SubagentId::new(id).ok()),
        text("run_id", "runId").and_then(|id| RunId::new(id).ok()),
    )
}
