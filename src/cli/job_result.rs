//! The end of a job for people: its output as it came, and the exit code that says how it ended.

use std::time::Duration;

use serde_json::Value;

use crate::cli::duration::brief;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::{Details, Output};
use crate::cli::refusal;

/// Shows output, warnings and a failure's reason; gives the exit code of the command.
pub(crate) fn show(row: &Value, out: &Output) -> CliResult {
    if out.is_json() {
        out.document(row)?;
        return Ok(exit(row));
    }
    let stream = |name: &str| row.pointer(&format!("/result/{name}")).and_then(Value::as_str);
    if let Some(stdout) = stream("stdout") {
        out.raw_stdout(stdout.as_bytes());
    }
    if let Some(stderr) = stream("stderr") {
        out.raw_stderr(stderr.as_bytes());
    }
    warn_truncated(row, out);
    match text(row, "status") {
        Some("completed") => show_completed(row, out),
        Some("cancelled") => Err(ended(row, "The job was cancelled.", Exit::FAILED)),
        Some(_) | None => Err(failed(row)),
    }
}

/// The exit code that a final row asks for.
pub(crate) fn exit(row: &Value) -> Exit {
    if text(row, "status") != Some("completed") {
        return failed(row).exit;
    }
    if row.pointer("/result/timed_out").and_then(Value::as_bool) == Some(true) {
        return Exit::TIMED_OUT;
    }
    let success = row.pointer("/result/success").and_then(Value::as_bool);
    match row.pointer("/result/exit_code").and_then(Value::as_i64) {
        Some(code) => Exit(u8::try_from(code).unwrap_or(Exit::FAILED.0)),
        None if is_command(row) => signalled(row),
        None if success == Some(false) => Exit::FAILED,
        None => Exit::OK,
    }
}

/// Other jobs may have a member `command` too.
fn is_command(row: &Value) -> bool {
    text(row, "job_type") == Some("shell_exec")
}

/// A command without an exit code was ended by a signal or never started; shells say 128 and the number.
fn signalled(row: &Value) -> Exit {
    let signal = row.pointer("/result/signal").and_then(Value::as_u64);
    let code = signal.and_then(|number| u8::try_from(number.saturating_add(128)).ok());
    code.map_or(Exit::FAILED, Exit)
}

fn show_completed(row: &Value, out: &Output) -> CliResult {
    let exit = exit(row);
    if !is_command(row) {
        // The result itself is what was asked for.
        out.document(&row.get("result"))?;
        return Ok(exit);
    }
    if exit == Exit::TIMED_OUT {
        let duration = row.pointer("/result/duration_ms").and_then(Value::as_u64);
        let details = Details::new().maybe("After", duration.map(|millis| brief(Duration::from_millis(millis))));
        out.warn(
            "The command timed out; it and everything it started were stopped.",
            &details,
        );
    } else if let Some(error) = row.pointer("/result/error").and_then(Value::as_str) {
        return Err(CliError::with(exit_or_failed(exit), "The command failed to start.").detail(error));
    }
    Ok(exit)
}

fn exit_or_failed(exit: Exit) -> Exit {
    if exit == Exit::OK { Exit::FAILED } else { exit }
}

fn warn_truncated(row: &Value, out: &Output) {
    for stream in ["stdout", "stderr"] {
        let flag = row.pointer(&format!("/result/{stream}_truncated"));
        if flag.and_then(Value::as_bool) == Some(true) {
            out.warn(
                &format!("{stream} was longer than the limit of a job and is cut."),
                &Details::new(),
            );
        }
    }
}

/// Why a job failed, for people.
pub(crate) fn failed(row: &Value) -> CliError {
    match refusal::of_row(row) {
        Some(refusal) => {
            let message = format!("Refused by the {} layer of machine control.", refusal.layer.name());
            ended(row, &message, Exit::REFUSED).hint(refusal.next)
        }
        None => ended(row, "The job failed.", Exit::FAILED),
    }
}

fn ended(row: &Value, message: &str, exit: Exit) -> CliError {
    let error = CliError::with(exit, message);
    match text(row, "error") {
        Some(detail) => error.detail(detail),
        None => error,
    }
}

fn text<'a>(row: &'a Value, key: &str) -> Option<&'a str> {
    row.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn completed(result: &Value) -> Value {
        json!({"status": "completed", "job_type": "shell_exec", "result": result})
    }

    #[test]
    fn the_exit_code_of_the_command_is_kept() {
        assert_eq!(exit(&completed(&json!({"command": "x", "exit_code": 7}))), Exit(7));
        assert_eq!(exit(&completed(&json!({"command": "x", "exit_code": 0}))), Exit::OK);
    }

    #[test]
    fn timeouts_signals_and_other_jobs() {
        assert_eq!(
            exit(&completed(
                &json!({"command": "x", "exit_code": null, "timed_out": true})
            )),
            Exit::TIMED_OUT
        );
        assert_eq!(
            exit(&completed(&json!({"command": "x", "exit_code": null, "signal": 9}))),
            Exit(137)
        );
        assert_eq!(
            exit(&completed(&json!({"command": "x", "exit_code": null}))),
            Exit::FAILED
        );
        let diagnostic = |success| {
            json!({
                "status": "completed", "job_type": "diagnostic", "result": {"command": "claude", "success": success},
            })
        };
        assert_eq!(exit(&diagnostic(true)), Exit::OK);
        assert_eq!(exit(&diagnostic(false)), Exit::FAILED);
    }

    #[test]
    fn refusals_have_their_own_code_and_name_the_command() {
        let row = json!({
            "status": "failed", "gateway_id": "g1", "result": {},
            "error": "Gateway machine control is disabled in Team Integrations.",
        });
        let error = failed(&row);
        assert_eq!(error.exit, Exit::REFUSED);
        assert_eq!(
            error.hint.as_deref(),
            Some("gateway control-plane gateway full-control g1 on")
        );
        assert_eq!(exit(&json!({"status": "failed", "error": "x"})), Exit::FAILED);
    }
}
