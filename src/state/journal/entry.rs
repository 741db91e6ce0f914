//! What an entry holds, and an outcome's form in it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::ids::{GatewayId, JobId, TeamId};
use crate::domain::job::{JobOutcome, JobResult, JobStatus, RawField, Timeline};
use crate::domain::run::RunClose;

/// A job at the moment of its claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedEntry {
    /// Row id.
    pub job_id: JobId,
    /// Owning team.
    pub team_id: TeamId,
    /// The gateway that claimed it.
    pub gateway_id: GatewayId,
    /// The wire's `job_type`.
    pub job_type: String,
    /// Its steps so far.
    pub timeline: Timeline,
    /// Who asked.
    pub requested_via: Option<String>,
}

/// Enough to know a process again: a pid alone may be a stranger's by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessIdentityRecord {
    /// Process id.
    pub pid: u32,
    /// Its start time in the kernel's unit.
    pub start_ticks: u64,
    /// Its process group.
    pub pgid: u32,
    /// When it was started.
    pub at: Timestamp,
}

/// A job that was claimed and never ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupted {
    /// The claim.
    pub entry: ClaimedEntry,
    /// Its process, if one was started.
    pub process: Option<ProcessIdentityRecord>,
}

/// What the journal knows of a job's end.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// There is no entry.
    Nothing,
    /// Claimed, not ended.
    Open,
    /// Ended; the result is here, also one that was set aside.
    Ended(Box<(JobOutcome, Timeline)>),
    /// Ended, and the backend has the result.
    Reported,
}

impl Known {
    /// The end and its steps, as long as they are kept.
    #[must_use]
    pub fn end(self) -> Option<(JobOutcome, Timeline)> {
        match self {
            Self::Ended(end) => Some(*end),
            Self::Nothing | Self::Open | Self::Reported => None,
        }
    }
}

/// What an earlier run left, oldest claim first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Claimed, never ended.
    pub interrupted: Vec<Interrupted>,
    /// Ended, never confirmed.
    pub unreported: Vec<ClaimedEntry>,
}

/// How many entries are in which state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Claimed, not ended.
    pub running: u64,
    /// Ended, not confirmed.
    pub unreported: u64,
    /// Confirmed, not yet pruned.
    pub reported: u64,
    /// Not to be sent any more, kept for a person.
    pub set_aside: u64,
    /// Why the latest of these was set aside.
    pub latest_reason: Option<String>,
    /// Commits of this run that waited for the disk.
    pub synced: u64,
}

/// An outcome without its raw output, which lies in pieces beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredOutcome {
    status: JobStatus,
    fields: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) raw_keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Box<RunClose>>,
}

impl StoredOutcome {
    pub(super) fn of(outcome: &JobOutcome) -> Self {
        let result = outcome.result();
        Self {
            status: outcome.status(),
            fields: result.fields.clone(),
            error: outcome.error().map(str::to_owned),
            raw_keys: result.raw.iter().map(|raw| raw.key.clone()).collect(),
            run: result.run.clone(),
        }
    }

    pub(super) fn into_outcome(self, raw: Vec<RawField>) -> JobOutcome {
        let result = JobResult {
            fields: self.fields,
            raw,
            run: self.run,
        };
        let error = self.error.unwrap_or_else(|| "no reason was recorded".to_owned());
        match self.status {
            JobStatus::Completed => JobOutcome::Completed { result },
            JobStatus::Cancelled => JobOutcome::Cancelled { result, error },
            JobStatus::Failed | JobStatus::Queued | JobStatus::Running => JobOutcome::Failed { result, error },
        }
    }
}
