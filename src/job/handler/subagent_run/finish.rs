//! How a run ended, for its row, its events and its job.

use serde_json::{Map, Value, json};

use super::config::Config;
use super::events::gap;
use super::metadata;
use super::target::Target;
use crate::domain::clock;
use crate::domain::job::{JobOutcome, JobStatus};
use crate::domain::redact;
use crate::domain::run::{Answer, RunClose, RunFailure, RunFinal, error_envelope};
use crate::domain::text::{storable, storable_members, storable_text};
use crate::job::agent::{How, Report};
use crate::job::handler::agents::unusable;
use crate::provider::ProviderId;
use crate::provider::cause::Cause;

/// Bytes of stderr that go with a run.
const STDERR: usize = 64 * 1024;

/// Who wants a run to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Somebody cancelled it.
    Cancelled(String),
    /// The daemon stops.
    Shutdown(String),
}

impl Stopped {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Cancelled(reason) | Self::Shutdown(reason) => reason,
        }
    }

    const fn source(&self) -> &'static str {
        match self {
            Self::Cancelled(_) => "gateway",
            Self::Shutdown(_) => "gateway_shutdown",
        }
    }
}

/// The end of a run that was at work. Events that are `lost` are told of with the end, which is told until it is known.
pub(super) fn of_report(target: &Target, report: &Report, lost: u64, stopped: Option<&Stopped>) -> JobOutcome {
    let at = clock::now();
    let duration = clock::millis(report.duration);
    let (status, text) = match (stopped, &report.answer) {
        (Some(stopped), _) => (JobStatus::Cancelled, Some(stopped.reason().to_owned())),
        (None, Ok(_)) => (JobStatus::Completed, None),
        (None, Err(failure)) => (
            JobStatus::Failed,
            Some(failure_text(target.provider, report.how, failure) + way_out(target, report)),
        ),
    };
    let output = match (&report.answer, status) {
        (Ok(answer), JobStatus::Completed) => {
            let plain = Config(&target.config).output_format() == "text";
            Some(envelope(answer, plain))
        }
        (Ok(_) | Err(_), _) => None,
    };
    let mut events: Vec<_> = (lost > 0).then(|| gap(lost)).into_iter().collect();
    events.extend(match (stopped, &text) {
        (Some(stopped), _) => cancelled_events(stopped, Some(duration)),
        (None, Some(reason)) => vec![event(
            "run_failed",
            json!({"reason": reason, "duration_ms": duration, "parse_error": metadata::parse_error(report)}),
        )],
        (None, None) => vec![event(
            "run_completed",
            json!({"duration_ms": duration, "parse_error": null, "retry_count": report.retries.len()}),
        )],
    });
    let end = RunFinal {
        subagent_id: target.subagent_id.clone(),
        run_id: target.run_id.clone(),
        final_status: status,
        failure_output: text.as_deref().map(error_envelope),
        output,
        final_error: text.clone(),
        completed_at: at,
        stderr: stderr(report),
        metadata_patch: metadata::of_end(target, report, status, text.as_deref(), at),
        events,
    };
    outcome(target, end, stopped)
}

/// The end of a run that was cancelled before it began.
pub(super) fn never_begun(target: &Target, stopped: &Stopped) -> JobOutcome {
    let mut patch = metadata::of_start(target);
    patch.extend([
        ("cancel_reason".to_owned(), Value::from(stopped.reason())),
        ("cancel_support".to_owned(), Value::from("gateway")),
        ("cancel_state".to_owned(), Value::from("acknowledged")),
        ("cancellation_scope".to_owned(), Value::from("gateway")),
        ("cancelled".to_owned(), Value::from(true)),
    ]);
    let requested = json!({"reason": stopped.reason(), "source": "pending_cancel", "stage": "before_start"});
    let mut events = vec![event("cancellation_requested", requested)];
    events.extend(cancelled_events(stopped, None));
    let reason = stopped.reason();
    let end = ended_early(target, JobStatus::Cancelled, reason, patch, events);
    outcome(target, end, Some(stopped))
}

/// The end of a run that was refused before its agent started.
pub(super) fn not_started(target: &Target, message: &str) -> JobOutcome {
    let payload = json!({"reason": message, "source": "gateway", "stage": "pre_execution"});
    let events = vec![event("run_failed", payload)];
    let end = ended_early(target, JobStatus::Failed, message, metadata::of_start(target), events);
    let about = [("subagent_id", Value::from(target.subagent_id.as_str()))];
    JobOutcome::failed(message, about).closing(close(end))
}

fn ended_early(
    target: &Target,
    status: JobStatus,
    reason: &str,
    metadata_patch: Map<String, Value>,
    events: Vec<(String, Value)>,
) -> RunFinal {
    RunFinal {
        subagent_id: target.subagent_id.clone(),
        run_id: target.run_id.clone(),
        final_status: status,
        output: None,
        failure_output: Some(error_envelope(reason)),
        final_error: Some(reason.to_owned()),
        completed_at: clock::now(),
        stderr: String::new(),
        metadata_patch,
        events,
    }
}

/// What is told of the end, as every database takes it.
fn close(end: RunFinal) -> RunClose {
    RunClose::Ended(Box::new(RunFinal {
        output: end.output.map(storable),
        failure_output: end.failure_output.map(storable),
        final_error: end.final_error.map(storable_text),
        stderr: storable_text(end.stderr),
        metadata_patch: storable_members(end.metadata_patch),
        events: end
            .events
            .into_iter()
            .map(|(event_type, payload)| (event_type, storable(payload)))
            .collect(),
        ..end
    }))
}

/// A cancelled run is a job well done, unless it was the daemon's own stop that cancelled it.
fn outcome(target: &Target, end: RunFinal, stopped: Option<&Stopped>) -> JobOutcome {
    let mut fields = Map::new();
    fields.insert("subagent_id".to_owned(), Value::from(target.subagent_id.as_str()));
    fields.insert("run_id".to_owned(), Value::from(target.run_id.as_str()));
    fields.insert("status".to_owned(), Value::from(end.final_status.as_str()));
    let shown = end.output.clone().or_else(|| match end.final_status {
        JobStatus::Cancelled => end.failure_output.clone(),
        JobStatus::Failed | JobStatus::Completed | JobStatus::Queued | JobStatus::Running => None,
    });
    fields.insert("output".to_owned(), shown.unwrap_or_default());
    fields.insert("error".to_owned(), Value::from(end.final_error.clone()));
    let error = end.final_error.clone().unwrap_or_default();
    let failed = end.final_status == JobStatus::Failed;
    let close = close(end);
    match stopped {
        Some(Stopped::Shutdown(why)) => {
            fields.insert("message".to_owned(), Value::from(why.as_str()));
            fields.insert("cancelled".to_owned(), Value::from(true));
            JobOutcome::Cancelled {
                result: fields.into(),
                error: why.clone(),
            }
        }
        Some(Stopped::Cancelled(_)) | None if !failed => JobOutcome::Completed { result: fields.into() },
        Some(Stopped::Cancelled(_)) | None => JobOutcome::Failed {
            result: fields.into(),
            error,
        },
    }
    .closing(close)
}

fn cancelled_events(stopped: &Stopped, duration_ms: Option<u64>) -> Vec<(String, Value)> {
    let told = json!({"reason": stopped.reason(), "source": stopped.source(), "cancellation_scope": "gateway"});
    let mut last = told.clone();
    if let (Some(duration), Some(members)) = (duration_ms, last.as_object_mut()) {
        members.insert("duration_ms".to_owned(), Value::from(duration));
    }
    vec![event("cancellation_acknowledged", told), event("run_cancelled", last)]
}

fn event(name: &str, payload: Value) -> (String, Value) {
    (name.to_owned(), payload)
}

/// Structured answers are JSON, everything else is what people write; `plain` where text was asked for.
fn envelope(answer: &Answer, plain: bool) -> Value {
    let (content, content_type) = match &answer.structured {
        Some(structured) => (structured.clone(), "json"),
        None => (
            Value::from(answer.text.as_str()),
            if plain { "text" } else { "markdown" },
        ),
    };
    let mut envelope = json!({"schema_version": 1, "content": content, "content_type": content_type});
    let lifted = answer.structured.as_ref().unwrap_or(&answer.raw);
    let summary = ["summary", "overview"]
        .iter()
        .find_map(|key| Some(lifted.get(*key)?.as_str()?.trim().to_owned()))
        .filter(|text| !text.is_empty());
    let sources: Option<Vec<&str>> = lifted
        .get("sources")
        .and_then(Value::as_array)
        .and_then(|sources| sources.iter().map(Value::as_str).collect());
    if let Some(members) = envelope.as_object_mut() {
        members.extend(summary.map(|text| ("summary".to_owned(), Value::from(text))));
        members.extend(
            sources
                .filter(|list| !list.is_empty())
                .map(|list| ("sources".to_owned(), json!(list))),
        );
    }
    envelope
}

/// The provider's own words, with the cause and the next step where it is the provider's trouble and not the request's.
fn failure_text(provider: ProviderId, how: How, failure: &RunFailure) -> String {
    let (label, message) = (provider.label(), &failure.message);
    if how == How::NotStarted {
        return unusable(provider, message);
    }
    let cause = Cause::of_failure(failure.kind);
    match cause.fix(provider) {
        Some(fix) => format!("{label}: {}. {fix}", cause.tell(message)),
        // Some words begin with the name already.
        None if message.starts_with(label) => message.clone(),
        None => format!("{label}: {message}"),
    }
}

fn way_out(target: &Target, report: &Report) -> &'static str {
    if metadata::forgets(target, report) {
        ". The next turn begins a new session."
    } else {
        ""
    }
}

fn stderr(report: &Report) -> String {
    let process = report.process.as_ref();
    process.map_or_else(String::new, |process| end_of(&process.stderr.bytes))
}

/// The last of it. Secrets are taken out before the cut: behind it, nothing would tell the rest of one from a word.
fn end_of(said: &[u8]) -> String {
    let mut text = redact::text(&String::from_utf8_lossy(said));
    let cut = text.ceil_char_boundary(text.len().saturating_sub(STDERR));
    text.split_off(cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::run::FailureKind;

    #[test]
    fn an_answer_is_what_was_asked_for() {
        let kind = |structured: Option<Value>, plain| {
            let answer = Answer {
                text: "*hi*".to_owned(),
                structured,
                raw: Value::Null,
            };
            envelope(&answer, plain)["content_type"].take()
        };
        assert_eq!(kind(None, true), "text");
        assert_eq!(kind(None, false), "markdown");
        assert_eq!(
            kind(Some(json!({})), true),
            "json",
            "a schema asks for more than a form"
        );
    }

    #[test]
    fn the_rest_of_a_key_does_not_begin_the_end_of_stderr() {
        let key = ["sk-ant-", "api03-", &"k".repeat(40)].concat();
        let rest = "ü".repeat(STDERR / 2 - 10);
        for cut in [20, 21] {
            let said = format!("{key}{}{rest}", "\n".repeat(cut - 3));
            let shown = end_of(said.as_bytes());
            assert!(
                !shown.contains('k') && shown.ends_with(&rest),
                "{cut}: {:?}",
                shown.get(..30)
            );
            assert!(shown.len() <= STDERR);
        }
        assert_eq!(end_of(b"short"), "short");
    }

    #[test]
    fn a_failure_names_its_provider_once() {
        let text = |words: &str| {
            let failure = RunFailure::new(FailureKind::Request, words);
            failure_text(ProviderId::Codex, How::Ended, &failure)
        };
        assert_eq!(text("no such file"), "Codex: no such file");
        assert_eq!(text("Codex does not do that"), "Codex does not do that");
    }
}
