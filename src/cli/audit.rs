//! `gateway audit`.

use std::io::IsTerminal as _;

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::Details;
use crate::cli::times::to_the_second;
use crate::domain::text::harmless;
use crate::state::log_file;

/// Options of `audit`.
#[derive(Debug, Args)]
#[command(
    after_help = "One line when a command or a run begins and one when it ends. The book is kept in
audit.log in the state directory; nobody but you can read it.

Examples:
  gateway audit
  gateway audit -n 500 --json | jq 'select(.kind == \"shell_exec\")'"
)]
pub(crate) struct AuditArgs {
    /// How many lines to show, the newest last
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,

    /// Print the book's own JSON lines
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &AuditArgs, cx: &Context) -> CliResult {
    let path = cx.paths.audit();
    let unreadable = |error: std::io::Error| {
        CliError::failed("Unable to read the audit log").detail(format!("{}: {error}", cx.out.path(&path)))
    };
    let tail = log_file::tail(&path, Some(args.lines)).map_err(unreadable)?;
    for line in &tail.lines {
        if args.json {
            cx.out.raw_stdout(format!("{line}\n").as_bytes());
        } else {
            cx.out.line(&readable(line));
        }
    }
    let is_empty = tail.lines.is_empty() && args.lines > 0;
    if is_empty && (!args.json || std::io::stdout().is_terminal()) {
        let details = Details::new().add("Audit log", cx.out.path(&path));
        cx.out.warn("Nothing was done on this host yet.", &details);
    }
    Ok(Exit::OK)
}

/// One line for a person; a line that is no event stays as it is.
fn readable(line: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(event)) => event_line(&event).unwrap_or_else(|| harmless(line)),
        Ok(_) | Err(_) => harmless(line),
    }
}

fn event_line(event: &Map<String, Value>) -> Option<String> {
    const HEAD: [&str; 4] = ["time", "event", "kind", "job"];
    let [time, what, kind, job] = HEAD.map(|name| event.get(name).and_then(Value::as_str));
    let mut line = format!("{} {:<5} {:<13} {}", to_the_second(time?), what?, kind?, job?);
    for (name, value) in event.iter().filter(|(name, _)| !HEAD.contains(&name.as_str())) {
        let text = value.as_str().filter(|text| !text.contains(char::is_whitespace));
        let shown = text.map_or_else(|| value.to_string(), str::to_owned);
        line.push_str(&format!(" {name}={shown}"));
    }
    Some(harmless(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_lines_and_other_lines_stay() {
        let line = r#"{"time":"2026-11-21T07:08:28.843Z","event":"begin","job":"j","kind":"shell_exec","via":"cli","command":"echo \u001b[2J"}"#;
        assert_eq!(
            readable(line),
            r#"2026-11-21T07:08:28Z begin shell_exec    j via=cli command="echo \u001b[2J""#
        );
        assert_eq!(readable("x\u{7}"), "x\u{fffd}");
    }
}
