//! Which run it is: one that the backend accepted, or one that is ours to write.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::refused::{Extra, Refused};
use super::target::{Target, ask};
use crate::backend::BackendError;
use crate::backend::runs::Notes;
use crate::domain::ids::RunId;
use crate::domain::text::trimmed;
use crate::job::handler::{Context, JobLife};

/// The payload's, else the input's, else a new one. Any UUID counts, whatever its version.
pub(super) fn run_id(asked: Option<&str>, input: &Map<String, Value>) -> Result<RunId, Refused> {
    let named = [asked, trimmed(input.get("run_id"))];
    let named = named.into_iter().flatten().find(|id| Uuid::try_parse(id).is_ok());
    let id = named.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    RunId::new(id).map_err(|error| Refused::fail(error.to_string(), Vec::new()))
}

/// Whether the turn that was asked for is the subagent's next one: where nobody accepts runs beforehand, the subagent
/// still names the one before.
///
/// # Errors
/// Nobody says.
pub(super) async fn is_next(asked: &str, current: &str, cx: &Context, life: &JobLife) -> Result<bool, BackendError> {
    let (Ok(asked), Ok(current)) = (RunId::new(asked), RunId::new(current)) else {
        return Ok(false);
    };
    let accepted = ask(life, || cx.runs.run_status(&asked)).await?;
    let before = ask(life, || cx.runs.run_status(&current)).await?;
    Ok(accepted.is_none() && before.as_deref() != Some("running"))
}

/// An accepted run is verified; where nobody accepted one, it is ours to write.
pub(super) async fn accept(
    target: &mut Target,
    input: &Map<String, Value>,
    cx: &Context,
    life: &JobLife,
) -> Result<(), Refused> {
    let sequence = sequence(input);
    let row = match ask(life, || cx.runs.run(&target.run_id)).await {
        Ok(row) => row,
        Err(error) => {
            return Err(Refused::Fail {
                message: "Failed to load accepted subagent run".to_owned(),
                error: error.to_string(),
                extra: target.about(),
            });
        }
    };
    let Some(row) = row else {
        target.sequence = match sequence {
            Some(sequence) => sequence,
            None => number(target, cx, life).await?,
        };
        return Ok(());
    };
    let orphan = |message: &str, error: String, mut extra: Extra| {
        extra.extend(target.about());
        Refused::Orphan {
            message: message.to_owned(),
            error,
            extra,
        }
    };
    let Some(sequence) = sequence else {
        let message = "Accepted subagent run has no run sequence";
        return Err(orphan(message, message.to_owned(), Vec::new()));
    };
    let status = row.get("status").and_then(Value::as_str).unwrap_or_default();
    if status != "running" {
        return Err(orphan(
            "Accepted subagent run is no longer active",
            format!("Accepted subagent run is {status}"),
            vec![("run_status", Value::from(status))],
        ));
    }
    let same_prompt = row.get("prompt").and_then(Value::as_str).map(str::trim) == Some(target.prompt.as_str());
    let same_subagent = row.get("subagent_id").and_then(Value::as_str) == Some(target.subagent_id.as_str());
    if !same_prompt || !same_subagent || row.get("run_sequence").and_then(Value::as_i64) != Some(sequence) {
        return Err(orphan(
            "Gateway job does not match its accepted subagent run",
            "Accepted subagent run identity mismatch".to_owned(),
            Vec::new(),
        ));
    }
    target.sequence = sequence;
    target.run_notes = Some(Notes::of(&row));
    Ok(())
}

/// The number of a run that the backend did not number.
pub(super) async fn number(target: &Target, cx: &Context, life: &JobLife) -> Result<i64, Refused> {
    let number = ask(life, || cx.runs.allocate_sequence(&target.subagent_id)).await;
    number.map_err(|error| Refused::fail(error.to_string(), target.about()))
}

fn sequence(input: &Map<String, Value>) -> Option<i64> {
    let named = ["run_sequence", "runSequence"].map(|key| input.get(key));
    let number = named.iter().flatten().find_map(|value| value.as_i64());
    number.or_else(|| {
        named
            .iter()
            .flatten()
            .find_map(|value| value.as_str()?.trim().parse().ok())
    })
}
