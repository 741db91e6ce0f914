//! One run of an agent CLI, whoever asked for it: planned, started, watched, ended for certain, judged, counted.
//!
//! A [`Turn`] says what is wanted, an [`Observer`] hears what happens, a [`Report`] says what came of it. Providers
//! come in through [`Driver`] alone. Everything a run starts carries its mark, so that what has left the process
//! group of the CLI can be found and ended with it.

mod answer;
mod attempt;
mod droppings;
mod environment;
mod pulse;
mod report;
pub mod retry;
mod scratch;
mod spent;
mod temp;
mod totals;
mod turns;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use self::attempt::{Attempt, Start};
use self::retry::{Reason, Retry};
use self::scratch::Scratch;
use self::spent::Spent;
use self::totals::{Began, Totals};
use self::turns::Turns;
use crate::domain::clock;
use crate::domain::limits::OUTPUT_LIMIT_BYTES;
use crate::domain::redact;
use crate::domain::run::{FailureKind, RunEvent, RunFailure};
use crate::process::env::ChildEnv;
use crate::provider::ProviderId;
use crate::provider::capability::Features;
use crate::provider::driver::{Check, Driver};
use crate::provider::plan::Format;
use crate::provider::request::{Access, OutputForm, RunRequest, Session};
use crate::state::fs::{FsError, OwnerDir};

pub use self::environment::environment;
pub use self::report::{Boundary, CommandLine, How, Observer, Process, Report};
pub use self::temp::clear_temp;

/// Runs agents. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Agents(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    work: OwnerDir,
    driver: Arc<dyn Driver>,
    turns: Turns,
    totals: Totals,
}

/// Time and space of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The whole run, with waiting for its session and every attempt.
    pub total: Duration,
    /// Silence of an agent that reports as it works.
    pub idle: Duration,
    /// Silence while one of its tools works.
    pub tool_idle: Duration,
    /// Silence while its model API refuses it, which it tells on stderr alone: longer than a quota by the minute.
    pub refused_idle: Duration,
    /// Between the polite and the final signal.
    pub grace: Duration,
    /// Bytes of an answer.
    pub output: usize,
    /// Bytes of stdout kept for people.
    pub keep: usize,
}

impl Limits {
    /// The usual limits within `total`.
    #[must_use]
    pub const fn within(total: Duration) -> Self {
        Self {
            total,
            idle: Duration::from_secs(300),
            tool_idle: Duration::from_secs(900),
            refused_idle: Duration::from_secs(90),
            grace: Duration::from_secs(5),
            output: OUTPUT_LIMIT_BYTES,
            keep: 0,
        }
    }
}

/// One turn of an agent.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Whose agent.
    pub provider: ProviderId,
    /// Its program, a path or a bare name.
    pub command: String,
    /// What that program is known to be able to do.
    pub features: Features,
    /// Its version text.
    pub version: Option<String>,
    /// What is asked; the scratch directory is filled in here.
    pub request: RunRequest,
    /// Names below the work directory that make the run's own directory, at least two.
    pub place: Vec<String>,
    /// Where the agent works; none gives it an empty directory that goes with the run.
    pub cwd: Option<PathBuf>,
    /// Environment, before what the plan adds.
    pub env: ChildEnv,
    /// Unique; carried by everything the run starts.
    pub mark: String,
    /// Time and space.
    pub limits: Limits,
    /// Further attempts.
    pub retry: Retry,
}

impl Agents {
    /// Runs agents in `work` below the state directory, through `driver`.
    ///
    /// # Errors
    /// [`FsError`] when the work directory cannot be made.
    pub fn new(state: &Arc<OwnerDir>, driver: Arc<dyn Driver>) -> Result<Self, FsError> {
        Ok(Self(Arc::new(Shared {
            work: state.sub("work")?,
            driver,
            turns: Turns::default(),
            totals: Totals::new(Arc::clone(state)),
        })))
    }

    /// Removes what runs of an earlier life have left below `name`. Nothing may run there.
    pub fn clear(&self, name: &str) {
        scratch::remove(&self.0.work.path().join(name));
    }

    /// Runs one turn to its end. `stop` ends it early: nothing of it is alive when this returns.
    pub async fn run(&self, turn: &Turn, stop: &CancellationToken, observer: &mut dyn Observer) -> Report {
        let mut run = Run {
            shared: &self.0,
            turn,
            stop,
            began: Instant::now(),
            request: turn.request.clone(),
            check: None,
            retries: Vec::new(),
            spent: Spent::default(),
        };
        if let OutputForm::Json { schema: Some(schema) } = &turn.request.output {
            let (driver, schema) = (Arc::clone(&self.0.driver), schema.clone());
            match answer::aside(move || driver.schema(&schema)).await {
                Ok(check) => run.check = Some(check),
                Err(failure) => return run.report(Attempt::without_process(How::Refused, failure)),
            }
        }
        let key = match &run.request.session {
            Session::Ephemeral => None,
            Session::New(id) | Session::Resume(id) => Some(run.key(id)),
        };
        let waited = match &key {
            None => Ok(None),
            Some(key) => run.enter(key).await.map(Some),
        };
        let attempt = match &waited {
            Ok(_turn_at_work) => run.attempts(observer).await,
            Err((how, failure)) => Attempt::without_process(*how, failure.clone()),
        };
        run.report(attempt)
    }
}

struct Run<'a> {
    shared: &'a Shared,
    turn: &'a Turn,
    stop: &'a CancellationToken,
    began: Instant,
    request: RunRequest,
    check: Option<Check>,
    retries: Vec<Reason>,
    /// What attempts before the last one took.
    spent: Spent,
}

impl Run<'_> {
    fn deadline(&self) -> Instant {
        self.began + self.turn.limits.total
    }

    fn key(&self, session: &str) -> String {
        format!("{} {session}", self.turn.provider.wire())
    }

    /// Waits for other turns of the session.
    async fn enter(&self, key: &str) -> Result<tokio::sync::OwnedMutexGuard<()>, (How, RunFailure)> {
        let total = self.turn.limits.total;
        let how = tokio::select! {
            () = self.stop.cancelled() => How::Cancelled,
            entered = timeout_at(self.deadline(), self.shared.turns.enter(key)) => match entered {
                Ok(Ok(turn)) => return Ok(turn),
                Ok(Err(crowded)) => {
                    return Err((How::Refused, RunFailure::new(FailureKind::Session, crowded.to_string())));
                }
                Err(_elapsed) => How::TimedOut(total),
            },
        };
        let failure = how.failure(self.turn.limits.output).unwrap_or_else(attempt::cancelled);
        Err((how, failure))
    }

    async fn attempts(&mut self, observer: &mut dyn Observer) -> Attempt {
        let max = self.turn.retry.attempts;
        loop {
            let made = u32::try_from(self.retries.len()).unwrap_or(u32::MAX).saturating_add(1);
            observer.event(progress(
                "attempt_started",
                json!({"attempt": made, "max_attempts": max}),
            ));
            let mut attempt = self.attempt(observer).await;
            let Some((reason, delay)) = self.again(made, &attempt) else {
                return attempt;
            };
            self.spent.add(&mut attempt.end);
            let delay_ms = clock::millis(delay);
            let details =
                json!({"attempt": made, "max_attempts": max, "reason": reason.as_str(), "delay_ms": delay_ms});
            observer.event(progress("retry_scheduled", details));
            tokio::select! {
                () = sleep(delay) => {}
                () = self.stop.cancelled() => return Attempt::without_process(How::Cancelled, attempt::cancelled()),
            }
            self.retries.push(reason);
            self.renew_session();
        }
    }

    /// One attempt, with its answer checked and its figures settled.
    async fn attempt(&mut self, observer: &mut dyn Observer) -> Attempt {
        let scratch = match Scratch::create(&self.shared.work, &self.turn.place) {
            Ok(scratch) => scratch,
            Err(error) => {
                let failure = RunFailure::new(FailureKind::Crash, error.to_string());
                return Attempt::without_process(How::Refused, failure);
            }
        };
        self.request.scratch = scratch.files().to_path_buf();
        let driver = &*self.shared.driver;
        let start = Start {
            turn: self.turn,
            driver,
            request: &self.request,
            scratch: &scratch,
            deadline: self.deadline(),
            stop: self.stop,
        };
        let mut attempt = start.run(observer).await;
        let got = attempt.end.session_id.clone();
        attempt.end.answer = match attempt.end.answer {
            Ok(answer) => answer::checked(answer, &self.request, self.check.as_ref()).await,
            Err(failure) => Err(failure),
        }
        .and_then(|answer| answer::same_session(&self.request.session, got.as_deref()).map(|()| answer));
        let began = match self.request.session {
            Session::Ephemeral => None,
            Session::New(_) => Some(Began::Now),
            Session::Resume(_) => Some(Began::Before),
        };
        if let (Some(began), Some(session)) = (began, got) {
            self.shared.totals.settle(&self.key(&session), began, &mut attempt.end);
        }
        attempt
    }

    /// Why and after which pause to try again. Never after a tool ran: what it did would be done twice.
    fn again(&self, made: u32, attempt: &Attempt) -> Option<(Reason, Duration)> {
        let silent = match attempt.how {
            How::Ended => false,
            How::Silent(_) => true,
            How::Refused | How::NotStarted | How::TimedOut(_) | How::TooMuch(_) | How::Cancelled => return None,
        };
        // Plain text says nothing of tools.
        let is_plain = |process: &Process| process.command.format == Format::Text;
        let unseen = self.request.access != Access::Answer && attempt.process.as_ref().is_some_and(is_plain);
        if attempt.end.tool_ran || unseen || self.stop.is_cancelled() {
            return None;
        }
        let kind = attempt.end.answer.as_ref().err()?.kind;
        let reason = self.turn.retry.reason(made, kind, silent)?;
        let delay = self.turn.retry.delay(made, rand::random());
        (Instant::now() + delay < self.deadline()).then_some((reason, delay))
    }

    /// A session that was begun by a failed attempt cannot be begun again.
    fn renew_session(&mut self) {
        if let Session::New(id) = &mut self.request.session {
            *id = uuid::Uuid::new_v4().to_string();
        }
    }

    fn report(mut self, attempt: Attempt) -> Report {
        let Attempt { how, mut end, process } = attempt;
        self.spent.add(&mut end);
        let Spent { usage, cost_usd } = self.spent;
        Report {
            how,
            // The words of a CLI go to rows, logs and heartbeats; some of them quote the key they were given.
            answer: end.answer.map_err(|failure| RunFailure {
                message: redact::text(&failure.message),
                ..failure
            }),
            session_id: end.session_id,
            model: end.model,
            usage,
            cost_usd,
            tool_ran: end.tool_ran,
            metadata: end.metadata,
            process,
            retries: self.retries,
            max_attempts: self.turn.retry.attempts,
            duration: self.began.elapsed(),
        }
    }
}

fn progress(phase: &str, details: Value) -> RunEvent {
    RunEvent::Progress {
        phase: phase.to_owned(),
        details: match details {
            Value::Object(details) => details,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                serde_json::Map::new()
            }
        },
    }
}
