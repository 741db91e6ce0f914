//! Writes down that a turn begins: in its run's row, which may be ours to make, and in its subagent's.

use serde_json::{Value, json};

use super::accept;
use super::metadata;
use super::refused::Refused;
use super::target::{Target, ask};
use crate::backend::runs::Inserted;
use crate::domain::clock::wire_time;
use crate::job::handler::{Context, JobLife};

/// How many numbers are tried for a run that the backend did not number.
const NUMBERS: usize = 3;
const NOT_CREATED: &str = "Failed to create subagent run";

/// Writes down that the turn begins; refused when it is not the one to begin any more.
pub(super) async fn begin(target: &mut Target, cx: &Context, life: &JobLife) -> Result<(), Refused> {
    let patch = metadata::at_work(target);
    if let Some(seen) = &target.run_notes {
        let changed = "Accepted subagent run changed before gateway execution could start";
        let began = ask(life, || {
            let about = (&target.run_id, &target.subagent_id);
            cx.runs.begin_run(about.0, about.1, target.started_at, (seen, &patch))
        });
        let unsure = |error| Refused::fail(changed, target.about()).because(&error);
        if !began.await.map_err(unsure)? {
            return Err(Refused::skip(changed, target.about()));
        }
    }
    written(target, cx, life).await?;
    let patch = metadata::at_work(target);
    let began = ask(life, || {
        cx.runs
            .begin_subagent(&target.subagent_id, target.started_at, (&target.notes, &patch))
    });
    let began = began
        .await
        .map_err(|error| Refused::fail("Failed to mark subagent as running", target.about()).because(&error))?;
    if began {
        return Ok(());
    }
    let message = "Subagent status changed before gateway execution could start";
    Err(Refused::orphan(message, target.about()))
}

/// Writes the run's row, where no backend accepted one.
pub(super) async fn written(target: &mut Target, cx: &Context, life: &JobLife) -> Result<(), Refused> {
    for _number in 0..NUMBERS {
        if target.run_notes.is_some() {
            return Ok(());
        }
        let row = row(target, cx);
        match ask(life, || cx.runs.insert(&row)).await {
            Ok(Inserted::New) => return Ok(()),
            Ok(Inserted::Duplicate) if is_ours(target, cx, life).await? => return Ok(()),
            // Its number was given away; the next one is not.
            Ok(Inserted::Duplicate) => target.sequence = accept::number(target, cx, life).await?,
            // This backend accepts its runs itself, and has not accepted this one.
            Err(error) if matches!(error.status(), Some(401 | 403)) => {
                let stray = Refused::orphan("Rejected unaccepted subagent job", target.about());
                return Err(stray.because("Gateway job has no atomically accepted subagent run"));
            }
            Err(error) => return Err(Refused::fail(NOT_CREATED, target.about()).because(&error)),
        }
    }
    Err(Refused::fail(NOT_CREATED, target.about()))
}

fn row(target: &Target, cx: &Context) -> Value {
    json!({
        "id": target.run_id,
        "subagent_id": target.subagent_id,
        "team_id": cx.identity.team_id,
        "gateway_id": cx.identity.gateway_id,
        "run_sequence": target.sequence,
        "status": "running",
        "prompt": target.prompt,
        "prompted_by_agent_id": target.owner,
        "started_at": wire_time(target.started_at),
        "metadata": metadata::of_start(target),
    })
}

/// Whether the row that is in the way is the one that was to be written: its answer got lost. Refused when the subagent
/// is busy with another run.
async fn is_ours(target: &Target, cx: &Context, life: &JobLife) -> Result<bool, Refused> {
    let active = ask(life, || cx.runs.active_run(&target.subagent_id)).await;
    let message = "Failed to resolve conflicting subagent run after insert conflict";
    let active = active.map_err(|error| Refused::fail(message, target.about()).because(&error))?;
    let Some(id) = active.and_then(|row| Some(row.get("id")?.as_str()?.to_owned())) else {
        return Ok(false);
    };
    if id == target.run_id.as_str() {
        return Ok(true);
    }
    let extra = [target.about(), vec![("active_run_id", Value::from(id))]].concat();
    let busy = Refused::skip(
        "Skipped duplicate subagent job because another run is already active",
        extra,
    );
    Err(busy.because("Another subagent run is already active"))
}
