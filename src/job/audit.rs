//! The owner's book of what was done on this host: one line when a command or a run begins, one when it ends.
//!
//! It never leaves the host and only the owner may read it; secrets are taken out all the same.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use crate::domain::clock::{self, wire_time};
use crate::domain::job::{Job, JobKind, JobOutcome};
use crate::domain::outgoing::Outgoing;
use crate::domain::redact;
use crate::state::log_file::RotatingLog;

/// Most of a command, in UTF-16 units.
const MAX_COMMAND: usize = 2_000;
/// Most of a prompt, in UTF-16 units; never more than half of it.
const MAX_PROMPT: usize = 80;

/// Writes the book; clones write the same one, the default writes none.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    log: Option<RotatingLog>,
    outgoing: Outgoing,
}

impl Audit {
    /// A book without what `outgoing` takes out.
    #[must_use]
    pub const fn new(log: RotatingLog, outgoing: Outgoing) -> Self {
        Self {
            log: Some(log),
            outgoing,
        }
    }

    /// A command or a run begins: `what` it is.
    pub fn begins<const N: usize>(&self, job: &Job, what: [(&str, Value); N]) {
        let mut line = about("begin", job);
        line.extend(what.map(|(name, value)| (name.to_owned(), value)));
        self.write(line);
    }

    /// It ended, or was refused before it began.
    pub fn ended(&self, job: &Job, outcome: &JobOutcome) {
        if !is_work(job) {
            return;
        }
        let fields = &outcome.result().fields;
        let mut line = about("end", job);
        line.insert("status".to_owned(), outcome.status().as_str().into());
        for name in ["exit_code", "signal", "timed_out", "duration_ms"] {
            if let Some(value) = fields.get(name).filter(|value| !value.is_null()) {
                line.insert(name.to_owned(), value.clone());
            }
        }
        if let Some(error) = outcome.error() {
            line.insert("error".to_owned(), redact::cut(error, MAX_COMMAND).into());
        }
        self.write(line);
    }

    /// Its end is not known: the daemon was killed while it ran.
    pub fn interrupted(&self, id: &str, kind: &str, via: Option<&str>) {
        let line = json!({
            "time": wire_time(clock::now()), "event": "end", "job": id, "kind": kind, "via": via,
            "status": "failed", "error": "interrupted",
        });
        if let (Value::Object(line), true) = (line, JobKind::from_wire(kind) != JobKind::Diagnostic) {
            self.write(line);
        }
    }

    fn write(&self, line: Map<String, Value>) {
        let Some(mut log) = self.log.clone() else { return };
        let mut line = Value::Object(line);
        self.outgoing.value(&mut line);
        // A full disk is counted by the log itself; a job does not fail for it.
        drop(log.write_all(format!("{line}\n").as_bytes()));
    }
}

/// What is said of a command: without secrets, and of a long one the beginning and how much there is more.
#[must_use]
pub fn command(text: &str) -> Value {
    let text = redact::text(text);
    let shown = redact::cut(&text, MAX_COMMAND);
    let left = text.get(shown.len()..).unwrap_or_default().chars().count();
    match left {
        0 => shown.into(),
        _ => format!("{shown}... [{left} more characters]").into(),
    }
}

/// What is said of a prompt: how long it is, and how it begins.
#[must_use]
pub fn prompt(text: &str) -> Value {
    let chars = text.chars().count();
    let shown = redact::text(redact::cut(text, MAX_PROMPT.min(chars / 2)));
    json!({"chars": chars, "begins": shown})
}

/// Whether somebody did something with it: looking at a shell is no act.
fn is_work(job: &Job) -> bool {
    match job.kind {
        JobKind::ShellExec | JobKind::ModelRun | JobKind::SubagentRun | JobKind::SubagentCancel => true,
        JobKind::ShellSession => {
            let action = job.payload.get("action").and_then(Value::as_str).unwrap_or_default();
            !["read", "status", "resize"].contains(&action.trim().to_lowercase().as_str())
        }
        JobKind::Diagnostic | JobKind::Unsupported(_) => false,
    }
}

fn about(event: &str, job: &Job) -> Map<String, Value> {
    let members = [
        ("time", Value::from(wire_time(clock::now()))),
        ("event", event.into()),
        ("job", job.id.as_str().into()),
        ("kind", job.kind.as_str().into()),
        ("user", job.requested_by.user.clone().into()),
        ("agent", job.requested_by.agent.clone().into()),
        ("via", job.requested_via.clone().into()),
    ];
    let known = members.into_iter().filter(|(_, value)| !value.is_null());
    known.map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_never_told_whole() {
        assert_eq!(prompt("ab"), json!({"chars": 2, "begins": "a"}));
        let long = prompt(&"x".repeat(1_000));
        assert_eq!(
            (&long["chars"], long["begins"].as_str().unwrap().len()),
            (&json!(1_000), MAX_PROMPT)
        );
    }

    #[test]
    fn a_command_is_told_without_secrets() {
        assert_eq!(command("login --password=abc"), "login --password=[REDACTED]");
        assert_eq!(command(&"x".repeat(MAX_COMMAND)), "x".repeat(MAX_COMMAND));
        let cut = format!("{}... [3000 more characters]", "x".repeat(MAX_COMMAND));
        assert_eq!(command(&"x".repeat(5_000)), cut);
    }
}
