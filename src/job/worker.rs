//! One job from claim to journal: claims, checks, runs a handler, hands the end to the reporter; nothing else.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::backend::{BackendError, HttpError, jobs};
use crate::domain::backoff::Backoff;
use crate::domain::clock;
use crate::domain::ids::JobId;
use crate::domain::job::{Job, JobKind, JobOutcome, Timeline};
use crate::job::entry::Entry;
use crate::job::facts::{self, Fetched};
use crate::job::handler::{self, Context, JobLife};
use crate::job::idempotency;
use crate::job::queue::Waiting;
use crate::job::report::{Finished, Mail};
use crate::state::journal::{ClaimedEntry, Journal, JournalError, Known};
use crate::wire::job_row;

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worked {
    /// It ended and its end is on its way.
    Finished,
    /// The row was not to be claimed any more: somebody else's, cancelled, or gone.
    NotOurs,
    /// The claim failed; the row is still queued as far as known.
    NotClaimed(String),
    /// The control plane said no to this claim; it may say the same to the next.
    Refused,
    /// The end could not be written to the journal; it is sent from memory.
    NotJournalled(String),
    /// The work panicked before the row was known to be ours; it was left as it is.
    Broken(String),
}

/// Works on jobs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Worker {
    cx: Context,
    journal: Journal,
    reports: mpsc::Sender<Mail>,
    claims: Claims,
}

/// Claims of this run, noted until the rows of an earlier one are settled. No clock tells them apart: it may have been
/// set in between.
#[derive(Debug, Clone)]
struct Claims(Arc<Mutex<Option<HashSet<JobId>>>>);

/// A job that is ours, with what was asked beside the claim.
struct Claimed {
    job: Job,
    at: Timestamp,
    fetched: Option<Fetched>,
}

/// The row as the claim returned it.
struct Claim {
    row: Value,
    at: Timestamp,
}

/// When the row became ours: all that has to be known of a job whose work panics.
type Ours = OnceLock<Timestamp>;

impl Claims {
    fn noted(&self) -> MutexGuard<'_, Option<HashSet<JobId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: &JobId) {
        if let Some(ids) = self.noted().as_mut() {
            ids.insert(id.clone());
        }
    }

    fn cross_out(&self, id: &JobId) {
        if let Some(ids) = self.noted().as_mut() {
            ids.remove(id);
        }
    }
}

impl Worker {
    /// A worker.
    #[must_use]
    pub fn new(cx: Context, journal: Journal, reports: mpsc::Sender<Mail>) -> Self {
        Self {
            cx,
            journal,
            reports,
            claims: Claims(Arc::new(Mutex::new(Some(HashSet::new())))),
        }
    }

    /// Whether this run has claimed the row, or may be about to.
    #[must_use]
    pub fn has_claimed(&self, id: &JobId) -> bool {
        self.claims.noted().as_ref().is_some_and(|ids| ids.contains(id))
    }

    /// Every row of an earlier run is settled: which ones this run claimed is of no concern any more.
    pub fn forget_claims(&self) {
        *self.claims.noted() = None;
    }

    /// Claims and runs one job.
    pub async fn work(&self, waiting: Waiting, life: JobLife) -> Worked {
        let (id, kind, timeline) = (
            waiting.job.id.clone(),
            waiting.job.kind.clone(),
            waiting.timeline.clone(),
        );
        let ours = Ours::new();
        let work = Box::pin(self.claim_and_run(waiting, life, &ours));
        self.whole((&id, kind), timeline, work, &ours).await
    }

    /// Claims a row that cannot be a job, and fails it with the reason.
    pub async fn reject(&self, id: &JobId, reason: String, timeline: Timeline, life: &JobLife) -> Worked {
        let ours = Ours::new();
        let work = self.claim_and_fail((id, reason), timeline.clone(), life, &ours);
        self.whole((id, JobKind::from_wire("unknown")), timeline, work, &ours)
            .await
    }

    /// The work; a row that was claimed is ended, also when the work panics outside its handler.
    async fn whole(
        &self,
        (id, kind): (&JobId, JobKind),
        mut timeline: Timeline,
        work: impl Future<Output = Worked>,
        ours: &Ours,
    ) -> Worked {
        let panic = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(worked) => return worked,
            Err(panic) => panic_text(panic.as_ref()),
        };
        tracing::error!(job = %id, panic, "Gateway job processing failed");
        timeline.claimed_at = ours.get().copied();
        if timeline.claimed_at.is_none() {
            self.claims.cross_out(id);
            return Worked::Broken(panic);
        }
        match self.journal.outcome(id).await {
            Ok(Known::Ended(end)) => {
                let (outcome, timeline) = *end;
                self.send(id, outcome, timeline, true).await;
                return Worked::Finished;
            }
            Ok(Known::Reported) => return Worked::Finished,
            Ok(Known::Nothing | Known::Open) | Err(_) => {}
        }
        let outcome = handler::broken(&kind, panic).ending_run_of(&kind);
        self.close(id, Some(kind.as_str()), outcome, timeline).await
    }

    async fn claim_and_run(&self, waiting: Waiting, life: JobLife, ours: &Ours) -> Worked {
        let Waiting { job, mut timeline, .. } = waiting;
        let (claimed, fetched) = tokio::join!(
            self.claim(&job.id, jobs::WHOLE, &life, ours),
            facts::fetch(&self.cx.backend, &job)
        );
        let claim = match claimed {
            Ok(Some(claim)) => claim,
            Ok(None) => return Worked::NotOurs,
            Err(error) => return unclaimed(&job.id, &error),
        };
        timeline.claimed_at = Some(claim.at);
        let job = match job_row::decode(&claim.row) {
            Ok(job) => job,
            Err(reject) => {
                let outcome = JobOutcome::failed(reject.reason, []);
                return self.close(&job.id, None, outcome, timeline).await;
            }
        };
        let id = job.id.clone();
        info!(job = %id, job_type = job.kind.as_str(), ingress = ?timeline.ingress, "Processing gateway job");
        let claimed = Claimed {
            job,
            at: claim.at,
            fetched,
        };
        match self.checked_run(claimed, life, &mut timeline).await {
            Ok(outcome) => self.finish(&id, outcome, timeline).await,
            Err(error) => {
                timeline.finished_at = Some(clock::now());
                let outcome = JobOutcome::failed("Gateway journal cannot be written", []);
                self.not_journalled(&id, outcome, timeline, &error).await
            }
        }
    }

    async fn claim_and_fail(
        &self,
        (id, reason): (&JobId, String),
        mut timeline: Timeline,
        life: &JobLife,
        ours: &Ours,
    ) -> Worked {
        let claim = match self.claim(id, jobs::HEAD, life, ours).await {
            Ok(Some(claim)) => claim,
            Ok(None) => return Worked::NotOurs,
            Err(error) => return unclaimed(id, &error),
        };
        timeline.claimed_at = Some(claim.at);
        self.close(id, None, JobOutcome::failed(reason, []), timeline).await
    }

    /// Ends a row that is ours but has no journal entry yet.
    pub async fn close(&self, id: &JobId, job_type: Option<&str>, outcome: JobOutcome, timeline: Timeline) -> Worked {
        let entry = self.entry(id, job_type.unwrap_or("unknown"), None, &timeline);
        match self.journal.claimed(&entry).await {
            Ok(()) => self.finish(id, outcome, timeline).await,
            Err(error) => self.not_journalled(id, outcome, timeline, &error).await,
        }
    }

    /// Tries the journal, after it has failed.
    ///
    /// # Errors
    /// Why it still takes no writes.
    pub async fn try_journal(&self) -> Result<(), String> {
        self.journal.probe().await.map_err(|error| error.to_string())
    }

    async fn checked_run(
        &self,
        claimed: Claimed,
        life: JobLife,
        timeline: &mut Timeline,
    ) -> Result<JobOutcome, JournalError> {
        let job = &claimed.job;
        let entry = self.entry(&job.id, job.kind.as_str(), job.requested_via.clone(), timeline);
        let (written, twin) = tokio::join!(
            self.journal.claimed(&entry),
            idempotency::check(&self.cx.backend, &self.journal, job, claimed.at)
        );
        if let Err(error) = written {
            warn!(job = %job.id, %error, "Failed to write the journal; the job is not run");
            return Err(error);
        }
        let outcome = match twin {
            Some(refused) => refused,
            None => self.settled_run((job, claimed.fetched), life, timeline).await,
        };
        self.cx.audit.ended(job, &outcome);
        Ok(outcome)
    }

    /// Runs the job once its handler can be told what it has to know.
    async fn settled_run(
        &self,
        (job, fetched): (&Job, Option<Fetched>),
        mut life: JobLife,
        timeline: &mut Timeline,
    ) -> JobOutcome {
        if let Some(facts) = facts::settle(&self.cx.backend, job, fetched, &life).await {
            life = life.with_control(facts);
        }
        if life.stop.is_cancelled() {
            return life.cancelled().ending_run_of(&job.kind);
        }
        self.run_handler(job, life, timeline).await
    }

    async fn run_handler(&self, job: &Job, life: JobLife, timeline: &mut Timeline) -> JobOutcome {
        let life = life.with_entry(Entry::of(
            self.journal.clone(),
            job.id.clone(),
            self.cx.outgoing.clone(),
        ));
        let ended = AssertUnwindSafe(handler::run(job, &self.cx, &life))
            .catch_unwind()
            .await;
        timeline.started_at = life.entry.started_at();
        timeline.details = life.take_notes();
        ended.unwrap_or_else(|panic| {
            let text = panic_text(panic.as_ref());
            tracing::error!(job = %job.id, text, "Gateway job processing failed");
            handler::broken(&job.kind, text).ending_run_of(&job.kind)
        })
    }

    /// The one door through which the end of a job leaves for journal and control plane.
    async fn finish(&self, id: &JobId, outcome: JobOutcome, mut timeline: Timeline) -> Worked {
        let outcome = self.cx.outgoing.outcome(outcome);
        self.cx.outgoing.timeline(&mut timeline);
        timeline.finished_at = Some(clock::now());
        info!(job = %id, status = outcome.status().as_str(), error = outcome.error(), "Gateway job ended");
        let written = self.journal.finished(id, &outcome, &timeline).await;
        if let Err(error) = written {
            return self.not_journalled(id, outcome, timeline, &error).await;
        }
        self.send(id, outcome, timeline, true).await;
        Worked::Finished
    }

    /// The end is sent from memory.
    async fn not_journalled(
        &self,
        id: &JobId,
        outcome: JobOutcome,
        timeline: Timeline,
        error: &JournalError,
    ) -> Worked {
        self.send(id, outcome, timeline, false).await;
        Worked::NotJournalled(error.to_string())
    }

    async fn send(&self, id: &JobId, outcome: JobOutcome, timeline: Timeline, journalled: bool) {
        let finished = Finished {
            id: id.clone(),
            fresh: Some(Arc::new((outcome, timeline))),
            journalled,
        };
        if self.reports.send(Mail::Finished(finished)).await.is_err() {
            warn!(job = %id, "The reporter is gone; the result is sent after the next start");
        }
    }

    async fn claim(
        &self,
        id: &JobId,
        columns: &str,
        life: &JobLife,
        ours: &Ours,
    ) -> Result<Option<Claim>, BackendError> {
        self.claims.note(id);
        let claimed = self.try_claim(id, columns, life).await;
        match &claimed {
            Ok(Some(claim)) => drop(ours.set(claim.at)),
            // If the row runs under our id all the same, it was an earlier run that claimed it.
            Ok(None) | Err(_) => self.claims.cross_out(id),
        }
        claimed
    }

    /// One conditional update. When its answer is lost, the row tells: the time of the claim is in it.
    async fn try_claim(&self, id: &JobId, columns: &str, life: &JobLife) -> Result<Option<Claim>, BackendError> {
        // The wire has milliseconds; the row is compared with what it was given.
        let at = clock::now();
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(4));
        let mut uncertain = false;
        loop {
            let error = match self.cx.backend.claim(id, at, columns).await {
                Ok(Some(row)) => return Ok(Some(Claim { row, at })),
                Ok(None) if !uncertain => return Ok(None),
                Ok(None) => match self.cx.backend.claimed_at(id, at, columns).await {
                    Ok(row) => return Ok(row.map(|row| Claim { row, at })),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !may_have_been_applied(&error) && !uncertain {
                return Err(error);
            }
            if is_refusal(&error) {
                // An earlier attempt may have been heard all the same; if nobody tells, there is nobody to ask again.
                let row = self.cx.backend.claimed_at(id, at, columns).await.ok().flatten();
                return row.map(|row| Some(Claim { row, at })).ok_or(error);
            }
            uncertain = true;
            let wait = backoff.ceiling_step().max(error.retry_after().unwrap_or_default());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // A claim that did get through is failed as interrupted after the next start.
                () = life.stop.cancelled() => return Err(error),
            }
        }
    }

    fn entry(&self, id: &JobId, job_type: &str, requested_via: Option<String>, timeline: &Timeline) -> ClaimedEntry {
        ClaimedEntry {
            job_id: id.clone(),
            team_id: self.cx.identity.team_id.clone(),
            gateway_id: self.cx.identity.gateway_id.clone(),
            job_type: job_type.to_owned(),
            timeline: timeline.clone(),
            requested_via,
        }
    }
}

/// Tells a refused claim from an outage.
fn unclaimed(id: &JobId, error: &BackendError) -> Worked {
    warn!(job = %id, %error, "Failed to claim gateway job");
    match error {
        BackendError::Status { .. } => Worked::Refused,
        BackendError::Http(_)
        | BackendError::Unexpected { .. }
        | BackendError::SessionLost(_)
        | BackendError::NotRefreshed { .. } => Worked::NotClaimed(error.to_string()),
    }
}

/// Whether the update may have happened although no good answer came.
fn may_have_been_applied(error: &BackendError) -> bool {
    match error {
        // Nobody was reached, so nobody did anything.
        BackendError::Http(HttpError::Connect { .. } | HttpError::Tls { .. } | HttpError::Address(..)) => false,
        BackendError::Http(_) | BackendError::Unexpected { .. } => true,
        BackendError::Status { status, .. } => (*status >= 500 && !was_undone(error)) || matches!(*status, 408 | 429),
        BackendError::SessionLost(_) | BackendError::NotRefreshed { .. } => false,
    }
}

/// Whether an answer came that time alone does not change.
const fn is_refusal(error: &BackendError) -> bool {
    match error {
        BackendError::Status { .. } | BackendError::SessionLost(_) | BackendError::NotRefreshed { .. } => {
            !error.is_transient()
        }
        BackendError::Http(_) | BackendError::Unexpected { .. } => false,
    }
}

/// The database says itself that it undid a statement; only its words about connections leave that open.
fn was_undone(error: &BackendError) -> bool {
    let open = ["08", "57P", "PGRST"];
    error
        .code()
        .is_some_and(|code| !open.iter().any(|start| code.starts_with(start)))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the handler panicked".to_owned())
}
