//! What the result of a `shell_exec` job says about how it went.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::domain::clock::millis;
use crate::domain::job::{JobResult, RawField};
use crate::job::handler::shell_exec::{Admitted, WORKING_DIRECTORY};
use crate::process::exit::{Exit, Pipes};
use crate::process::failure::SpawnError;

/// Everything a result is made of.
pub(super) struct Record {
    message: &'static str,
    exit_code: Option<i32>,
    signal: Option<i32>,
    duration: Duration,
    timed_out: bool,
    success: bool,
    truncated: (bool, bool),
    escaped: (bool, bool),
    held_open: bool,
    error: Option<String>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Record {
    pub(super) fn of(exit: Exit) -> Self {
        let (success, timed_out) = (exit.is_success(), exit.timed_out());
        Self {
            message: if success {
                "Remote shell command completed"
            } else if timed_out {
                "Remote shell command timed out"
            } else {
                "Remote shell command completed with a non-zero exit status"
            },
            exit_code: exit.exit_code,
            signal: exit.signal,
            duration: exit.duration,
            timed_out,
            success,
            truncated: (exit.stdout.truncated, exit.stderr.truncated),
            escaped: (exit.stdout.escaped, exit.stderr.escaped),
            held_open: exit.pipes == Pipes::HeldOpen,
            error: None,
            stdout: exit.stdout.bytes,
            stderr: exit.stderr.bytes,
        }
    }

    pub(super) fn unstarted(error: &SpawnError, duration: Duration) -> Self {
        Self {
            message: "Remote shell command failed to start",
            exit_code: None,
            signal: None,
            duration,
            timed_out: false,
            success: false,
            truncated: (false, false),
            escaped: (false, false),
            held_open: false,
            error: Some(error.to_string()),
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    pub(super) fn into_result(self, admitted: &Admitted) -> JobResult {
        let members: [(&str, Value); 26] = [
            ("message", self.message.into()),
            ("resource_id", admitted.resource_id.clone().into()),
            ("command", admitted.command.clone().into()),
            ("shell", admitted.shell.to_string_lossy().into()),
            ("cwd", WORKING_DIRECTORY.into()),
            ("exit_code", self.exit_code.into()),
            ("signal", self.signal.into()),
            ("duration_ms", millis(self.duration).into()),
            ("timeout_ms", millis(admitted.limit.value).into()),
            ("timeout_clamped", admitted.limit.clamped.into()),
            ("timed_out", self.timed_out.into()),
            ("success", self.success.into()),
            ("stdout_truncated", self.truncated.0.into()),
            ("stderr_truncated", self.truncated.1.into()),
            ("output_truncated", (self.truncated.0 || self.truncated.1).into()),
            ("stdout_escaped", self.escaped.0.into()),
            ("stderr_escaped", self.escaped.1.into()),
            ("output_escaped", (self.escaped.0 || self.escaped.1).into()),
            ("pipes_held_open", self.held_open.into()),
            ("error", self.error.into()),
            // What only a managed VM can say.
            ("exec_user", Value::Null),
            ("workload_id", Value::Null),
            ("cgroup", Value::Null),
            ("cgroup_termination_error", Value::Null),
            ("process_tree_contained", false.into()),
            ("readiness_evidence", Value::Null),
        ];
        let fields = members.map(|(key, value)| (key.to_owned(), value)).into_iter();
        let raw = [("stdout", self.stdout), ("stderr", self.stderr)];
        JobResult {
            fields: fields.collect::<Map<_, _>>(),
            raw: raw
                .map(|(key, bytes)| RawField {
                    key: key.to_owned(),
                    bytes,
                })
                .into(),
            run: None,
        }
    }
}
