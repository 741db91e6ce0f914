//! `shell_session`: one action on a shell that outlives the job: open, write, read, status, resize, close.
//!
//! A session talks over pipes, where stdout and stderr stay apart, or with `pty: true` on a terminal, whose output is
//! all stdout. It lives in memory and ends with the daemon. Bounds: 64 sessions run at once and 64 that are over are
//! kept, each with at most 800 events of 1,000,000 bytes; what is over is forgotten after 15 minutes; a write has at
//! most 256 KiB and 10 s; a session nobody asks about for 24 hours (or `idle_timeout_ms`) is closed.
//!
//! Beside the documented keys: `input_base64` carries input that is no text, `eof` ends the input, `signal` in every
//! summary tells which signal ended the shell, and a write that ran out of time says in `bytes_written` how far it got.

mod events;
mod input;
mod ledger;
mod request;
mod session;
mod sessions;
mod watch;

use std::sync::Arc;

use serde_json::{Map, Value, json};

pub use self::sessions::Sessions;
pub use self::watch::Watch;

use self::input::{MAX_WRITE, WriteError};
use self::request::{Action, DEFAULT_SIZE, Invalid, Opening, Reading, Writing, text};
use self::session::{Session, Status, Why};
use self::sessions::{MAX_RUNNING, OpenError, Owner};
use crate::domain::job::{Job, JobOutcome};
use crate::job::audit;
use crate::job::handler::gate::Gate;
use crate::job::handler::{Context, JobLife, StopReason};
use crate::job::policy::{self, Access, Layer, Refusal};
use crate::process::interactive::Link;

type Payload = Map<String, Value>;

/// One job at work.
struct Call<'a> {
    job: &'a Job,
    cx: &'a Context,
    life: &'a JobLife,
    gate: Gate<'a>,
}

/// Runs one `shell_session` job.
pub async fn run(job: &Job, cx: &Context, life: &JobLife) -> JobOutcome {
    cx.sessions.purge();
    match life.stop_reason() {
        Some(StopReason::Cancelled) => {
            let text = "Gateway shell session job was cancelled before execution";
            return JobOutcome::failed(text, [("cancelled", Value::Bool(true))]);
        }
        Some(StopReason::Shutdown(_)) => return life.cancelled(),
        None => {}
    }
    let gate = Gate::of(cx, life);
    Call { job, cx, life, gate }
        .run()
        .await
        .unwrap_or_else(|refused| refused)
}

impl Call<'_> {
    async fn run(&self) -> Result<JobOutcome, JobOutcome> {
        self.machine_control().await?;
        let payload = &self.job.payload;
        let action = Action::read(payload).ok_or_else(|| refused("Invalid shell session action"))?;
        let resource_id = text(payload, "resource_id").ok_or_else(|| refused("Missing resource_id in payload"))?;
        if action == Action::Open {
            return self.open(resource_id).await;
        }
        let session = self.session(resource_id)?;
        self.resource_of(&session, action).await?;
        session.asked();
        match action {
            Action::Write => self.write(&session).await,
            Action::Resize => self.resize(&session).await,
            Action::Read => Ok(read(&session, payload)),
            Action::Close => {
                session.close(Why::Request).await;
                self.life.held(session.held());
                Ok(done("Shell session closed", &session, []))
            }
            Action::Status | Action::Open => Ok(done("Shell session status", &session, [])),
        }
    }

    /// Host, team, service and heartbeat. A session that is asked about does not outlive the word of host and team that
    /// allowed it; [`Watch`] sees to the others.
    async fn machine_control(&self) -> Result<(), JobOutcome> {
        let gate = &self.gate;
        let Err(refusal) = policy::machine_control(&gate.gateway, gate.host_enabled, gate.server_now) else {
            return Ok(());
        };
        let withdrawn = match refusal.layer() {
            Layer::Host | Layer::Team => true,
            Layer::Resource | Layer::Service | Layer::Heartbeat => false,
        };
        let named = text(&self.job.payload, "session_id").and_then(|id| self.cx.sessions.find(id));
        if let Some(session) = named.filter(|session| withdrawn && self.owns(session)) {
            session.close(Why::Reason(refusal.to_string())).await;
        }
        Err(refused(&refusal.to_string()))
    }

    fn resource(&self, id: &str, access: Access) -> Result<(), Refusal> {
        let ours = (&self.gate.identity.team_id, &self.gate.identity.gateway_id);
        policy::remote_shell(self.gate.resource(id), &self.gate.gateway, ours, access)
    }

    fn owns(&self, session: &Session) -> bool {
        session.about.owner == *self.gate.identity
    }

    /// The session that the payload names, if it is this resource's.
    fn session(&self, resource_id: &str) -> Result<Arc<Session>, JobOutcome> {
        let id = text(&self.job.payload, "session_id").ok_or_else(|| refused("Missing session_id in payload"))?;
        let refused = |why: &str| JobOutcome::failed(why, [("session_id", Value::from(id))]);
        let found = self.cx.sessions.find(id);
        let session = found.ok_or_else(|| refused("Shell session not found or expired"))?;
        if !self.owns(&session) {
            return Err(refused("Shell session belongs to another gateway context"));
        }
        if session.about.resource_id != resource_id {
            return Err(refused("Shell session resource mismatch"));
        }
        Ok(session)
    }

    /// A session whose resource was withdrawn is closed by whoever finds out.
    async fn resource_of(&self, session: &Session, action: Action) -> Result<(), JobOutcome> {
        let access = match action {
            Action::Read | Action::Status => Access::Read,
            Action::Open | Action::Write | Action::Close | Action::Resize => Access::Write,
        };
        let Err(refusal) = self.resource(&session.about.resource_id, access) else {
            return Ok(());
        };
        let why = refusal.to_string();
        session.close(Why::Reason(why.clone())).await;
        Err(failed(&why, session))
    }

    async fn open(&self, resource_id: &str) -> Result<JobOutcome, JobOutcome> {
        let named = |why: &str| JobOutcome::failed(why, [("resource_id", Value::from(resource_id))]);
        self.resource(resource_id, Access::Write)
            .map_err(|refusal| named(&refusal.to_string()))?;
        let opening = Opening::read(&self.job.payload).map_err(misunderstood)?;
        let owner = Owner {
            identity: self.gate.identity,
            resource_id: resource_id.to_owned(),
            env: &self.cx.child_env,
            life: self.life,
            secrets: self.cx.outgoing.needles(),
            mark: self.job.id.as_str(),
        };
        let session = self
            .cx
            .sessions
            .open(&opening, owner)
            .await
            .map_err(|error| match error {
                OpenError::TooMany => {
                    JobOutcome::failed(error.to_string(), [("max_active_sessions", Value::from(MAX_RUNNING))])
                }
                OpenError::Taken | OpenError::NoId | OpenError::Spawn(_) => named(&error.to_string()),
            })?;
        let about = &session.about;
        let line = std::iter::once(&about.shell).chain(&about.shell_args);
        let line = line.map(String::as_str).collect::<Vec<_>>().join(" ");
        let what = [
            ("action", "open".into()),
            ("session", about.id.clone().into()),
            ("command", audit::command(&line)),
            ("cwd", about.cwd.clone().into()),
        ];
        self.cx.audit.begins(self.job, what);
        self.life.held(session.held());
        // A shell that cannot even begin has ended by now.
        tokio::task::yield_now().await;
        if self.life.stop.is_cancelled() {
            // Nobody learns its id.
            session.close(Why::Request).await;
            return Err(self.life.cancelled());
        }
        if session.status() != Status::Running {
            return Err(ended_at_once(&session));
        }
        let size = [
            ("default_columns", json!(DEFAULT_SIZE.columns)),
            ("default_rows", json!(DEFAULT_SIZE.rows)),
            ("pty", json!(opening.link != Link::Pipes)),
        ];
        Ok(done("Shell session opened", &session, size))
    }

    async fn write(&self, session: &Session) -> Result<JobOutcome, JobOutcome> {
        let writing = Writing::read(&self.job.payload).map_err(misunderstood)?;
        let bytes = writing.bytes.len();
        if bytes > MAX_WRITE {
            let why = format!("Shell session input is too large ({bytes} bytes, max {MAX_WRITE})");
            return Err(failed(&why, session));
        }
        writable(session)?;
        self.noted(session, &writing);
        let stop = &self.life.stop;
        let mut written = session.keyboard.write(&writing.bytes, stop).await;
        if written.is_ok() && writing.eof {
            written = session.keyboard.end(stop).await;
        }
        if stop.is_cancelled() && written.is_err() {
            return Err(self.life.cancelled());
        }
        written.map_err(|error| not_written(&error, session))?;
        let more = [
            ("bytes_written", json!(bytes)),
            ("append_newline", json!(writing.append_newline)),
        ];
        Ok(done("Shell session input sent", session, more))
    }

    /// What is typed on a terminal may be a password, so only its length is written down.
    fn noted(&self, session: &Session, writing: &Writing) {
        let text = String::from_utf8_lossy(&writing.bytes);
        let what = [
            ("action", "write".into()),
            ("session", session.about.id.clone().into()),
            ("bytes", writing.bytes.len().into()),
            ("input", session.size().is_none().then(|| audit::command(&text)).into()),
        ];
        self.cx.audit.begins(self.job, what);
    }

    async fn resize(&self, session: &Session) -> Result<JobOutcome, JobOutcome> {
        writable(session)?;
        let Some(now) = session.size() else {
            return Err(failed("Unsupported shell session action: resize", session));
        };
        let size = request::size(&self.job.payload, now).map_err(misunderstood)?;
        session
            .keyboard
            .resize(size)
            .await
            .map_err(|error| failed(&format!("Failed to resize shell session: {error}"), session))?;
        session.resized(size);
        let more = [("columns", json!(size.columns)), ("rows", json!(size.rows))];
        Ok(done("Shell session resized", session, more))
    }
}

fn read(session: &Session, payload: &Payload) -> JobOutcome {
    let Reading { since, max } = Reading::read(payload);
    // The summary first: what it says of the end is then never ahead of the events.
    let mut fields = session.summary();
    let (events, has_more) = session.read(since, usize::try_from(max).unwrap_or(usize::MAX));
    fields.insert("since_sequence".to_owned(), json!(since));
    fields.insert("max_events".to_owned(), json!(max));
    fields.insert("has_more".to_owned(), json!(has_more));
    fields.insert("events".to_owned(), json!(events));
    completed("Shell session output", fields)
}

fn writable(session: &Session) -> Result<(), JobOutcome> {
    let status = session.status();
    if status == Status::Running {
        return Ok(());
    }
    let why = format!("Shell session is not writable (status: {})", status.as_str());
    Err(failed(&why, session))
}

fn ended_at_once(session: &Session) -> JobOutcome {
    let summary = session.summary();
    let why = match summary.get("exit_code").and_then(Value::as_i64) {
        Some(code) => format!("Shell session exited during startup with code {code}"),
        None => "Shell session exited during startup".to_owned(),
    };
    failed(&why, session)
}

fn refused(why: &str) -> JobOutcome {
    JobOutcome::failed(why, [])
}

fn misunderstood(invalid: Invalid) -> JobOutcome {
    JobOutcome::failed(invalid.error, []).saying(invalid.message)
}

/// A refusal that shows the session.
fn failed(why: &str, session: &Session) -> JobOutcome {
    failed_with(why, session, [])
}

fn failed_with(why: &str, session: &Session, more: impl IntoIterator<Item = (&'static str, Value)>) -> JobOutcome {
    let mut result = Map::from_iter([("message".to_owned(), Value::from(why))]);
    result.extend(session.summary());
    result.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
    JobOutcome::Failed {
        result: result.into(),
        error: why.to_owned(),
    }
}

/// Whoever wrote to a shell that did not read goes on behind `bytes_written`.
fn not_written(error: &WriteError, session: &Session) -> JobOutcome {
    let taken = match error {
        WriteError::TimedOut { written, .. } => Some(("bytes_written", json!(written))),
        WriteError::System(_) | WriteError::Closed | WriteError::Stopped => None,
    };
    failed_with(&format!("Failed to write to shell session: {error}"), session, taken)
}

fn done(message: &str, session: &Session, more: impl IntoIterator<Item = (&'static str, Value)>) -> JobOutcome {
    let mut fields = session.summary();
    fields.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
    completed(message, fields)
}

fn completed(message: &str, fields: Map<String, Value>) -> JobOutcome {
    let mut result = Map::from_iter([("message".to_owned(), Value::from(message))]);
    result.extend(fields);
    JobOutcome::Completed { result: result.into() }
}
