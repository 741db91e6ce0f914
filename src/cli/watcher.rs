//! Waiting for a job: Realtime says when to look, polling looks anyway.

use std::convert::Infallible;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::backend::realtime::{Binding, Change};
use crate::backend::{BackendError, RealtimeEvent};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::operator::{Cancel, NewJob, Operator};
use crate::cli::output::Output;
use crate::domain::job::JobStatus;

/// How long a queued job may wait for a gateway.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// How long the control plane may be away while a job is watched.
const OUTAGE: Duration = Duration::from_secs(60);
/// What a running command may take beyond its own limit until its row is final.
const REPORTING: Duration = Duration::from_secs(60);
/// After this a silent wait is explained.
const LONG: Duration = Duration::from_secs(2);
const FIRST_LOOK: Duration = Duration::from_millis(15);
const SLOWEST_LOOK: Duration = Duration::from_secs(1);
/// With Realtime up, polling only covers what it might lose.
const LOOK_BESIDE_REALTIME: Duration = Duration::from_secs(2);

/// How long to wait for what; none waits for ever.
#[derive(Debug, Clone, Copy, Default)]
struct Patience {
    taken: Option<Instant>,
    ended: Option<Instant>,
}

impl Patience {
    fn of(limit: Duration) -> Self {
        let taken = Instant::now() + TAKEN_WITHIN;
        Self {
            taken: Some(taken),
            ended: Some(taken + limit + REPORTING),
        }
    }
}

/// What else is to be seen and done while a job is awaited.
pub(crate) trait Errand {
    /// Further rows to be told about.
    fn bindings(&self) -> Vec<Binding>;

    /// Hears of a changed row; whether that was all there is to it.
    fn heard(&mut self, change: &Change) -> bool;

    /// Looks at its rows. Comes after each look at the job, so that nothing is missed when the job has ended.
    async fn look(&mut self, operator: &Operator) -> Result<(), BackendError>;

    /// Takes back a job that no gateway took; whether that was so still.
    async fn take_back(&mut self, operator: &Operator, id: &str, why: &str) -> Result<bool, CliError>;
}

/// A job that stands for itself.
struct Alone;

impl Errand for Alone {
    fn bindings(&self) -> Vec<Binding> {
        Vec::new()
    }

    fn heard(&mut self, _change: &Change) -> bool {
        false
    }

    async fn look(&mut self, _operator: &Operator) -> Result<(), BackendError> {
        Ok(())
    }

    async fn take_back(&mut self, operator: &Operator, id: &str, why: &str) -> Result<bool, CliError> {
        Ok(operator.cancel(id, Cancel::Queued, why).await?.is_some())
    }
}

/// Writes a job and waits for its end. Ctrl-C cancels it, and so does a gateway that never takes it.
pub(crate) async fn run_to_end(
    operator: &Operator,
    job: &NewJob,
    limit: Duration,
    out: &Output,
) -> Result<Value, CliError> {
    let row = operator.insert(job).await?;
    let id = row.get("id").and_then(Value::as_str).unwrap_or_default();
    let mut alone = Alone;
    tokio::select! {
        row = follow(operator, id, limit, &mut alone) => row,
        never = say_what_takes_long(id, out) => match never {},
        _interrupted = tokio::signal::ctrl_c() => {
            operator.cancel(id, Cancel::Unfinished, "Interrupted by the operator").await?;
            Err(CliError::with(Exit::INTERRUPTED, "Interrupted; the job was cancelled."))
        }
    }
}

/// Output arrives with the end: a person at a terminal is told that the silence is no hang.
async fn say_what_takes_long(id: &str, out: &Output) -> Infallible {
    tokio::time::sleep(LONG).await;
    out.progress(&format!(
        "Waiting for job {id}; its output is shown at the end. Ctrl-C cancels it."
    ));
    std::future::pending().await
}

/// Waits for the end of a job, however long it takes.
pub(crate) async fn watch(operator: &Operator, id: &str) -> Result<Value, CliError> {
    until_final(operator, id, Patience::default(), &mut Alone).await
}

/// Waits for the end of a job that was written just now and may run for `limit`.
pub(crate) async fn follow(
    operator: &Operator,
    id: &str,
    limit: Duration,
    errand: &mut impl Errand,
) -> Result<Value, CliError> {
    until_final(operator, id, Patience::of(limit), errand).await
}

async fn until_final(
    operator: &Operator,
    id: &str,
    patience: Patience,
    errand: &mut impl Errand,
) -> Result<Value, CliError> {
    let mut realtime = operator.follow_with(id, errand.bindings());
    let mut subscribed = false;
    let mut pause = FIRST_LOOK;
    let mut next = Instant::now() + pause;
    let mut outage: Option<Instant> = None;
    loop {
        tokio::select! {
            event = realtime.next_event() => match event {
                RealtimeEvent::Subscribed => continue,
                RealtimeEvent::SystemOk => subscribed = true,
                RealtimeEvent::Change(change) if errand.heard(&change) => continue,
                RealtimeEvent::Change(_) => {}
                RealtimeEvent::Down { .. } => {
                    subscribed = false;
                    continue;
                }
            },
            () = tokio::time::sleep_until(next) => {}
        }
        match look(operator, id, errand).await {
            Ok(Some(row)) => {
                outage = None;
                if let Some(end) = judge(operator, &row, patience, errand).await? {
                    realtime.close().await;
                    return Ok(end);
                }
            }
            Ok(None) => return operator.job(id, "id").await,
            Err(error) if error.is_transient() && outage.get_or_insert_with(Instant::now).elapsed() < OUTAGE => {}
            Err(error) => return Err(operator.explain(&error)),
        }
        pause = next_pause(pause, subscribed);
        next = Instant::now() + pause;
    }
}

async fn look(operator: &Operator, id: &str, errand: &mut impl Errand) -> Result<Option<Value>, BackendError> {
    let row = operator.try_job(id, "id,status").await?;
    errand.look(operator).await?;
    Ok(row)
}

fn next_pause(pause: Duration, subscribed: bool) -> Duration {
    if subscribed {
        LOOK_BESIDE_REALTIME
    } else {
        (pause * 2).min(SLOWEST_LOOK)
    }
}

/// The whole row when it is final; an error when patience ended.
async fn judge(
    operator: &Operator,
    row: &Value,
    patience: Patience,
    errand: &mut impl Errand,
) -> Result<Option<Value>, CliError> {
    let id = row.get("id").and_then(Value::as_str).unwrap_or_default();
    let status = row
        .get("status")
        .and_then(|status| serde_json::from_value::<JobStatus>(status.clone()).ok());
    let over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| Instant::now() >= deadline);
    match status {
        Some(JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled) => operator.job(id, "*").await.map(Some),
        Some(JobStatus::Queued) if over(patience.taken) => give_up(operator, id, errand).await,
        Some(JobStatus::Running) if over(patience.ended) => Err(CliError::failed(
            "The job's time is over, but its gateway has not reported its end.",
        )
        .hint(format!(
            "`gateway status` on its host tells whether it runs; its next start ends the job\n\
             gateway job watch {id} waits on"
        ))),
        Some(JobStatus::Queued | JobStatus::Running) | None => Ok(None),
    }
}

/// Takes a queued job back. A gateway that took it in the same moment wins.
async fn give_up(operator: &Operator, id: &str, errand: &mut impl Errand) -> Result<Option<Value>, CliError> {
    if !errand.take_back(operator, id, "No gateway took the job").await? {
        return Ok(None);
    }
    Err(CliError::with(Exit::NOT_TAKEN, "No gateway took the job.")
        .detail(format!(
            "job {id} waited {} s and was cancelled",
            TAKEN_WITHIN.as_secs()
        ))
        .hint("on the host: gateway status, then gateway start"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rarer_and_are_rare_beside_realtime() {
        let mut pause = FIRST_LOOK;
        for _ in 0..20 {
            pause = next_pause(pause, false);
        }
        assert_eq!(pause, SLOWEST_LOOK);
        assert_eq!(next_pause(FIRST_LOOK, true), LOOK_BESIDE_REALTIME);
    }
}
