//! What kind of trouble a CLI's own words tell of. Only the words tell: these CLIs have no codes for it.

use serde_json::{Map, Value};

use crate::domain::run::FailureKind;
use crate::provider::answer;

/// Of a long text the end is looked at, where the cause stands.
const MAX_TEXT: usize = 32 * 1024;

/// Phrases in lower case; the first line that matches decides, so that what is special comes before what is general.
const PHRASES: &[(FailureKind, &[&str])] = &[
    (
        FailureKind::Answer,
        &["content_filter", "safety", "recitation", "blocked"],
    ),
    (
        FailureKind::Limit,
        &[
            "max_output_tokens",
            "max_tokens",
            "token limit",
            "session turns",
            "context window",
        ],
    ),
    (
        FailureKind::Quota,
        &[
            "quota",
            "rate limit",
            "rate_limit",
            "usage limit",
            "too many requests",
            "exhausted",
        ],
    ),
    (
        FailureKind::Model,
        &["model_not_found", "model not found", "modelnotfound"],
    ),
    (
        FailureKind::NoSession,
        &[
            "no rollout found",
            "invalid session identifier",
            "no previous sessions found",
        ],
    ),
    (
        FailureKind::Session,
        &["thread/resume", "active writer", "session id", "resuming session"],
    ),
    (
        FailureKind::Request,
        &[
            "maximum length",
            "unexpected argument",
            "unknown argument",
            "invalid value",
            "invalid_request",
        ],
    ),
    (
        FailureKind::Capacity,
        &["high demand", "overloaded", "at capacity", "unavailable"],
    ),
    (
        FailureKind::Authentication,
        &[
            "api key",
            "api_key",
            "log in",
            "login",
            "logged in",
            "unauthorized",
            "unauthenticated",
            "auth method",
        ],
    ),
    (
        FailureKind::Network,
        &[
            "disconnected",
            "connection",
            "sending request",
            "timeout",
            "timed out",
            "lookup",
            "network",
            "fetch failed",
            "terminated",
            "socket",
            "stream ended",
            "finish reason",
        ],
    ),
];

/// The kind of trouble, if the text gives it away.
pub(crate) fn kind(text: &str) -> Option<FailureKind> {
    let text = end_of(text);
    let told = body(text).and_then(|error| kind_of_body(&error));
    told.or_else(|| status(text).map(FailureKind::of_status))
        .or_else(|| phrase(text))
}

/// The message for people: that of an error body, if the text holds one, else the text.
pub(crate) fn message(text: &str) -> String {
    let inner = body(text).and_then(|error| Some(error.get("message")?.as_str()?.to_owned()));
    inner
        .filter(|inner| !inner.is_empty())
        .unwrap_or_else(|| text.trim().to_owned())
}

/// The object `error` of an API's error body inside a text.
fn body(text: &str) -> Option<Map<String, Value>> {
    match answer::object_in(text)?.remove("error")? {
        Value::Object(error) => Some(error),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

fn kind_of_body(error: &Map<String, Value>) -> Option<FailureKind> {
    let code = error.get("code").and_then(Value::as_u64);
    let status = code
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..600).contains(code));
    let named = || {
        ["code", "type", "status"]
            .into_iter()
            .find_map(|name| phrase(error.get(name)?.as_str()?))
    };
    status.map(FailureKind::of_status).or_else(named)
}

/// The HTTP status behind `status 401`, `last status: 429` or `code: 404`; the last one, where the cause stands.
pub(crate) fn status(text: &str) -> Option<u16> {
    let after = |word: &str| {
        let digits = text.rmatch_indices(word).find_map(|(at, _)| {
            let rest = text.get(at + word.len()..)?.trim_start_matches([':', ' ']);
            rest.get(..3)?.parse::<u16>().ok()
        });
        digits.filter(|status| (400..600).contains(status))
    };
    after("status").or_else(|| after("code:"))
}

fn phrase(text: &str) -> Option<FailureKind> {
    let text = text.to_lowercase();
    let matches = |(_, phrases): &&(FailureKind, &[&str])| phrases.iter().any(|phrase| text.contains(phrase));
    PHRASES.iter().find(matches).map(|(kind, _)| *kind)
}

fn end_of(text: &str) -> &str {
    let start = (text.len().saturating_sub(MAX_TEXT)..=text.len()).find_map(|at| text.get(at..));
    start.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_decides_before_words_do() {
        for (text, expected) in [
            (
                "unexpected status 401 Unauthorized: no network, url: http://127.0.0.1:1/v1",
                FailureKind::Authentication,
            ),
            (
                "exceeded retry limit, last status: 429 Too Many Requests",
                FailureKind::Quota,
            ),
            ("unexpected status 503 Service Unavailable: x", FailureKind::Capacity),
            ("ModelNotFoundError: gone\n  code: 404\n}", FailureKind::Model),
            (
                r#"[API Error: {"error":{"code":403,"message":"m","status":"X"}}]"#,
                FailureKind::Authentication,
            ),
            (
                r#"{"error":{"message":"m","type":"invalid_request_error","code":null}}"#,
                FailureKind::Request,
            ),
            (
                r#"{"error":{"message":"m","code":"insufficient_quota"}}"#,
                FailureKind::Quota,
            ),
        ] {
            assert_eq!(kind(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn words_decide_where_there_is_no_status() {
        for (text, expected) in [
            (
                "stream disconnected before completion: idle timeout",
                Some(FailureKind::Network),
            ),
            (
                "stream disconnected: Incomplete response, reason: content_filter",
                Some(FailureKind::Answer),
            ),
            (
                "Incomplete response returned, reason: max_output_tokens",
                Some(FailureKind::Limit),
            ),
            ("We’re currently experiencing high demand", Some(FailureKind::Capacity)),
            (
                "Missing environment variable: `A_API_KEY`.",
                Some(FailureKind::Authentication),
            ),
            (
                "exception TypeError: fetch failed sending request",
                Some(FailureKind::Network),
            ),
            ("statusquo 12", None),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn people_read_the_message_of_a_body() {
        assert_eq!(message(r#"[API Error: {"error":{"message":"no"}}]"#), "no");
        assert_eq!(message(" plain {x} "), "plain {x}");
    }

    #[test]
    fn a_huge_text_is_read_from_its_end() {
        let text = format!("{}é unexpected status 429 x", "é{".repeat(200_000));
        assert_eq!(kind(&text), Some(FailureKind::Quota));
    }
}
