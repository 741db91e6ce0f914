//! After a crash: what the journal and the control plane say about jobs of an earlier run.
//!
//! A job is never run again by us. What was finished is sent; what was not is stopped and failed as interrupted.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::backend::{BackendError, Jobs};
use crate::domain::backoff::Backoff;
use crate::domain::clock;
use crate::domain::ids::JobId;
use crate::domain::job::{Ingress, JobKind, JobOutcome, RawField, Timeline};
use crate::job::audit::Audit;
use crate::job::report::{Finished, Mail};
use crate::job::worker::Worker;
use crate::process::identity::{GroupKill, ProcessIdentity, kill_group_if_same};
use crate::process::mark;
use crate::state::journal::{Journal, JournalError};

const INTERRUPTED: &str = "Gateway was interrupted while the job ran";
const PAGE: u32 = 100;
/// Before each look for rows of an earlier run.
const LOOKS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// How many jobs were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Claimed, but not finished.
    pub interrupted: usize,
    /// Finished, but not known to have arrived.
    pub unreported: usize,
}

/// The end of a job that an earlier run left behind.
pub fn interrupted(job_type: &str) -> JobOutcome {
    JobOutcome::failed(INTERRUPTED, [("interrupted", Value::Bool(true))]).ending_run_of(&JobKind::from_wire(job_type))
}

/// The same, with the fields in which the journal may hold what the job had said.
fn cut_off(job_type: &str) -> JobOutcome {
    let mut outcome = interrupted(job_type);
    let fields = said_in(&JobKind::from_wire(job_type)).iter().map(|key| RawField {
        key: (*key).to_owned(),
        bytes: Vec::new(),
    });
    outcome.result_mut().raw.extend(fields);
    outcome
}

/// Raw fields that a job of this type is written down in while it runs, by number.
const fn said_in(kind: &JobKind) -> &'static [&'static str] {
    match kind {
        JobKind::ShellExec => &["stdout", "stderr"],
        JobKind::ModelRun | JobKind::SubagentRun => &["partial_output"],
        JobKind::Diagnostic | JobKind::ShellSession | JobKind::SubagentCancel | JobKind::Unsupported(_) => &[],
    }
}

/// Ends what the journal calls unfinished and hands every unreported result to the reporter.
///
/// # Errors
/// [`JournalError`] when the journal cannot be read or written.
pub async fn from_journal(
    journal: &Journal,
    audit: &Audit,
    reports: &mpsc::Sender<Mail>,
) -> Result<Found, JournalError> {
    let recovered = journal.recover().await?;
    let found = Found {
        interrupted: recovered.interrupted.len(),
        unreported: recovered.unreported.len(),
    };
    end_survivors(recovered.interrupted.iter().map(|job| &job.entry.job_id)).await;
    for job in recovered.interrupted {
        let id = job.entry.job_id;
        let mut timeline = job.entry.timeline;
        if let Some(record) = job.process {
            timeline.started_at = Some(record.at);
            let process = ProcessIdentity {
                pid: record.pid,
                pgid: record.pgid,
                // Where the system tells no start times, 0 was written.
                start_ticks: Some(record.start_ticks).filter(|ticks| *ticks > 0),
            };
            stop_leftover(&id, process);
        }
        audit.interrupted(id.as_str(), &job.entry.job_type, job.entry.requested_via.as_deref());
        timeline.finished_at = Some(clock::now());
        journal.cut_off(&id, &cut_off(&job.entry.job_type), &timeline).await?;
        resend(id, reports).await;
    }
    for id in recovered.unreported {
        resend(id, reports).await;
    }
    if found != Found::default() {
        info!(
            found.interrupted,
            found.unreported, "Jobs of an earlier run were found in the journal"
        );
    }
    Ok(found)
}

/// Fails the rows that run under our id, that this run has not claimed and that the journal knows nothing of. Looks more
/// than once: the last claim of an earlier run may be applied after its end.
pub async fn orphans(jobs: &Jobs, journal: &Journal, worker: &Worker) {
    for pause in LOOKS {
        tokio::time::sleep(pause).await;
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        while let Err(error) = look_for_orphans(jobs, journal, worker).await {
            warn!(%error, "Failed to look for jobs of an earlier run");
            tokio::time::sleep(backoff.ceiling_step()).await;
        }
    }
    worker.forget_claims();
}

async fn look_for_orphans(jobs: &Jobs, journal: &Journal, worker: &Worker) -> Result<(), BackendError> {
    let mut orphans = Vec::new();
    let mut offset = 0;
    loop {
        let rows = jobs.running_of_gateway(PAGE, offset).await?;
        offset += PAGE;
        let full = rows.len() >= PAGE as usize;
        for row in &rows {
            if let Some(orphan) = orphan(row)
                && !worker.has_claimed(&orphan.0)
                && matches!(journal.outcome(&orphan.0).await, Ok(None))
            {
                orphans.push(orphan);
            }
        }
        if !full {
            break;
        }
    }
    end_survivors(orphans.iter().map(|(id, ..)| id)).await;
    for (id, job_type, started_at) in orphans {
        warn!(job = %id, "A job of an earlier run was still marked as running; it is failed");
        let mut timeline = Timeline::received(Ingress::Poll, started_at.unwrap_or_else(clock::now));
        timeline.claimed_at = started_at;
        worker
            .close(&id, Some(&job_type), interrupted(&job_type), timeline)
            .await;
    }
    Ok(())
}

/// Id, type and claim time of a row.
fn orphan(row: &Value) -> Option<(JobId, String, Option<Timestamp>)> {
    let text = |column: &str| row.get(column).and_then(Value::as_str);
    let id = JobId::new(text("id")?).ok()?;
    let started_at = text("started_at").and_then(|at| at.parse::<Timestamp>().ok());
    Some((id, text("job_type").unwrap_or("unknown").to_owned(), started_at))
}

fn stop_leftover(id: &JobId, process: ProcessIdentity) {
    match kill_group_if_same(process) {
        GroupKill::Killed => info!(job = %id, pid = process.pid, "Killed what an interrupted job had left running"),
        GroupKill::Gone => {}
        GroupKill::NotProven => warn!(job = %id, pid = process.pid, "The interrupted job's pid is another process now"),
    }
}

/// What carries a job's mark is that job's, also when its start was not written down or its leader is gone.
async fn end_survivors(jobs: impl Iterator<Item = &JobId>) {
    let jobs: HashSet<&str> = jobs.map(JobId::as_str).collect();
    if jobs.is_empty() {
        return;
    }
    let killed = mark::kill_marked(&jobs).await.found.len();
    if killed > 0 {
        info!(killed, "Killed what interrupted jobs had left running");
    }
}

async fn resend(id: JobId, reports: &mpsc::Sender<Mail>) {
    let finished = Finished {
        id,
        fresh: None,
        journalled: true,
    };
    if reports.send(Mail::Finished(finished)).await.is_err() {
        warn!("The reporter is gone");
    }
}
