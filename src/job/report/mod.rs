//! The outbox: results from the journal to the control plane, until they are known to have arrived.
//!
//! A result is on disk before it comes here. It leaves when the control plane confirmed it, or said that the row is
//! final already. A result it refuses is sent shorter, then as a failure. What nobody takes is set aside for a person.

mod close;
mod cut;
mod schedule;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::backend::jobs::{Completed, Completion};
use crate::backend::{BackendError, Jobs, Runs};
use crate::domain::clock;
use crate::domain::ids::JobId;
use crate::domain::job::{Ingress, JobOutcome, JobStatus, Timeline};
use crate::state::journal::{Journal, JournalError, Known};
use crate::wire::local::SetAside;

pub use cut::Cut;
pub use schedule::Schedule;

/// Messages to the reporter that may wait.
pub const MAILBOX: usize = 1_024;

const GONE: &str = "the control plane has no row of this job, or does not show it";
const UNREADABLE: &str = "Gateway could not read the stored result of this job";

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
    /// Somebody else has set results aside.
    Recount,
}

/// What has not arrived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outbox {
    /// Results that are on their way.
    pub unreported: usize,
    /// Results that are not sent any more.
    pub set_aside: Option<SetAside>,
}

enum Fate {
    Settled,
    Later {
        after: Option<Duration>,
    },
    Refused {
        why: String,
    },
    /// There is no such row, as far as we are shown.
    Gone,
    /// The journal cannot be read there; the row says so by now.
    Unreadable {
        why: String,
    },
    /// It has arrived, and the journal has no room for that.
    Unnoted,
    /// Neither in memory nor in the journal.
    Missing,
}

/// The way from the journal to the control plane.
#[derive(Debug, Clone)]
struct Route {
    jobs: Jobs,
    runs: Runs,
    journal: Journal,
}

/// The outbox's driver; see the module's head.
#[derive(Debug)]
pub struct Reporter {
    route: Route,
    schedule: Schedule,
    held: HashMap<JobId, Finished>,
    /// Those in memory that have arrived, and are yet to be noted.
    arrived: HashSet<JobId>,
    began: Instant,
    set_aside: Option<SetAside>,
    outbox: watch::Sender<Outbox>,
}

impl Reporter {
    /// A reporter with nothing to send. `outbox` follows what has not arrived.
    #[must_use]
    pub fn new(jobs: Jobs, runs: Runs, journal: Journal, outbox: watch::Sender<Outbox>) -> Self {
        Self {
            route: Route { jobs, runs, journal },
            schedule: Schedule::default(),
            held: HashMap::new(),
            arrived: HashSet::new(),
            began: Instant::now(),
            set_aside: None,
            outbox,
        }
    }

    /// Sends until every sender of `mail` is gone and everything arrived.
    pub async fn run(mut self, mut mail: mpsc::Receiver<Mail>) {
        let mut sending = FuturesUnordered::new();
        let mut open = true;
        self.recount().await;
        while open || !self.schedule.is_empty() {
            let away = self.route.jobs.is_away();
            while let Some((id, cut)) = self.schedule.take_due(self.began.elapsed(), away) {
                let has_arrived = self.arrived.contains(&id);
                let route = self.route.clone();
                sending.push(route.attempt(self.finished(id), cut, has_arrived));
            }
            self.publish();
            let wake = self.schedule.wake_at(away).map(|at| self.began + at);
            tokio::select! {
                Some((id, fate)) = sending.next() => self.returned(&id, fate).await,
                received = mail.recv(), if open => match received {
                    Some(message) => self.take(message).await,
                    None => open = false,
                },
                () = sleep_until(wake) => {}
            }
        }
        self.publish();
    }

    fn publish(&self) {
        self.outbox.send_replace(Outbox {
            unreported: self.schedule.len(),
            set_aside: self.set_aside.clone(),
        });
    }

    async fn recount(&mut self) {
        match self.route.journal.counts().await {
            Ok(counts) => {
                self.set_aside = (counts.set_aside > 0).then(|| SetAside {
                    results: counts.set_aside,
                    reason: counts.latest_reason.unwrap_or_default(),
                });
            }
            Err(error) => warn!(%error, "Failed to count the results that were set aside"),
        }
    }

    async fn take(&mut self, message: Mail) {
        let now = self.began.elapsed();
        match message {
            Mail::Nudge => self.schedule.nudge(now),
            Mail::Recount => self.recount().await,
            Mail::Finished(finished) => {
                let id = finished.id.clone();
                self.arrived.remove(&id);
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
            Fate::Settled => self.settled(id),
            Fate::Later { after } => self.schedule.failed(id, now, after, rand::random()),
            Fate::Refused { why } => match self.schedule.refused(id, now) {
                Some(cut) => warn!(job = %id, ?cut, why, "Gateway job result was refused; sending it in another form"),
                None => self.give_up(id, &why).await,
            },
            Fate::Gone => {
                if !self.schedule.in_vain(id, now, rand::random()) {
                    self.give_up(id, GONE).await;
                }
            }
            Fate::Unreadable { why } => self.give_up(id, &why).await,
            Fate::Unnoted => {
                self.arrived.insert(id.clone());
                if !self.schedule.in_vain(id, now, rand::random()) {
                    warn!(job = %id, "The journal stays full; a delivered result is told once more after the next start");
                    self.settled(id);
                }
            }
            Fate::Missing => {
                warn!(job = %id, "Gateway job has no result to report");
                self.settled(id);
            }
        }
    }

    fn settled(&mut self, id: &JobId) {
        self.schedule.settled(id);
        self.held.remove(id);
        self.arrived.remove(id);
    }

    /// Nobody takes it: it stays in the journal for a person.
    async fn give_up(&mut self, id: &JobId, why: &str) {
        match self.keep(id, why).await {
            Ok(()) => warn!(job = %id, why, "Gateway job result is not sent any more; it stays in the journal"),
            Err(error) => tracing::error!(job = %id, why, %error, "Gateway job result is lost: nobody takes it"),
        }
        self.settled(id);
        self.recount().await;
    }

    async fn keep(&self, id: &JobId, why: &str) -> Result<(), JournalError> {
        let journal = &self.route.journal;
        if let Some(Finished {
            fresh: Some(end),
            journalled: false,
            ..
        }) = self.held.get(id)
        {
            journal.finished(id, &end.0, &end.1).await?;
        }
        journal.set_aside(id, why).await
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Route {
    /// Sends a result, or, where it has arrived, only notes that.
    async fn attempt(self, finished: Finished, cut: Cut, has_arrived: bool) -> (JobId, Fate) {
        let Finished { id, fresh, journalled } = finished;
        if has_arrived {
            let fate = self.note(&id, journalled).await;
            return (id, fate);
        }
        let (end, unreadable) = match fresh {
            Some(fresh) => (Arc::unwrap_or_clone(fresh), None),
            None => match self.stored(&id).await {
                Ok(stored) => stored,
                Err(fate) => return (id, fate),
            },
        };
        let fate = match (self.deliver(&id, end, cut).await, unreadable) {
            (Fate::Settled, Some(why)) => Fate::Unreadable { why },
            (Fate::Settled, None) => self.note(&id, journalled).await,
            (other, _) => other,
        };
        (id, fate)
    }

    /// The end as the journal has it; a failure, and why, where it can never be read.
    async fn stored(&self, id: &JobId) -> Result<((JobOutcome, Timeline), Option<String>), Fate> {
        match self.journal.outcome(id).await {
            Ok(Known::Ended(end)) => Ok((*end, None)),
            Ok(Known::Nothing | Known::Open | Known::Reported) => Err(Fate::Missing),
            Err(error) if error.is_unreadable() => {
                let steps = Timeline::received(Ingress::Poll, clock::now());
                let outcome = JobOutcome::failed(format!("{UNREADABLE}: {error}"), []);
                Ok(((outcome, steps), Some(error.to_string())))
            }
            Err(error) => {
                warn!(job = %id, %error, "Failed to read a result from the journal");
                Err(Fate::Later { after: None })
            }
        }
    }

    async fn deliver(&self, id: &JobId, (outcome, mut timeline): (JobOutcome, Timeline), cut: Cut) -> Fate {
        cut.trim(&mut timeline);
        let sent = async {
            let outcome = close::run_first(&self.runs, &self.jobs, id, cut.apply(outcome)).await?;
            self.jobs.complete(id, &Completion::new(outcome, &timeline)).await
        };
        match sent.await {
            Ok(done) => delivered(id, done),
            Err(error) => failed(id, &error),
        }
    }

    /// Writes down that it has arrived. Where it was sent from memory its claim may be in the journal all the same,
    /// and would be taken for a job that was cut off.
    async fn note(&self, id: &JobId, journalled: bool) -> Fate {
        let noted = if journalled {
            self.journal.reported(id).await
        } else {
            self.journal.reported_now(id).await
        };
        match noted {
            Ok(()) => Fate::Settled,
            Err(error) if error.is_full() => Fate::Unnoted,
            Err(error) => {
                // It will be sent once more after the next start, which is harmless.
                warn!(job = %id, %error, "Failed to note a delivered result in the journal");
                Fate::Settled
            }
        }
    }
}

fn delivered(id: &JobId, done: Completed) -> Fate {
    match done {
        Completed::Applied => {
            debug!(job = %id, "Gateway job result delivered");
            Fate::Settled
        }
        // The row was read after the write and changed in between: the write has to be repeated.
        Completed::NotRunning(Some(JobStatus::Running)) => Fate::Later { after: None },
        Completed::NotRunning(Some(status)) => {
            let status = status.as_str();
            info!(job = %id, status, "Gateway job had ended on the control plane already");
            Fate::Settled
        }
        // Deleted, or hidden from us for a moment.
        Completed::NotRunning(None) => Fate::Gone,
    }
}

fn failed(id: &JobId, error: &BackendError) -> Fate {
    if error.is_refused_payload() {
        return Fate::Refused { why: error.to_string() };
    }
    warn!(job = %id, %error, "Failed to update gateway job result; it will be sent again");
    let after = match error {
        // The login rests by itself; what waits for it goes on as soon as the control plane is there again.
        BackendError::NotRefreshed { .. } => None,
        BackendError::Http(_)
        | BackendError::Status { .. }
        | BackendError::Unexpected { .. }
        | BackendError::SessionLost(_) => error.retry_after(),
    };
    Fate::Later { after }
}
