//! The payload of a `shell_exec` job.

use std::time::Duration;

use serde_json::Value;

use crate::domain::clock::millis;
use crate::domain::job::Job;
use crate::domain::limits::{SHELL_EXEC_DEFAULT_TIMEOUT, SHELL_EXEC_MAX_TIMEOUT};
use crate::job::handler::time_limit::TimeLimit;

/// Who asks for a probe that only a managed VM can answer.
const READINESS_PROBE: &str = "vm_restore_readiness_probe";

/// The payload, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) resource_id: Option<String>,
    pub(super) command: Option<String>,
    pub(super) limit: TimeLimit,
    pub(super) wants_secrets: bool,
    pub(super) is_probe: bool,
}

impl Request {
    pub(super) fn read(job: &Job) -> Self {
        let text = |key: &str| job.payload.get(key).and_then(Value::as_str);
        let secrets = job.payload.get("secret_env").and_then(Value::as_object);
        Self {
            resource_id: text("resource_id")
                .map(str::trim)
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            // Blank is missing; anything else runs exactly as it came.
            command: text("command")
                .filter(|command| !command.trim().is_empty())
                .map(str::to_owned),
            limit: limit(job.payload.get("timeout_ms")),
            wants_secrets: secrets.is_some_and(|secrets| !secrets.is_empty()),
            is_probe: job.requested_via.as_deref() == Some(READINESS_PROBE),
        }
    }
}

/// A number or a text that begins with one, truncated and clamped; anything else is the default.
fn limit(value: Option<&Value>) -> TimeLimit {
    let asked = match value {
        Some(Value::Number(number)) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Some(Value::String(text)) => leading_integer(text),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
    };
    let Some(asked) = asked else {
        return TimeLimit {
            value: SHELL_EXEC_DEFAULT_TIMEOUT,
            clamped: false,
        };
    };
    let value = Duration::from_millis(u64::try_from(asked).unwrap_or_default())
        .clamp(Duration::from_millis(1), SHELL_EXEC_MAX_TIMEOUT);
    TimeLimit {
        value,
        clamped: i128::from(asked) != i128::from(millis(value)),
    }
}

/// The number without its fraction; beyond any limit it only matters which side.
fn whole(number: f64) -> Option<i64> {
    format!("{:.0}", number.trunc().clamp(-1e15, 1e15)).parse().ok()
}

fn leading_integer(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let digits = digits.get(..end).filter(|digits| !digits.is_empty())?;
    // More digits than fit are far beyond the limit anyway.
    let number = digits.parse().unwrap_or(i64::MAX);
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(payload: &Value) -> Job {
        let row = json!({
            "id": "j", "team_id": "t", "gateway_id": "g", "status": "running", "job_type": "shell_exec",
            "payload": payload, "created_at": "c", "updated_at": "u"
        });
        crate::wire::job_row::decode(&row).unwrap()
    }

    #[test]
    fn texts_of_another_type_are_missing() {
        let request = Request::read(&job(&json!({"resource_id": 1, "command": ["id"]})));
        assert_eq!((request.resource_id, request.command), (None, None));
    }

    #[test]
    fn time_limits_follow_their_rules() {
        let read = |value: Value| {
            let limit = limit(Some(&value));
            (millis(limit.value), limit.clamped)
        };
        for (value, expected) in [
            (json!(1500), (1500, false)),
            (json!(1500.9), (1500, false)),
            (json!(0.5), (1, true)),
            (json!(0), (1, true)),
            (json!(-7), (1, true)),
            (json!(600_000), (600_000, false)),
            (json!(600_001), (600_000, true)),
            (json!(u64::MAX), (600_000, true)),
            (json!(1e300), (600_000, true)),
            (json!(" 250ms"), (250, false)),
            (json!("+250"), (250, false)),
            (json!("1e3"), (1, false)),
            (json!("-9"), (1, true)),
            (json!("99999999999999999999999"), (600_000, true)),
            (json!(""), (30_000, false)),
            (json!("soon"), (30_000, false)),
            (json!(null), (30_000, false)),
            (json!(true), (30_000, false)),
            (json!([5]), (30_000, false)),
        ] {
            assert_eq!(read(value.clone()), expected, "{value}");
        }
        assert_eq!(limit(None).value, SHELL_EXEC_DEFAULT_TIMEOUT);
    }
}
