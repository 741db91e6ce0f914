//! `subagent_cancel`: asks a run to end. The run's own end is written by whoever runs it.

use serde_json::{Map, Value, json};

use crate::backend::BackendError;
use crate::backend::runs::Notes;
use crate::domain::clock::{self, wire_time};
use crate::domain::ids::{RunId, SubagentId};
use crate::domain::job::{Job, JobOutcome};
use crate::domain::text::trimmed;
use crate::job::handler::subagent_run::ask;
use crate::job::handler::{Context, JobLife};
use crate::job::policy::cancel::{self, CancelFacts, CancelVerdict};

/// How often somebody else's change of the same metadata is read again.
const TRIES: usize = 5;

/// What is asked.
struct Request {
    subagent_id: SubagentId,
    run_id: Option<String>,
    reason: String,
}

/// The subagent as it was read last.
struct Found {
    row: Value,
    active: Option<Value>,
}

/// Serves one `subagent_cancel` job.
pub(super) async fn run(job: &Job, cx: &Context, life: &JobLife) -> JobOutcome {
    let named = |snake: &str, camel: &str| trimmed(job.payload.get(snake).or_else(|| job.payload.get(camel)));
    let Some(subagent_id) = named("subagent_id", "subagentId").and_then(|id| SubagentId::new(id).ok()) else {
        return JobOutcome::failed("Missing subagent_id in payload", []);
    };
    let request = Request {
        subagent_id,
        run_id: named("run_id", "runId").map(str::to_owned),
        reason: trimmed(job.payload.get("reason")).unwrap_or("Cancelled").to_owned(),
    };
    serve(&request, cx, life).await.unwrap_or_else(|refused| refused)
}

async fn serve(request: &Request, cx: &Context, life: &JobLife) -> Result<JobOutcome, JobOutcome> {
    for _try in 0..TRIES {
        let Some(found) = find(request, cx, life).await? else {
            return Ok(not_found(request));
        };
        if found.row.get("gateway_id").and_then(Value::as_str) != Some(cx.identity.gateway_id.as_str()) {
            return Ok(elsewhere(request));
        }
        let verdict = resolve(request, &found);
        let run = verdict.run_id.as_deref().and_then(|id| RunId::new(id).ok());
        let Some(run) = run else {
            return Ok(answered(request, &verdict, found.active.as_ref(), false));
        };
        let wish = wish(request, &run, &verdict);
        if note(request, &run, (&found, &wish), cx, life).await? {
            let active = signal(request, &run, cx, life).await;
            return Ok(answered(request, &verdict, None, active));
        }
        // The subagent changed in between: it is looked at anew, and what it is then decides.
    }
    Err(JobOutcome::failed(
        "Failed to refresh subagent status after cancel race",
        about(request),
    ))
}

async fn find(request: &Request, cx: &Context, life: &JobLife) -> Result<Option<Found>, JobOutcome> {
    let failed = |what: &'static str| move |error: BackendError| fail(request, what, &error);
    let row = ask(life, || cx.runs.subagent(&request.subagent_id));
    let row = row.await.map_err(failed("Failed to load subagent for cancellation"))?;
    let Some(row) = row else { return Ok(None) };
    let active = match row.get("status").and_then(Value::as_str) {
        Some("running") => ask(life, || cx.runs.active_run(&request.subagent_id))
            .await
            .map_err(failed("Failed to resolve active subagent run for cancellation"))?,
        Some(_) | None => None,
    };
    Ok(Some(Found { row, active }))
}

fn resolve(request: &Request, found: &Found) -> CancelVerdict {
    let word = |column: &str| found.row.get(column).and_then(Value::as_str).unwrap_or_default();
    cancel::resolve(CancelFacts {
        subagent_type: word("subagent_type"),
        status: word("status"),
        active_run: found.active.as_ref().and_then(|run| run.get("id")?.as_str()),
        requested_run: request.run_id.as_deref(),
    })
}

/// Writes the wish into both rows; false when the subagent was not running any more.
async fn note(
    request: &Request,
    run: &RunId,
    (found, wish): (&Found, &Map<String, Value>),
    cx: &Context,
    life: &JobLife,
) -> Result<bool, JobOutcome> {
    let subagent = Notes::of(&found.row);
    let noted = ask(life, || cx.runs.note_subagent(&request.subagent_id, &subagent, wish));
    let noted = noted
        .await
        .map_err(|error| fail(request, "Failed to persist subagent cancellation metadata", &error))?;
    if !noted {
        return Ok(false);
    }
    let own = found.active.as_ref().map(Notes::of).unwrap_or_default();
    let _it_may_have_ended = !ask(life, || cx.runs.note_run(run, &own, wish))
        .await
        .map_err(|error| fail(request, "Failed to persist run cancellation metadata", &error))?;
    Ok(true)
}

fn wish(request: &Request, run: &RunId, verdict: &CancelVerdict) -> Map<String, Value> {
    let wish = json!({
        "cancel_run_id": run,
        "cancel_requested_at": wire_time(clock::now()),
        "cancel_reason": request.reason,
        "cancel_state": "requested",
        "cancel_support": verdict.support.map(|support| support.by),
        "cancellation_scope": verdict.support.map(|support| support.scope),
    });
    wish.as_object().cloned().unwrap_or_default()
}

/// Ends the run here, or remembers that it has to end when it comes; tells whether it was at work.
async fn signal(request: &Request, run: &RunId, cx: &Context, life: &JobLife) -> bool {
    if cx.active.cancel(&request.subagent_id, run, &request.reason) {
        // A run at work tells it among its own events, before its end.
        return true;
    }
    let events = [requested(&request.reason, false)];
    let (runs, subagent, events) = (&cx.runs, &request.subagent_id, &events);
    let told = ask(life, move || runs.append_events(run, subagent, events));
    if let Err(error) = told.await {
        tracing::warn!(run = %run, %error, "An event about a cancel was not written");
    }
    false
}

/// The event that a run is asked to end, which is at work on this host or not.
pub(super) fn requested(reason: &str, at_work: bool) -> (String, Value) {
    let payload = json!({
        "reason": reason,
        "source": "gateway_cancel_job",
        "active_process": at_work,
        "cancel_state": "requested",
    });
    ("cancellation_requested".to_owned(), payload)
}

fn about(request: &Request) -> [(&'static str, Value); 2] {
    [
        ("subagent_id", Value::from(request.subagent_id.as_str())),
        ("run_id", Value::from(request.run_id.as_deref())),
    ]
}

fn fail(request: &Request, message: &str, error: &BackendError) -> JobOutcome {
    JobOutcome::failed(error.to_string(), about(request)).saying(message)
}

fn not_found(request: &Request) -> JobOutcome {
    completed(&json!({
        "subagent_id": request.subagent_id, "run_id": request.run_id, "cancelled_active_run": false,
        "reason": request.reason, "cancel_result": "no_active_run", "cancel_state": "none", "cancel_supported": false,
        "status": "not_found", "message": "Subagent not found; no active run to cancel.",
    }))
}

fn elsewhere(request: &Request) -> JobOutcome {
    completed(&json!({
        "subagent_id": request.subagent_id, "run_id": request.run_id, "cancelled_active_run": false,
        "reason": request.reason, "cancel_result": "no_active_run", "cancel_state": "none", "cancel_supported": false,
        "status": "running",
        "message": "Subagent is assigned to another gateway; skipping stale cancel request.",
    }))
}

fn answered(request: &Request, verdict: &CancelVerdict, active: Option<&Value>, ended: bool) -> JobOutcome {
    let mut answer = json!({
        "subagent_id": request.subagent_id,
        "run_id": verdict.run_id,
        "cancelled_active_run": ended,
        "reason": request.reason,
        "cancel_result": verdict.result,
        "cancel_state": verdict.state,
        "cancel_supported": verdict.support.is_some(),
        "status": verdict.status,
        "message": verdict.message,
    });
    if verdict.run_id.is_none()
        && let Some(members) = answer.as_object_mut()
    {
        let active = active.and_then(|run| run.get("id")).cloned();
        members.insert("active_run_id".to_owned(), active.unwrap_or_default());
    }
    completed(&answer)
}

fn completed(result: &Value) -> JobOutcome {
    let fields = result.as_object().cloned().unwrap_or_default();
    JobOutcome::Completed { result: fields.into() }
}
