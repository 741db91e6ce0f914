//! What rows have to tell.

use serde_json::Value;

/// Members of a job's row.
pub(crate) const JOB: &[&str] = &[
    "id",
    "team_id",
    "gateway_id",
    "job_type",
    "status",
    "payload",
    "result",
    "error",
    "debug",
    "requested_via",
    "idempotency_key",
    "attempt",
    "retry_of_job_id",
    "requested_by_agent_id",
    "requested_by_user_id",
    "created_at",
    "started_at",
    "completed_at",
    "updated_at",
];
/// Members of a run's metadata when it is over.
pub(crate) const METADATA: &[&str] = &[
    "schema_version",
    "runner",
    "adapter_id",
    "subagent_type",
    "run_id",
    "run_sequence",
    "current_run_id",
    "current_run_sequence",
    "last_run_at",
    "session_id",
    "usage",
    "total_cost_usd",
    "command",
    "exit_code",
    "duration_ms",
    "timed_out",
    "stdout_truncated",
    "stderr_truncated",
    "output_format",
    "parse_error",
    "retry_count",
    "retry_reasons",
    "retry_max_attempts",
    "cancel_run_id",
    "cancel_requested_at",
    "cancel_reason",
    "cancelled",
    "cancel_state",
    "cancel_support",
    "cancellation_scope",
    "full_control_requested",
    "full_control_effective",
    "full_control_denied_reason",
    "execution_lane",
    "execution_bridge",
    "execution_substrate",
    "trust_zone",
    "delegate_kind",
];

/// Whether a row has these members, whatever their values.
#[track_caller]
pub(crate) fn has_all(row: &Value, members: &[&str]) {
    let lacks: Vec<_> = members.iter().filter(|name| row.get(**name).is_none()).collect();
    assert!(lacks.is_empty(), "lacks {lacks:?}: {row:#}");
}
