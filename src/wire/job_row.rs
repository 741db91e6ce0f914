//! `gateway_jobs` rows from the wire into [`Job`], or a reason why not.

use serde_json::{Map, Value};

use crate::domain::ids::{GatewayId, JobId, TeamId};
use crate::domain::job::{Job, JobKind, JobStatus, Requester};

/// A row that cannot be a job. Where the id is readable, the row can be failed with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Reject {
    /// The row's id, when that much was readable.
    pub id: Option<JobId>,
    /// What is wrong, in the wire's words.
    pub reason: String,
}

/// Decodes one row, as a query or a Realtime record delivered it.
///
/// # Errors
/// [`Reject`] naming at most three offending columns.
pub fn decode(row: &Value) -> Result<Job, Reject> {
    let Some(row) = row.as_object() else {
        return Err(Reject {
            id: None,
            reason: issue_text(&["$".to_owned()]),
        });
    };
    let mut reader = Reader {
        row,
        issues: Vec::new(),
    };
    let id = reader.text("id");
    let team_id = reader.text("team_id");
    let kind = reader.text("job_type");
    let created_at = reader.text("created_at");
    reader.text("updated_at");
    let gateway_id = reader.optional_text("gateway_id");
    let status = reader.status();
    let payload = reader.payload();
    reader.check("result", Value::is_object);
    for column in ["error", "completed_at", "retry_of_job_id"] {
        reader.check(column, Value::is_string);
    }
    let requested_via = reader.optional_text("requested_via");
    let idempotency_key = reader.optional_text("idempotency_key");
    reader.check("attempt", Value::is_u64);

    // For the owner's book only: no job is refused for them.
    let known = |column: &str| row.get(column).and_then(Value::as_str).map(str::to_owned);
    let readable_id = id.and_then(|id| JobId::new(id).ok());
    if let (true, Some(id), Some(team_id), Some(kind), Some(status), Some(payload), Some(created_at)) = (
        reader.issues.is_empty(),
        &readable_id,
        team_id,
        kind,
        status,
        payload,
        created_at,
    ) && let Ok(team_id) = TeamId::new(team_id)
    {
        return Ok(Job {
            id: id.clone(),
            team_id,
            gateway_id: gateway_id.and_then(|id| GatewayId::new(id).ok()),
            kind: JobKind::from_wire(&kind),
            status,
            payload,
            requested_via,
            requested_by: Requester {
                user: known("requested_by_user_id"),
                agent: known("requested_by_agent_id"),
            },
            idempotency_key,
            attempt: row.get("attempt").and_then(Value::as_u64),
            created_at,
        });
    }
    Err(Reject {
        id: readable_id,
        reason: issue_text(&reader.issues),
    })
}

fn issue_text(issues: &[String]) -> String {
    let count = issues.len().max(1);
    let plural = if count == 1 { "issue" } else { "issues" };
    let paths = issues.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    format!(
        "Failed to decode wire_payload boundary \"gateway.job_ingress.wire_payload\": {count} schema {plural} at {paths}"
    )
}

struct Reader<'a> {
    row: &'a Map<String, Value>,
    issues: Vec<String>,
}

impl Reader<'_> {
    fn issue(&mut self, column: &str) {
        self.issues.push(format!("$.{column}"));
    }

    fn text(&mut self, column: &str) -> Option<String> {
        match self.row.get(column).and_then(Value::as_str) {
            Some(text) if !text.is_empty() => Some(text.to_owned()),
            Some(_) | None => {
                self.issue(column);
                None
            }
        }
    }

    /// Null and absent are fine, anything but a text is not.
    fn optional_text(&mut self, column: &str) -> Option<String> {
        self.check(column, Value::is_string);
        self.row.get(column).and_then(Value::as_str).map(str::to_owned)
    }

    fn check(&mut self, column: &str, accepts: fn(&Value) -> bool) {
        if self
            .row
            .get(column)
            .is_some_and(|value| !value.is_null() && !accepts(value))
        {
            self.issue(column);
        }
    }

    fn status(&mut self) -> Option<JobStatus> {
        let status = self
            .row
            .get("status")
            .and_then(|value| serde_json::from_value(value.clone()).ok());
        if status.is_none() {
            self.issue("status");
        }
        status
    }

    fn payload(&mut self) -> Option<Map<String, Value>> {
        let payload = self.row.get("payload").and_then(Value::as_object).cloned();
        if payload.is_none() {
            self.issue("payload");
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row() -> Value {
        json!({
            "id": "j", "team_id": "t", "gateway_id": "g", "status": "queued", "job_type": "shell_exec",
            "payload": {"command": "true"}, "result": null, "error": null, "completed_at": null,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "attempt": 2, "extra": 1
        })
    }

    #[test]
    fn a_good_row_decodes_and_extras_are_ignored() {
        let job = decode(&row()).unwrap();
        assert_eq!((job.kind, job.attempt), (JobKind::ShellExec, Some(2)));
    }

    #[test]
    fn a_reject_names_at_most_three_columns_and_keeps_the_id() {
        let mut bad = row();
        for column in ["team_id", "job_type", "payload", "status"] {
            bad[column] = json!([]);
        }
        let reject = decode(&bad).unwrap_err();
        assert_eq!(reject.id, Some(JobId::new("j").unwrap()));
        assert!(
            reject
                .reason
                .ends_with("4 schema issues at $.team_id, $.job_type, $.status"),
            "{}",
            reject.reason
        );
    }

    #[test]
    fn payload_null_and_negative_attempt_are_refused() {
        for (column, value) in [("payload", json!(null)), ("attempt", json!(-1)), ("id", json!(""))] {
            let mut bad = row();
            bad[column] = value;
            assert!(
                decode(&bad)
                    .unwrap_err()
                    .reason
                    .ends_with(&format!("1 schema issue at $.{column}"))
            );
        }
    }
}
