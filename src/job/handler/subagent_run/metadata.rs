//! What is written down about a run, in the names of the wire.

use serde_json::{Map, Value, json};

use super::config::Config;
use super::target::{FullControl, Target};
use crate::domain::clock::{millis, wire_time};
use crate::domain::job::JobStatus;
use crate::domain::redact;
use crate::domain::run::{FailureKind, execution_context};
use crate::job::agent::{How, Report};

/// What is known of a run before it starts.
pub(super) fn of_start(target: &Target) -> Map<String, Value> {
    let (requested, effective, denied) = full_control(&target.full_control);
    let mut metadata = object(json!({
        "schema_version": 1,
        "runner": "gateway",
        "adapter_id": target.provider.wire(),
        "subagent_type": target.subagent_type,
        "run_id": target.run_id,
        "run_sequence": target.sequence,
        "cancel_state": "none",
        "full_control_requested": requested,
        "full_control_effective": effective,
        "full_control_denied_reason": denied,
    }));
    metadata.extend(execution_context());
    metadata
}

/// What run and subagent say while the turn lasts: which run it is.
pub(super) fn at_work(target: &Target) -> Map<String, Value> {
    object(json!({"current_run_id": target.run_id, "current_run_sequence": target.sequence}))
}

/// The payload of `run_started`.
pub(super) fn started_event(target: &Target) -> Value {
    let mut payload = execution_context();
    payload.extend(object(json!({
        "runner": "gateway",
        "adapter_id": target.provider.wire(),
        "subagent_type": target.subagent_type,
        "run_id": target.run_id,
        "run_sequence": target.sequence,
    })));
    Value::Object(payload)
}

/// What a run's end adds to the metadata of run and subagent.
pub(super) fn of_end(
    target: &Target,
    report: &Report,
    status: JobStatus,
    reason: Option<&str>,
    at: jiff::Timestamp,
) -> Map<String, Value> {
    let cancelled = status == JobStatus::Cancelled;
    let process = report.process.as_ref();
    let limit = Config(&target.config).limit();
    let mut patch = report.metadata.clone();
    patch.extend(of_start(target));
    patch.extend(object(json!({
        "last_run_at": wire_time(at),
        "session_id": report.session_id,
        "model": report.model,
        "usage": report.usage,
        "total_cost_usd": report.cost_usd,
        "command": command(report),
        "output_format": Config(&target.config).output_format(),
        "exit_code": process.and_then(|process| process.exit_code),
        "signal": process.and_then(|process| process.signal),
        "duration_ms": millis(report.duration),
        "timeout_ms": millis(limit.value),
        "timeout_clamped": limit.clamped,
        "timed_out": report.how.is_deadline(),
        "stdout_truncated": matches!(report.how, How::TooMuch(_)),
        "stderr_truncated": process.is_some_and(|process| process.stderr.truncated),
        "failure": report.answer.as_ref().err().map(|failure| failure.kind.code()),
        "parse_error": parse_error(report),
        "retry_count": report.retries.len(),
        "retry_reasons": report.retries.iter().map(|reason| reason.as_str()).collect::<Vec<_>>(),
        "retry_max_attempts": report.max_attempts,
        "cancel_run_id": null,
        "cancel_requested_at": null,
        "cancel_reason": reason.filter(|_| cancelled),
        "cancelled": cancelled,
        "cancel_state": if cancelled { "acknowledged" } else { "none" },
        "cancel_support": cancelled.then_some("gateway"),
        "cancellation_scope": cancelled.then_some("gateway"),
    })));
    // A turn that never came to its session must not wipe the one that the next turn goes on with.
    if forgets(target, report) {
        patch.insert("session_id".to_owned(), Value::Null);
    } else if report.session_id.is_none() || matches!(kind(report), Some(FailureKind::Session | FailureKind::NoSession))
    {
        patch.remove("session_id");
    }
    patch
}

/// Whether the next turn begins a new session because there is none to go on with. What the configuration names is
/// asked for again.
pub(super) fn forgets(target: &Target, report: &Report) -> bool {
    kind(report) == Some(FailureKind::NoSession) && Config(&target.config).resume().is_none()
}

fn kind(report: &Report) -> Option<FailureKind> {
    report.answer.as_ref().err().map(|failure| failure.kind)
}

/// What was started, without secrets; null when it never came to that.
fn command(report: &Report) -> Option<String> {
    let command = &report.process.as_ref()?.command;
    Some(redact::command_line(&command.program, &command.args))
}

/// What was wrong with an answer that did not have the form asked for.
pub(super) fn parse_error(report: &Report) -> Option<&str> {
    let failure = report.answer.as_ref().err()?;
    (failure.kind == FailureKind::Answer).then_some(failure.message.as_str())
}

fn full_control(state: &FullControl) -> (bool, bool, Option<&str>) {
    match state {
        FullControl::NotAsked => (false, false, None),
        FullControl::Granted => (true, true, None),
        FullControl::Denied(why) => (true, false, Some(why)),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}
