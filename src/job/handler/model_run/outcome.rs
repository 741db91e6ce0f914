//! What a job says about a model run that is over.

use serde_json::{Map, Value, json};

use crate::domain::clock::millis;
use crate::domain::job::JobOutcome;
use crate::domain::redact;
use crate::domain::run::{Answer, FailureKind, RunFailure};
use crate::job::agent::{Boundary, How, Report};
use crate::job::handler::model_run::{Asked, debug};
use crate::provider::ProviderId;
use crate::provider::cause::Cause;
use crate::provider::health::short;
use crate::provider::request::OutputForm;

/// The end of the job.
pub(super) fn of(asked: &Asked, report: Report) -> JobOutcome {
    if let How::TooMuch(boundary) = report.how {
        return too_much(asked, boundary);
    }
    if let Err(failure) = &report.answer {
        return failed(asked, failure, &report);
    }
    let mut result = answered(asked, &report);
    if let Ok(answer) = report.answer {
        result.extend(said(asked, answer));
    }
    JobOutcome::Completed { result: result.into() }
}

/// The answer itself, moved: it may be megabytes.
fn said(asked: &Asked, answer: Answer) -> [(String, Value); 2] {
    let output = match (&asked.output, answer.structured) {
        (OutputForm::Json { .. }, Some(structured)) => structured,
        (OutputForm::Text, _) | (OutputForm::Json { .. }, None) => json!({"text": answer.text.trim()}),
    };
    let raw = match &asked.output {
        OutputForm::Json { .. } if answer.raw.is_object() => answer.raw,
        OutputForm::Json { .. } | OutputForm::Text => output.clone(),
    };
    [("output".to_owned(), output), ("raw".to_owned(), raw)]
}

/// What is said about the answer.
fn answered(asked: &Asked, report: &Report) -> Map<String, Value> {
    let process = report.process.as_ref();
    let mut result = common(asked, report);
    let mut put = |name: &str, value: Value| result.insert(name.to_owned(), value);
    put("usage", json!(report.usage));
    put("model", json!(report.model));
    put("cost_usd", json!(report.cost_usd));
    put("exit_code", json!(process.and_then(|process| process.exit_code)));
    // What was too much is a failure; nothing of an answer is ever left out.
    put("stdout_truncated", json!(false));
    put(
        "stderr_truncated",
        json!(process.is_some_and(|process| process.stderr.truncated)),
    );
    result
}

fn failed(asked: &Asked, failure: &RunFailure, report: &Report) -> JobOutcome {
    let message = message(asked.provider, failure, report.how);
    let mut result = common(asked, report);
    let mut put = |name: &str, value: Value| result.insert(name.to_owned(), value);
    put("message", json!(message));
    put("error_code", json!(failure.kind.code()));
    put("hint", json!(hint(asked.provider, failure, report.how)));
    put("timed_out", json!(report.how.is_deadline()));
    if let Some(process) = &report.process {
        put("exit_code", json!(process.exit_code));
        put("signal", json!(process.signal));
        put("stdout", json!(debug::shown(&process.stdout)));
        put("stderr", json!(debug::shown(&process.stderr)));
        let summary = debug::error_summary(&process.stderr.bytes);
        put("error_summary", json!(summary.as_ref().map(redact::summary)));
    } else {
        put("exit_code", Value::Null);
        put("stdout", json!(""));
        put("stderr", json!(failure.message));
        put("error_summary", Value::Null);
    }
    JobOutcome::Failed {
        result: result.into(),
        error: message,
    }
}

/// Members of every result.
fn common(asked: &Asked, report: &Report) -> Map<String, Value> {
    let mut result = Map::new();
    let mut put = |name: &str, value: Value| result.insert(name.to_owned(), value);
    let command = report.process.as_ref().map(|process| &process.command);
    let line = command.map_or_else(
        || redact::program(&asked.command),
        |command| redact::command_line(&command.program, &command.args),
    );
    put("command", json!(line));
    put("provider", json!(asked.provider.wire()));
    put("duration_ms", json!(millis(report.duration)));
    put("timeout_ms", json!(asked.timeout_ms));
    put("timeout_clamped", json!(asked.timeout_clamped));
    put("retry_count", json!(report.retries.len()));
    result
}

fn too_much(asked: &Asked, boundary: Boundary) -> JobOutcome {
    let (limit, boundary) = (asked.output_limit, boundary.as_str());
    let message = format!("Gateway model {boundary} exceeded the {limit}-byte output limit");
    let extra = [
        ("error_code", json!("GATEWAY_MODEL_OUTPUT_LIMIT")),
        ("boundary", json!(boundary)),
        ("output_limit_bytes", json!(limit)),
    ];
    JobOutcome::failed(message, extra)
}

/// Blames the provider only where the provider is to blame.
fn message(provider: ProviderId, failure: &RunFailure, how: How) -> String {
    let details = short(&redact::text(&failure.message));
    let label = provider.label();
    let what = if how == How::NotStarted || failure.kind.concerns_provider() {
        format!("Gateway provider {label} is unhealthy. Try another provider or run \"gateway doctor\".")
    } else {
        "Gateway model run failed.".to_owned()
    };
    if details.is_empty() {
        what
    } else {
        format!("{what} Details: {details}")
    }
}

/// What a person can do about it.
fn hint(provider: ProviderId, failure: &RunFailure, how: How) -> Option<String> {
    if how == How::NotStarted {
        return Cause::of_probe(&failure.message).fix(provider);
    }
    if how.is_deadline() {
        return Some("Give the run more time with timeout_ms, or ask for less at once.".to_owned());
    }
    if failure.kind == FailureKind::Answer {
        return Some("Try again, simplify the schema, or use a stronger model.".to_owned());
    }
    Cause::of_failure(failure.kind).fix(provider)
}

/// A run that could not even be tried.
pub(super) fn absent(asked: &Asked, why: &str) -> JobOutcome {
    let failure = RunFailure::new(FailureKind::Crash, why);
    let message = message(asked.provider, &failure, How::NotStarted);
    let hint = hint(asked.provider, &failure, How::NotStarted);
    let extra = [
        ("exit_code", Value::Null),
        ("stdout", json!("")),
        ("stderr", json!(why)),
        ("command", json!(redact::program(&asked.command))),
        ("error_summary", Value::Null),
        ("error_code", json!("unavailable")),
        ("hint", json!(hint)),
        ("provider", json!(asked.provider.wire())),
    ];
    JobOutcome::failed(message, extra)
}
