//! After a crash: what the journal and the control plane say about jobs of an earlier run.
//!
//! A job is never run again by us. What was finished is sent; what was not is stopped and failed as interrupted.

use std::collections::HashSet;
use std::path::Path;
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
use crate::job::handler::{Context, Identity};
use crate::job::report::{Finished, Mail};
use crate::job::worker::Worker;
use crate::process::containment;
use crate::process::identity::{GroupKill, ProcessIdentity, kill_group_if_same};
use crate::process::mark;
use crate::state::journal::{ClaimedEntry, Interrupted, Journal, JournalError, Known};

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
    /// Either, under another pairing of this host.
    pub foreign: usize,
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

/// Ends what the journal calls unfinished and hands every unreported result to the reporter. What was claimed under
/// another pairing is ended all the same, but its rows are not ours to write.
///
/// # Errors
/// [`JournalError`] when the journal cannot be read or written.
pub async fn from_journal(
    journal: &Journal,
    cx: &Context,
    reports: &mpsc::Sender<Mail>,
) -> Result<Found, JournalError> {
    let recovered = journal.recover().await?;
    let mut found = Found::default();
    end_survivors(recovered.interrupted.iter().map(|job| &job.entry.job_id)).await;
    for job in recovered.interrupted {
        let entry = &job.entry;
        stop_leftover(&job);
        end_cgroup(entry).await;
        cx.audit
            .interrupted(entry.job_id.as_str(), &entry.job_type, entry.requested_via.as_deref());
        if set_foreign_aside(journal, entry, &cx.identity).await? {
            found.foreign += 1;
            continue;
        }
        found.interrupted += 1;
        let mut timeline = job.entry.timeline;
        timeline.started_at = job.process.map(|process| process.at).or(timeline.started_at);
        timeline.finished_at = Some(clock::now());
        let id = job.entry.job_id;
        journal.cut_off(&id, &cut_off(&job.entry.job_type), &timeline).await?;
        resend(id, reports).await;
    }
    for entry in recovered.unreported {
        if set_foreign_aside(journal, &entry, &cx.identity).await? {
            found.foreign += 1;
        } else {
            found.unreported += 1;
            resend(entry.job_id, reports).await;
        }
    }
    if found.foreign > 0 {
        tell(Mail::Recount, reports).await;
    }
    if found != Found::default() {
        info!(
            found.interrupted,
            found.unreported, found.foreign, "Jobs of an earlier run were found in the journal"
        );
    }
    Ok(found)
}

/// The cgroup that it was started in, which need not be one of ours.
async fn end_cgroup(entry: &ClaimedEntry) {
    let held = entry.timeline.details.get("containment");
    if let Some(dir) = held.and_then(|held| held.get("cgroup")?.as_str()) {
        containment::end_of_earlier(Path::new(dir), entry.job_id.as_str()).await;
    }
}

/// Whether the entry is of another pairing: its row is not ours, so nothing of it is sent.
async fn set_foreign_aside(journal: &Journal, entry: &ClaimedEntry, us: &Identity) -> Result<bool, JournalError> {
    if entry.gateway_id == us.gateway_id && entry.team_id == us.team_id {
        return Ok(false);
    }
    let why = format!("belongs to gateway {}, this host was paired anew", entry.gateway_id);
    warn!(job = %entry.job_id, why, "A job of an earlier run is set aside");
    journal.set_aside(&entry.job_id, &why).await?;
    Ok(true)
}

/// Fails the rows that run under our id, that this run has not claimed and that the journal knows nothing of. Looks more
/// than once: the last claim of an earlier run may be applied after its end.
pub async fn orphans(jobs: &Jobs, journal: &Journal, worker: &Worker) {
    let mut reported = HashSet::new();
    for pause in LOOKS {
        tokio::time::sleep(pause).await;
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        while let Err(error) = look_for_orphans(jobs, journal, worker, &mut reported).await {
            warn!(%error, "Failed to look for jobs of an earlier run");
            tokio::time::sleep(backoff.ceiling_step()).await;
        }
    }
    worker.forget_claims();
}

async fn look_for_orphans(
    jobs: &Jobs,
    journal: &Journal,
    worker: &Worker,
    reported: &mut HashSet<JobId>,
) -> Result<(), BackendError> {
    let mut orphans = Vec::new();
    let mut offset = 0;
    loop {
        let rows = jobs.running_of_gateway(PAGE, offset).await?;
        offset += PAGE;
        let full = rows.len() >= PAGE as usize;
        for row in &rows {
            if let Some(orphan) = orphan(row)
                && !worker.has_claimed(&orphan.0)
                && is_forgotten(journal, &orphan.0, reported).await
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

/// Whether nobody here will end the row. One that has been reported was so after its row was read, unless that row was
/// read when we knew that already: then it was given out again, to a run whose claim a power cut took.
async fn is_forgotten(journal: &Journal, id: &JobId, reported: &mut HashSet<JobId>) -> bool {
    match journal.outcome(id).await {
        Ok(Known::Nothing | Known::Open) => true,
        Ok(Known::Reported) => !reported.insert(id.clone()),
        Ok(Known::Ended(_)) | Err(_) => false,
    }
}

/// Id, type and claim time of a row.
fn orphan(row: &Value) -> Option<(JobId, String, Option<Timestamp>)> {
    let text = |column: &str| row.get(column).and_then(Value::as_str);
    let id = JobId::new(text("id")?).ok()?;
    let started_at = text("started_at").and_then(|at| at.parse::<Timestamp>().ok());
    Some((id, text("job_type").unwrap_or("unknown").to_owned(), started_at))
}

fn stop_leftover(job: &Interrupted) {
    let Some(record) = job.process else { return };
    let process = ProcessIdentity {
        pid: record.pid,
        pgid: record.pgid,
        // Where the system tells no start times, 0 was written.
        start_ticks: Some(record.start_ticks).filter(|ticks| *ticks > 0),
    };
    let id = &job.entry.job_id;
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
    tell(Mail::Finished(finished), reports).await;
}

async fn tell(mail: Mail, reports: &mpsc::Sender<Mail>) {
    if reports.send(mail).await.is_err() {
        warn!("The reporter is gone");
    }
}
