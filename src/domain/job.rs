//! A job as the gateway handles it: what it is, where it stands, how it ended.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::clock;
use crate::domain::ids::{GatewayId, JobId, SubagentId, TeamId};
use crate::domain::run::RunClose;

/// State of a `gateway_jobs` row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waiting for its gateway.
    Queued,
    /// Claimed by a gateway.
    Running,
    /// Ended; the handler did what was asked (also when a command exited non-zero).
    Completed,
    /// Ended; refused or went wrong.
    Failed,
    /// Ended by a person, a shutdown or as a duplicate.
    Cancelled,
}

impl JobStatus {
    /// The word used on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will change the row any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// What a job asks for. Names the wire does not know stay as they came, so that the refusal can quote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobKind {
    /// `diagnostic`: examine host and providers.
    Diagnostic,
    /// `shell_exec`: run one command line.
    ShellExec,
    /// `model_run`: one question to one model.
    ModelRun,
    /// `subagent_run`: one turn of an agent.
    SubagentRun,
    /// `shell_session`: one action on a shell that outlives the job.
    ShellSession,
    /// `subagent_cancel`: has its own query and never waits for a slot.
    SubagentCancel,
    /// Everything else, refused with a reason.
    Unsupported(String),
}

impl JobKind {
    /// Reads the wire's `job_type`.
    #[must_use]
    pub fn from_wire(job_type: &str) -> Self {
        match job_type {
            "diagnostic" => Self::Diagnostic,
            "shell_exec" => Self::ShellExec,
            "model_run" => Self::ModelRun,
            "subagent_run" => Self::SubagentRun,
            "shell_session" => Self::ShellSession,
            "subagent_cancel" => Self::SubagentCancel,
            other => Self::Unsupported(other.to_owned()),
        }
    }

    /// The wire's `job_type`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Diagnostic => "diagnostic",
            Self::ShellExec => "shell_exec",
            Self::ModelRun => "model_run",
            Self::SubagentRun => "subagent_run",
            Self::ShellSession => "shell_session",
            Self::SubagentCancel => "subagent_cancel",
            Self::Unsupported(name) => name,
        }
    }
}

/// Which way a job reached this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ingress {
    /// A Realtime event.
    Push,
    /// A reconcile query.
    Poll,
}

/// Who asked for a job: ids of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requester {
    /// A person.
    pub user: Option<String>,
    /// An agent.
    pub agent: Option<String>,
}

/// A decoded `gateway_jobs` row.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Row id.
    pub id: JobId,
    /// Owning team.
    pub team_id: TeamId,
    /// Targeted gateway; null rows are nobody's.
    pub gateway_id: Option<GatewayId>,
    /// What to do.
    pub kind: JobKind,
    /// State when the row was read.
    pub status: JobStatus,
    /// Arguments, checked by the handler.
    pub payload: Map<String, Value>,
    /// Who asked (`cli`, `vm_restore_readiness_probe`, ...).
    pub requested_via: Option<String>,
    /// Who asked, as far as the control plane knows.
    pub requested_by: Requester,
    /// Key under which equal jobs run once.
    pub idempotency_key: Option<String>,
    /// Attempt under that key; null means 1.
    pub attempt: Option<u64>,
    /// Creation time as the backend wrote it; the order of jobs.
    pub created_at: String,
}

impl Job {
    /// The lane in which jobs run one after another, if this job has one.
    ///
    /// Only subagent runs have one: `payload.subagent_id`, else `payload.subagentId`.
    #[must_use]
    pub fn lane(&self) -> Option<SubagentId> {
        if self.kind != JobKind::SubagentRun {
            return None;
        }
        let id = self
            .payload
            .get("subagent_id")
            .or_else(|| self.payload.get("subagentId"))?;
        SubagentId::new(id.as_str()?).ok()
    }
}

/// Captured bytes that become one text member of a result. Escaped while the result streams, never before:
/// five megabytes of NUL would be many more as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawField {
    /// Member name, such as `stdout`.
    pub key: String,
    /// The bytes as captured.
    pub bytes: Vec<u8>,
}

/// The `result` column: small members as JSON, captured output as raw bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobResult {
    /// Members of the object.
    pub fields: Map<String, Value>,
    /// Further members, text made from captured bytes.
    pub raw: Vec<RawField>,
    /// What has to be told about the job's run before the row may end; no member of the column.
    pub run: Option<Box<RunClose>>,
}

impl From<Map<String, Value>> for JobResult {
    fn from(fields: Map<String, Value>) -> Self {
        Self {
            fields,
            raw: Vec::new(),
            run: None,
        }
    }
}

/// The one ending of a job.
#[must_use = "an unreported outcome leaves the job running on the server"]
#[derive(Debug, Clone, PartialEq)]
pub enum JobOutcome {
    /// The handler did what was asked.
    Completed {
        /// The `result` column.
        result: JobResult,
    },
    /// Refused, or went wrong.
    Failed {
        /// The `result` column.
        result: JobResult,
        /// The `error` column; never empty.
        error: String,
    },
    /// Stopped by a person, a shutdown or a duplicate key.
    Cancelled {
        /// The `result` column.
        result: JobResult,
        /// The `error` column; never empty.
        error: String,
    },
}

impl JobOutcome {
    /// A refusal or failure whose result is `{"message": error}` plus `extra`.
    pub fn failed(error: impl Into<String>, extra: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let error = error.into();
        Self::Failed {
            result: message_with(&error, extra),
            error,
        }
    }

    /// A cancellation whose result is `{"message": error}` plus `extra`.
    pub fn cancelled(error: impl Into<String>, extra: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let error = error.into();
        Self::Cancelled {
            result: message_with(&error, extra),
            error,
        }
    }

    /// The same ending, told to people in other words than the `error` column.
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        let message = Value::from(message.into());
        self.result_mut().fields.insert("message".to_owned(), message);
        self
    }

    /// The row state this ending writes.
    #[must_use]
    pub const fn status(&self) -> JobStatus {
        match self {
            Self::Completed { .. } => JobStatus::Completed,
            Self::Failed { .. } => JobStatus::Failed,
            Self::Cancelled { .. } => JobStatus::Cancelled,
        }
    }

    /// The `result` column.
    #[must_use]
    pub const fn result(&self) -> &JobResult {
        match self {
            Self::Completed { result } | Self::Failed { result, .. } | Self::Cancelled { result, .. } => result,
        }
    }

    /// The same ending, with its run's.
    pub fn closing(mut self, close: RunClose) -> Self {
        self.result_mut().run = Some(Box::new(close));
        self
    }

    /// The same ending; where the job was a run of a subagent that nobody ended, the run ends with it.
    pub fn ending_run_of(self, kind: &JobKind) -> Self {
        match (kind, self.error()) {
            (JobKind::SubagentRun, Some(error)) if self.result().run.is_none() => {
                let error = error.to_owned();
                self.closing(RunClose::Failed { error })
            }
            (
                JobKind::Diagnostic
                | JobKind::ShellExec
                | JobKind::ShellSession
                | JobKind::ModelRun
                | JobKind::SubagentRun
                | JobKind::SubagentCancel
                | JobKind::Unsupported(_),
                _,
            ) => self,
        }
    }

    /// Takes out what has to be told about the run.
    pub fn take_run(&mut self) -> Option<RunClose> {
        self.result_mut().run.take().map(|close| *close)
    }

    /// The `result` column, to be changed.
    pub const fn result_mut(&mut self) -> &mut JobResult {
        match self {
            Self::Completed { result } | Self::Failed { result, .. } | Self::Cancelled { result, .. } => result,
        }
    }

    /// The `error` column, null for a completed job.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Completed { .. } => None,
            Self::Failed { error, .. } | Self::Cancelled { error, .. } => Some(error),
        }
    }
}

fn message_with(message: &str, extra: impl IntoIterator<Item = (&'static str, Value)>) -> JobResult {
    let mut fields = Map::new();
    fields.insert("message".to_owned(), Value::from(message));
    fields.extend(extra.into_iter().map(|(key, value)| (key.to_owned(), value)));
    JobResult::from(fields)
}

/// When a job passed each step, by this machine's wall clock; written to the row's `debug` column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Which way it came.
    pub ingress: Ingress,
    /// First seen by this gateway.
    #[serde(serialize_with = "clock::serialize")]
    pub received_at: Timestamp,
    /// The claim succeeded.
    #[serde(serialize_with = "clock::serialize_some")]
    pub claimed_at: Option<Timestamp>,
    /// The child process, if any, was started.
    #[serde(serialize_with = "clock::serialize_some")]
    pub started_at: Option<Timestamp>,
    /// The outcome was known and journalled.
    #[serde(serialize_with = "clock::serialize_some")]
    pub finished_at: Option<Timestamp>,
    /// What the handler has to add, without secrets.
    #[serde(flatten, default)]
    pub details: Map<String, Value>,
}

impl Timeline {
    /// A timeline that has only begun.
    #[must_use]
    pub fn received(ingress: Ingress, at: Timestamp) -> Self {
        Self {
            ingress,
            received_at: at,
            claimed_at: None,
            started_at: None,
            finished_at: None,
            details: Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_written_in_milliseconds() {
        let mut steps = Timeline::received(Ingress::Push, "2026-11-21T07:06:07.555574737Z".parse().unwrap());
        steps.claimed_at = Some(steps.received_at);
        assert_eq!(
            serde_json::to_value(&steps).unwrap(),
            serde_json::json!({
                "ingress": "push", "received_at": "2026-11-21T07:06:07.555Z",
                "claimed_at": "2026-11-21T07:06:07.555Z", "started_at": null, "finished_at": null,
            })
        );
    }

    #[test]
    fn failed_outcome_carries_message_and_extra() {
        let outcome = JobOutcome::failed("no", [("job_type", Value::from("x"))]);
        assert_eq!(outcome.status(), JobStatus::Failed);
        assert_eq!(outcome.error(), Some("no"));
        assert_eq!(
            Value::from(outcome.result().fields.clone()),
            serde_json::json!({"message": "no", "job_type": "x"})
        );
    }
}
