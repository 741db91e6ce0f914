//! The outbox: results from the journal to the control plane, until they are known to have arrived.
//!
//! A result is on disk before it comes here. It leaves when the control plane confirmed it, or said that the row is
//! final already. A result it refuses is sent shorter, then as a failure; it is never dropped.

mod close;
mod cut;
mod schedule;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::backend::jobs::{Completed, Completion};
use crate::backend::{BackendError, Jobs, Runs};
use crate::domain::ids::JobId;
use crate::domain::job::{JobOutcome, JobStatus, Timeline};
use crate::state::journal::Journal;

pub use cut::Cut;
pub use schedule::Schedule;

/// Messages to the reporter that may wait.
pub const MAILBOX: usize = 1_024;

/// How a job ended, on its way to the control plane.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The row.
    pub id: JobId,
    /// Its end and steps; `None` when they are to be read from the journal.
    pub fresh: Option<Arc<(JobOutcome, Timeline)>>,
    /// Whether the journal holds them too. If not, they stay in memory until they arrived.
    pub journalled: bool,
}

/// A message to the reporter.
#[derive(Debug, Clone)]
pub enum Mail {
    /// Send this.
    Finished(Finished),
    /// The control plane answers again.
    Nudge,
}

enum Fate {
    Settled,
    Later {
        after: Option<Duration>,
    },
    Refused {
        why: String,
    },
    /// Neither in memory nor in the journal.
    Missing,
}

/// The outbox's driver; see the module's head.
#[derive(Debug)]
pub struct Reporter {
    jobs: Jobs,
    runs: Runs,
    journal: Journal,
    schedule: Schedule,
    held: HashMap<JobId, Finished>,
    began: Instant,
    unreported: watch::Sender<usize>,
}

impl Reporter {
    /// A reporter with nothing to send. `unreported` follows how many results are not yet confirmed.
    #[must_use]
    pub fn new(jobs: Jobs, runs: Runs, journal: Journal, unreported: watch::Sender<usize>) -> Self {
        Self {
            jobs,
            runs,
            journal,
            schedule: Schedule::default(),
            held: HashMap::new(),
            began: Instant::now(),
            unreported,
        }
    }

    /// Sends until every sender of `mail` is gone and everything arrived.
    pub async fn run(mut self, mut mail: mpsc::Receiver<Mail>) {
        let mut sending = FuturesUnordered::new();
        let mut open = true;
        while open || !self.schedule.is_empty() {
            let away = self.jobs.is_away();
            while let Some((id, cut)) = self.schedule.take_due(self.began.elapsed(), away) {
                let sent = attempt(
                    self.jobs.clone(),
                    self.runs.clone(),
                    self.journal.clone(),
                    (self.finished(id), cut),
                );
                sending.push(sent);
            }
            self.unreported.send_replace(self.schedule.len());
            let wake = self.schedule.wake_at(away).map(|at| self.began + at);
            tokio::select! {
                Some((id, fate)) = sending.next() => self.returned(&id, fate).await,
                received = mail.recv(), if open => match received {
                    Some(message) => self.take(message),
                    None => open = false,
                },
                () = sleep_until(wake) => {}
            }
        }
        self.unreported.send_replace(0);
    }

    fn take(&mut self, message: Mail) {
        let now = self.began.elapsed();
        match message {
            Mail::Nudge => self.schedule.nudge(now),
            Mail::Finished(finished) => {
                let id = finished.id.clone();
                self.held.insert(id.clone(), finished);
                self.schedule.add(id, now);
            }
        }
    }

    /// What to send. The first attempt takes the result out of memory if the journal has it.
    fn finished(&mut self, id: JobId) -> Finished {
        match self.held.get(&id) {
            Some(held) if !held.journalled => held.clone(),
            Some(_) | None => self.held.remove(&id).unwrap_or(Finished {
                id,
                fresh: None,
                journalled: true,
            }),
        }
    }

    async fn returned(&mut self, id: &JobId, fate: Fate) {
        let now = self.began.elapsed();
        match fate {
            Fate::Settled => {
                self.schedule.settled(id);
                self.held.remove(id);
            }
            Fate::Later { after } => self.schedule.failed(id, now, after, rand::random()),
            Fate::Refused { why } => match self.schedule.refused(id, now) {
                Some(cut) => warn!(job = %id, ?cut, why, "Gateway job result was refused; sending it in another form"),
                None => self.give_up(id, &why).await,
            },
            Fate::Missing => {
                warn!(job = %id, "Gateway job has no result to report");
                self.schedule.settled(id);
            }
        }
    }

    /// Even the bare failure was refused: the result stays in the journal for a person.
    async fn give_up(&mut self, id: &JobId, why: &str) {
        tracing::error!(job = %id, why, "Gateway job result was refused for good; it stays in the journal");
        if let Err(error) = self.journal.set_aside(id, why).await {
            warn!(job = %id, %error, "Failed to set the refused result aside");
        }
        self.schedule.settled(id);
        self.held.remove(id);
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn attempt(jobs: Jobs, runs: Runs, journal: Journal, (finished, cut): (Finished, Cut)) -> (JobId, Fate) {
    let id = finished.id;
    let ending = match finished.fresh {
        Some(fresh) => Some(Arc::unwrap_or_clone(fresh)),
        None => match journal.outcome(&id).await {
            Ok(stored) => stored,
            Err(error) => {
                warn!(job = %id, %error, "Failed to read a result from the journal");
                return (id, Fate::Later { after: None });
            }
        },
    };
    let Some((outcome, mut timeline)) = ending else {
        return (id, Fate::Missing);
    };
    cut.trim(&mut timeline);
    let fate = match close::run_first(&runs, &jobs, &id, cut.apply(outcome)).await {
        Ok(outcome) => match jobs.complete(&id, &Completion::new(outcome, &timeline)).await {
            Ok(done) => delivered(&id, done),
            Err(error) => failed(&id, &error),
        },
        Err(error) => failed(&id, &error),
    };
    if matches!(fate, Fate::Settled)
        && finished.journalled
        && let Err(error) = journal.reported(&id).await
    {
        // It will be sent once more after the next start, which is harmless.
        warn!(job = %id, %error, "Failed to note a delivered result in the journal");
    }
    (id, fate)
}

fn delivered(id: &JobId, done: Completed) -> Fate {
    match done {
        Completed::Applied => {
            debug!(job = %id, "Gateway job result delivered");
            Fate::Settled
        }
        // The row was read after the write and changed in between: the write has to be repeated.
        Completed::NotRunning(Some(JobStatus::Running)) => Fate::Later { after: None },
        Completed::NotRunning(status) => {
            let status = status.map_or("gone", JobStatus::as_str);
            info!(job = %id, status, "Gateway job had ended on the control plane already");
            Fate::Settled
        }
    }
}

fn failed(id: &JobId, error: &BackendError) -> Fate {
    if error.is_refused_payload() {
        return Fate::Refused { why: error.to_string() };
    }
    warn!(job = %id, %error, "Failed to update gateway job result; it will be sent again");
    Fate::Later {
        after: error.retry_after(),
    }
}
