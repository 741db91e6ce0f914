//! The far end: every action is a job, written and awaited.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::terminal::Size;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::job_result;
use crate::cli::operator::{Cancel, NewJob, Operator};
use crate::cli::output::Output;

/// Most bytes sent at once; what is longer goes in parts.
pub(super) const MAX_INPUT: usize = 32 * 1024;
/// How long a gateway may leave a job lying.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// How long one action may take, its longest ladder included.
const ACTION: Duration = Duration::from_secs(60);
/// How long the control plane may be away.
const OUTAGE: Duration = Duration::from_secs(60);
/// A shell that nobody reads for so long has lost its operator.
const ABANDONED: Duration = Duration::from_mins(10);
/// Pauses between looks at a job.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const SLOWEST_LOOK: Duration = Duration::from_millis(500);
/// Pauses between reads of a shell: short while it talks or is typed to, longer while it is silent.
const BUSY: Duration = Duration::from_millis(20);
const SILENT: Duration = Duration::from_secs(1);

/// Whether the shell took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    Done,
    /// The shell has ended, or reads no more; what it said last is still to be read.
    Over,
    /// The shell is busy and did not read; so many bytes went in.
    Stuck(usize),
}

/// A shell on a gateway.
#[derive(Debug)]
pub(super) struct Remote {
    operator: Operator,
    gateway_id: String,
    resource_id: String,
    session_id: String,
    /// Something was typed: an answer is likely.
    stirred: Notify,
}

impl Remote {
    pub(super) fn new(operator: Operator, gateway_id: String, resource_id: String) -> Self {
        Self {
            operator,
            gateway_id,
            resource_id,
            session_id: String::new(),
            stirred: Notify::new(),
        }
    }

    /// Opens the shell; on a terminal where a size is given.
    pub(super) async fn open(&mut self, command: Option<&str>, size: Option<Size>) -> Result<(), CliError> {
        let mut payload = json!({
            "action": "open", "pty": size.is_some(), "idle_timeout_ms": ABANDONED.as_secs() * 1000,
            "shell_args": command.map_or_else(|| json!(["-l"]), |command| json!(["-lc", command])),
        });
        if let (Some(size), Some(members)) = (size, payload.as_object_mut()) {
            members.insert("columns".to_owned(), json!(size.columns));
            members.insert("rows".to_owned(), json!(size.rows));
        }
        let row = self.call(payload).await?;
        match text(&row, "/result/session_id") {
            // Also a shell that has ended already has something to say.
            Some(id) => id.clone_into(&mut self.session_id),
            None => return Err(job_result::failed(&row)),
        }
        Ok(())
    }

    /// Types bytes. Input of a program waits until the shell reads; on a terminal what nobody reads is dropped, as
    /// every terminal does, so that Ctrl-] is heard.
    pub(super) async fn write(&self, bytes: &[u8], on_terminal: bool) -> Result<Called, CliError> {
        for mut part in bytes.chunks(MAX_INPUT) {
            while !part.is_empty() {
                let taken = match self.send(typing(part)).await? {
                    Called::Over => return Ok(Called::Over),
                    Called::Stuck(taken) if !on_terminal => taken,
                    Called::Done | Called::Stuck(_) => part.len(),
                };
                part = part.get(taken..).unwrap_or_default();
            }
        }
        Ok(Called::Done)
    }

    /// Says that nothing more is typed.
    pub(super) async fn end_input(&self) -> Result<Called, CliError> {
        self.send(json!({"action": "write", "eof": true})).await
    }

    /// Tells the terminal its size.
    pub(super) async fn resize(&self, size: Size) -> Result<Called, CliError> {
        self.send(json!({"action": "resize", "columns": size.columns, "rows": size.rows}))
            .await
    }

    /// Ends the shell and everything it runs. Whoever calls is on the way out: the failure has no reader.
    pub(super) async fn close(&self) {
        drop(timeout(ACTION, self.call(json!({"action": "close"}))).await);
    }

    /// Shows what the shell says until it has ended; gives its exit code, none when nobody reads it any more.
    pub(super) async fn show(&self, out: &Output) -> Result<Option<Exit>, CliError> {
        let (mut seen, mut pause) = (0, BUSY);
        loop {
            let row = self
                .call(json!({"action": "read", "since_sequence": seen, "max_events": 1000}))
                .await?;
            let result = row.get("result").filter(|_| is_completed(&row));
            let result = result.ok_or_else(|| job_result::failed(&row))?;
            let before = seen;
            for event in result.get("events").and_then(Value::as_array).into_iter().flatten() {
                seen = show_event(event, seen, out);
            }
            let more = result.get("has_more") == Some(&Value::Bool(true));
            if out.stdout_gone() {
                return Ok(None);
            }
            if !more && text(result, "/status") != Some("running") {
                return ended(result).map(Some);
            }
            pause = if seen > before {
                BUSY
            } else {
                (pause * 3 / 2).min(SILENT)
            };
            if !more && timeout(pause, self.stirred.notified()).await.is_ok() {
                pause = BUSY;
                sleep(BUSY).await;
            }
        }
    }

    /// An action on a shell that may have ended in the meantime; then [`Self::show`] says so.
    async fn send(&self, payload: Value) -> Result<Called, CliError> {
        let row = self.call(payload).await?;
        self.stirred.notify_one();
        if is_completed(&row) {
            return Ok(Called::Done);
        }
        if let Some(taken) = row.pointer("/result/bytes_written").and_then(Value::as_u64) {
            return Ok(Called::Stuck(usize::try_from(taken).unwrap_or(usize::MAX)));
        }
        // A failure that shows the session is the session's own affair.
        match text(&row, "/result/status") {
            Some(_) => Ok(Called::Over),
            None => Err(job_result::failed(&row)),
        }
    }

    /// Writes a job and waits for its end; gives the final row.
    async fn call(&self, payload: Value) -> Result<Value, CliError> {
        let mut payload: Map<String, Value> = payload.as_object().cloned().unwrap_or_default();
        payload.insert("resource_id".to_owned(), json!(self.resource_id));
        if !self.session_id.is_empty() {
            payload.insert("session_id".to_owned(), json!(self.session_id));
        }
        let job = NewJob {
            gateway_id: self.gateway_id.clone(),
            job_type: "shell_session".to_owned(),
            payload,
            idempotency_key: None,
        };
        let row = self.operator.insert(&job).await?;
        let id = text(&row, "/id").unwrap_or_default();
        self.until_final(id).await
    }

    async fn until_final(&self, id: &str) -> Result<Value, CliError> {
        const COLUMNS: &str = "id,status,gateway_id,job_type,payload,result,error";
        let (written, mut pause) = (Instant::now(), FIRST_LOOK);
        let mut outage: Option<Instant> = None;
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(SLOWEST_LOOK);
            let row = match self.operator.try_job(id, COLUMNS).await {
                Ok(row) => row.unwrap_or_default(),
                Err(error) if error.is_transient() && outage.get_or_insert_with(Instant::now).elapsed() < OUTAGE => {
                    continue;
                }
                Err(error) => return Err(self.operator.explain(&error)),
            };
            outage = None;
            match text(&row, "/status") {
                Some("queued") if written.elapsed() > TAKEN_WITHIN => self.give_up(id).await?,
                Some("running") if written.elapsed() > ACTION => {
                    return Err(CliError::failed("The gateway does not answer.").hint("gateway status"));
                }
                Some("queued" | "running") => {}
                Some(_) | None => return Ok(row),
            }
        }
    }

    /// Takes a job back that nobody took. A gateway that took it in the same moment wins.
    async fn give_up(&self, id: &str) -> Result<(), CliError> {
        let why = "No gateway took the job";
        if self.operator.cancel(id, Cancel::Queued, why).await?.is_none() {
            return Ok(());
        }
        Err(CliError::with(Exit::NOT_TAKEN, "No gateway took the job.")
            .hint("on the host: gateway status, then gateway start"))
    }
}

/// The payload that types bytes: text where they are one.
fn typing(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => json!({"action": "write", "input": text}),
        Ok(_) | Err(_) => json!({"action": "write", "input_base64": BASE64_STANDARD.encode(bytes)}),
    }
}

/// Shows one event; gives its number.
fn show_event(event: &Value, seen: u64, out: &Output) -> u64 {
    let sequence = event.get("sequence").and_then(Value::as_u64).unwrap_or(seen);
    if sequence > seen + 1 {
        out.raw_stderr(b"\r\n[gateway: output was faster than it could be fetched; some of it is left out]\r\n");
    }
    let data = text(event, "/data").unwrap_or_default().as_bytes();
    match text(event, "/stream") {
        Some("stdout") => out.raw_stdout(data),
        Some("stderr") => out.raw_stderr(data),
        Some(_) | None => {}
    }
    sequence
}

/// The exit code of a shell that has ended; one that was closed says why.
fn ended(result: &Value) -> Result<Exit, CliError> {
    let number = |key: &str| result.get(key).and_then(Value::as_u64);
    if text(result, "/status") != Some("exited") {
        let events = result.get("events").and_then(Value::as_array);
        let last = events.and_then(|events| text(events.last()?, "/data"));
        return Err(CliError::failed("The shell was closed.").detail(last.unwrap_or_default()));
    }
    let code = number("exit_code").or_else(|| number("signal").map(|signal| signal.saturating_add(128)));
    Ok(Exit(
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::FAILED.0),
    ))
}

fn is_completed(row: &Value) -> bool {
    text(row, "/status") == Some("completed")
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}
