//! Which run it is: one that the backend accepted, or one that is ours to write.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::refused::Refused;
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
    let asked = sequence(input);
    let row = ask(life, || cx.runs.run(&target.run_id)).await;
    let unread = |error| Refused::fail("Failed to load accepted subagent run", target.about()).because(&error);
    match (row.map_err(unread)?, asked) {
        (Some(row), asked) => {
            target.sequence = verified(target, &row, asked)?;
            target.run_notes = Some(Notes::of(&row));
        }
        (None, Some(asked)) => target.sequence = asked,
        (None, None) => target.sequence = number(target, cx, life).await?,
    }
    Ok(())
}

/// The number of an accepted run, which has to be the one that was asked for, and not over yet.
fn verified(target: &Target, row: &Value, asked: Option<i64>) -> Result<i64, Refused> {
    let Some(asked) = asked else {
        let message = "Accepted subagent run has no run sequence";
        return Err(Refused::orphan(message, target.about()));
    };
    let word = |column: &str| row.get(column).and_then(Value::as_str);
    let status = word("status").unwrap_or_default();
    if status != "running" {
        let extra = [vec![("run_status", Value::from(status))], target.about()].concat();
        let ended = Refused::orphan("Accepted subagent run is no longer active", extra);
        return Err(ended.because(&format!("Accepted subagent run is {status}")));
    }
    let is_same = word("prompt").map(str::trim) == Some(target.prompt.as_str())
        && word("subagent_id") == Some(target.subagent_id.as_str())
        && row.get("run_sequence").and_then(Value::as_i64) == Some(asked);
    if is_same {
        return Ok(asked);
    }
    let other = Refused::orphan("Gateway job does not match its accepted subagent run", target.about());
    Err(other.because("Accepted subagent run identity mismatch"))
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
