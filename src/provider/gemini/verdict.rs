//! Whether a run of Gemini CLI went well. Neither its exit code nor its status alone can say: a broken stream is an
//! `error` with exit code 0, an answer that never came a `success`.

use serde_json::Value;

use crate::domain::run::{FailureKind, RunFailure};
use crate::provider::gemini::transcript::{Found, LastLine};
use crate::provider::transcript::Ended;
use crate::provider::trouble;

/// Statuses of the model API that come back as exit codes, of which only the low byte is left.
const STATUSES: [u16; 13] = [400, 401, 403, 404, 408, 409, 413, 429, 500, 502, 503, 504, 529];

/// How it warns of an answer that repeats itself. It breaks that off and calls it a success.
const LOOP: &str = "Loop detected";

/// The answer's text.
///
/// # Errors
/// There is none, or not the whole.
pub(crate) fn text(found: &Found, facts: &Ended<'_>) -> Result<String, RunFailure> {
    let Some(status) = &found.status else {
        return Err(without_result(found, facts));
    };
    if let Some(error) = found
        .error
        .as_deref()
        .filter(|_| status != "success" || found.message.is_none())
    {
        return Err(failure(error, facts));
    }
    if status != "success" || facts.exit_code.is_some_and(|code| code != 0) {
        return Err(without_result(found, facts));
    }
    if found.lost {
        let why = "Gemini's answer, or a line of it, was too long to be kept";
        return Err(RunFailure::new(FailureKind::Answer, why));
    }
    if found.warnings.iter().any(|warning| warning.starts_with(LOOP)) {
        let why = "Gemini took its answer for a loop and stopped; it is not whole";
        return Err(RunFailure::new(FailureKind::Limit, why));
    }
    if let Some(limit) = found.error.as_deref() {
        return Err(RunFailure::new(
            trouble::kind(limit).unwrap_or(FailureKind::Limit),
            limit,
        ));
    }
    found.message.clone().ok_or_else(|| nothing_said(found))
}

/// A prompt above the model's context window ends like this, without a word about it.
fn nothing_said(found: &Found) -> RunFailure {
    let tokens = found
        .stats
        .as_ref()
        .and_then(|stats| stats.get("total_tokens"))
        .and_then(Value::as_u64);
    if tokens == Some(0) {
        let why = "Gemini ended without asking its model; the prompt is probably too long for the model";
        return RunFailure::new(FailureKind::Limit, why);
    }
    RunFailure::new(FailureKind::Answer, "Gemini ended without an answer")
}

fn failure(error: &str, facts: &Ended<'_>) -> RunFailure {
    let stderr = || String::from_utf8_lossy(facts.stderr);
    let told = trouble::kind(error)
        .or_else(|| of_exit(facts.exit_code))
        .or_else(|| trouble::kind(&stderr()));
    let message = trouble::message(error);
    let bare = message
        .strip_prefix("[API Error: ")
        .and_then(|rest| rest.rsplit_once(']'));
    let text = bare.map(|(inner, advice)| format!("{inner}{advice}"));
    RunFailure::new(told.unwrap_or(FailureKind::Crash), text.unwrap_or(message))
}

/// Without a result only stderr and the exit code tell. SIGTERM ends it with code 0.
fn without_result(found: &Found, facts: &Ended<'_>) -> RunFailure {
    if let Some(signal) = facts.signal {
        return RunFailure::new(FailureKind::Crash, format!("Gemini was ended by signal {signal}"));
    }
    if facts.exit_code == Some(0) && found.last_line == LastLine::Torn {
        // It ends without writing out what finds no room in its pipe, be it an answer or a prompt that comes back.
        let why = "Gemini ended in the middle of a line: the prompt is too long for its model, or this host too busy \
                   to read what it said in time; try again, or with a shorter prompt";
        return RunFailure::new(FailureKind::Crash, why);
    }
    let stderr = String::from_utf8_lossy(facts.stderr);
    let error = found
        .error
        .clone()
        .or_else(|| cause(&stderr))
        .filter(|_| facts.exit_code != Some(0));
    error.map_or_else(
        || RunFailure::new(FailureKind::Crash, "Gemini ended without a result"),
        |error| failure(&error, facts),
    )
}

/// Its own codes, and statuses of the model API.
fn of_exit(code: Option<i32>) -> Option<FailureKind> {
    let code = code?;
    match code {
        41 => Some(FailureKind::Authentication),
        42 | 44 | 52 | 55 => Some(FailureKind::Request),
        53 => Some(FailureKind::Limit),
        other => {
            let status = STATUSES.into_iter().find(|status| i32::from(status & 0xff) == other);
            status.map(FailureKind::of_status)
        }
    }
}

/// What stderr says about the end: the error object of JSON mode, or the last line that is no notice.
fn cause(stderr: &str) -> Option<String> {
    const NOTICES: [&str; 6] = ["Warning:", "Ripgrep", "[STARTUP]", "YOLO mode", "at ", "}"];
    if let Some(object) = stderr.rfind("\n{\n").and_then(|at| stderr.get(at..))
        && let Ok(Value::Object(object)) = serde_json::from_str(object)
        && let Some(message) = object.get("error").and_then(|error| error.get("message")?.as_str())
    {
        return Some(message.to_owned());
    }
    let notice = |line: &&str| line.is_empty() || NOTICES.iter().any(|notice| line.starts_with(notice));
    let mut lines: Vec<_> = stderr.lines().map(str::trim).filter(|line| !notice(line)).collect();
    lines.sort_by_key(|line| !line.starts_with("Error"));
    lines.first().map(|line| (*line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(exit_code: i32) -> Option<FailureKind> {
        of_exit(Some(exit_code))
    }

    #[test]
    fn an_exit_code_is_a_status_without_its_high_byte() {
        assert_eq!(kind(145), Some(FailureKind::Authentication));
        assert_eq!(kind(173), Some(FailureKind::Quota));
        assert_eq!(kind(244), Some(FailureKind::Capacity));
        assert_eq!(kind(41), Some(FailureKind::Authentication));
        assert_eq!((kind(0), kind(1), of_exit(None)), (None, None, None));
    }

    #[test]
    fn what_is_wrapped_around_a_message_is_taken_off() {
        let facts = Ended {
            exit_code: Some(173),
            signal: None,
            stderr: b"",
            output_file: None,
        };
        let wrapped = failure("[API Error: over quota]\nWait.", &facts);
        assert_eq!(wrapped, RunFailure::new(FailureKind::Quota, "over quota\nWait."));
    }

    #[test]
    fn the_cause_is_found_between_the_notices() {
        let stderr = "Warning: x\nError starting session: exists.\n  Searched.\n[STARTUP] y\n";
        assert_eq!(cause(stderr).as_deref(), Some("Error starting session: exists."));
        let json =
            "Ripgrep is gone\n{\n \"session_id\": \"s\",\n \"error\": {\"message\": \"no key\", \"code\": 41}\n}\n";
        assert_eq!(cause(json).as_deref(), Some("no key"));
        assert_eq!(cause("Warning: x\n"), None);
        assert_eq!(
            cause("Invalid auth method selected.\n").as_deref(),
            Some("Invalid auth method selected.")
        );
    }
}
