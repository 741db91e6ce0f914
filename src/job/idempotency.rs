//! Jobs under one key run once: after the claim, the row that was claimed first wins.
//!
//! The order is (claim time, creation time, id): a row that was created earlier but claimed later must not run
//! beside one that has passed its own check already. A completed twin always wins; one that failed here wins no more,
//! also while its report is on its way. If nobody can say, nothing runs.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tracing::warn;

use crate::backend::Jobs;
use crate::domain::backoff::Backoff;
use crate::domain::ids::JobId;
use crate::domain::job::{Job, JobOutcome, JobStatus};
use crate::state::journal::{Journal, JournalError, Known};

const DUPLICATE: &str = "Duplicate gateway job idempotency key; skipping execution";
const ATTEMPTS: usize = 3;

/// Asks for twins of a claimed job; gives its end when it must not run.
pub(crate) async fn check(jobs: &Jobs, journal: &Journal, job: &Job, claimed_at: Timestamp) -> Option<JobOutcome> {
    let key = job.idempotency_key.as_deref()?;
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(2));
    let mut trouble = String::new();
    for _ in 0..ATTEMPTS {
        match jobs.idempotency_twins(job).await {
            Ok(twins) => match judge(&twins, journal, job, claimed_at).await {
                Verdict::Runs => return None,
                Verdict::Beaten => return Some(duplicate(job, key)),
                Verdict::Stale => trouble = "the report of another job is not shown yet".to_owned(),
            },
            Err(error) => trouble = error.to_string(),
        }
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
    warn!(job = %job.id, trouble, "Failed to look for jobs with the same idempotency key");
    Some(JobOutcome::failed(
        format!("Gateway could not check the idempotency key: {trouble}"),
        [("idempotency_key", Value::from(key))],
    ))
}

/// What the twins make of a job.
enum Verdict {
    Runs,
    Beaten,
    /// The end of one has arrived while the twins were asked for: they have to be asked for again.
    Stale,
}

async fn judge(twins: &[Value], journal: &Journal, job: &Job, claimed_at: Timestamp) -> Verdict {
    let mut verdict = Verdict::Runs;
    for twin in twins.iter().filter(|twin| wins(twin, job, claimed_at)) {
        match end_here(twin, journal).await {
            Ok(Known::Ended(end)) if end.0.status() != JobStatus::Completed => {}
            Ok(Known::Reported) => verdict = Verdict::Stale,
            Ok(Known::Nothing | Known::Open | Known::Ended(_)) | Err(_) => return Verdict::Beaten,
        }
    }
    verdict
}

/// What is known here of a row that is still marked as running: its report may be on its way, or there by now.
async fn end_here(twin: &Value, journal: &Journal) -> Result<Known, JournalError> {
    let text = |column: &str| twin.get(column).and_then(Value::as_str);
    match (text("status"), text("id").map(JobId::new)) {
        (Some("running"), Some(Ok(id))) => journal.outcome(&id).await,
        _ => Ok(Known::Nothing),
    }
}

fn duplicate(job: &Job, key: &str) -> JobOutcome {
    JobOutcome::cancelled(
        DUPLICATE,
        [
            ("idempotency_key", Value::from(key)),
            ("attempt", Value::from(job.attempt.unwrap_or(1))),
        ],
    )
}

/// Whether the twin runs, or ran, instead of the job.
fn wins(twin: &Value, job: &Job, claimed_at: Timestamp) -> bool {
    let text = |column: &str| twin.get(column).and_then(Value::as_str);
    let attempt = twin.get("attempt").and_then(Value::as_u64).unwrap_or(1);
    if attempt != job.attempt.unwrap_or(1) {
        return false;
    }
    if text("status") != Some("running") {
        return true;
    }
    let started = text("started_at").and_then(|at| at.parse::<Timestamp>().ok());
    let Some(started) = started else { return true };
    let theirs = (
        started.as_millisecond(),
        text("created_at").unwrap_or_default(),
        text("id").unwrap_or_default(),
    );
    theirs < (claimed_at.as_millisecond(), job.created_at.as_str(), job.id.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::job_row;

    fn row(id: &str, status: &str, started: &str) -> Value {
        json!({
            "id": id, "team_id": "t", "gateway_id": "g", "status": status, "job_type": "x", "payload": {},
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "1", "started_at": started, "idempotency_key": "k",
        })
    }

    #[test]
    fn of_two_running_twins_exactly_one_wins() {
        let times = ["2026-01-01T00:00:01.000Z", "2026-01-01T00:00:02.000Z"];
        for (a_at, b_at) in [(times[0], times[1]), (times[1], times[0]), (times[0], times[0])] {
            let (a, b) = (row("a", "running", a_at), row("b", "running", b_at));
            let wins_over =
                |twin: &Value, own: &Value, at: &str| wins(twin, &job_row::decode(own).unwrap(), at.parse().unwrap());
            assert_ne!(wins_over(&a, &b, b_at), wins_over(&b, &a, a_at), "{a_at} {b_at}");
        }
    }

    #[test]
    fn another_attempt_is_no_twin_and_null_is_the_first() {
        let own = job_row::decode(&row("a", "running", "2026-01-01T00:00:01Z")).unwrap();
        let mut twin = row("b", "completed", "2026-01-01T00:00:00Z");
        for (attempt, expected) in [(json!(1), true), (json!(2), false), (Value::Null, true)] {
            twin["attempt"] = attempt;
            assert_eq!(wins(&twin, &own, "2026-01-01T00:00:01Z".parse().unwrap()), expected);
        }
    }

    #[test]
    fn a_completed_twin_always_wins() {
        let own = job_row::decode(&row("a", "running", "2026-01-01T00:00:01Z")).unwrap();
        let later = row("b", "completed", "2026-01-01T00:00:09Z");
        assert!(wins(&later, &own, "2026-01-01T00:00:01Z".parse().unwrap()));
    }
}
