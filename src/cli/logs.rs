//! `gateway logs`.

use clap::Args;
use std::io::IsTerminal as _;

use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::log_lines;
use crate::cli::output::Details;
use crate::state::log_file::{self, Follower};

/// Options of `logs`.
#[derive(Debug, Args)]
#[command(after_help = "On a terminal the log is followed; on a pipe only with `--follow`.

Examples:
  gateway logs
  gateway logs --no-follow --lines 50
  gateway logs --follow | jq .")]
pub(crate) struct LogsArgs {
    /// How many lines to show first; 0 shows the whole file
    #[arg(long, value_name = "N", default_value = "200", allow_hyphen_values = true)]
    lines: String,

    /// Follow, also on a pipe
    #[arg(long, overrides_with = "no_follow")]
    follow: bool,

    /// Print and end
    #[arg(long, overrides_with = "follow")]
    no_follow: bool,

    /// Print the file's own JSON lines, also on a terminal
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

impl LogsArgs {
    fn follows(&self) -> bool {
        !self.no_follow && (self.follow || std::io::stdout().is_terminal())
    }

    /// Programs get the lines of the file, people get them readable.
    fn show(&self, line: &str, cx: &Context) {
        if self.json || !std::io::stdout().is_terminal() {
            cx.out.raw_stdout(format!("{line}\n").as_bytes());
        } else {
            cx.out.line(&log_lines::readable(line));
        }
    }

    /// The leading digits; none, zero and less mean the whole file.
    fn count(&self) -> Option<usize> {
        let text = self.lines.trim();
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok().filter(|count| *count > 0)
    }
}

pub(crate) async fn run(args: &LogsArgs, cx: &Context) -> CliResult {
    let path = &cx.paths.log_file;
    let unreadable = |error: std::io::Error| {
        CliError::failed("Unable to read gateway log file").detail(format!("{}: {error}", cx.out.path(path)))
    };
    let tail = log_file::tail(path, args.count()).map_err(unreadable)?;
    announce(args, cx, &Details::new().verbose("Log path", cx.out.path(path)));
    for line in &tail.lines {
        args.show(line, cx);
    }
    if tail.lines.is_empty() {
        let details = Details::new().add("Log path", cx.out.path(path));
        cx.out.warn("There is no log yet; `gateway start` writes it.", &details);
    }
    if !args.follows() {
        return Ok(Exit::OK);
    }
    let mut follower = Follower::new(path.clone(), tail.position);
    let follow = async {
        let mut part = Vec::new();
        while !cx.out.stdout_gone() {
            part.extend(follower.next().await.map_err(unreadable)?);
            show_whole_lines(args, &mut part, cx);
        }
        Ok(Exit::OK)
    };
    tokio::select! {
        ended = follow => ended,
        _interrupted = tokio::signal::ctrl_c() => Ok(Exit::OK),
    }
}

/// Shows what is complete and keeps the rest: an event may arrive in two pieces.
fn show_whole_lines(args: &LogsArgs, part: &mut Vec<u8>, cx: &Context) {
    let Some(end) = part.iter().rposition(|byte| *byte == b'\n') else {
        return;
    };
    let rest = part.split_off(end + 1);
    for line in String::from_utf8_lossy(part).lines() {
        args.show(line, cx);
    }
    *part = rest;
}

/// Only people read the sentence: a pipe gets the log and nothing else.
fn announce(args: &LogsArgs, cx: &Context, details: &Details) {
    if !std::io::stdout().is_terminal() {
        return;
    }
    let message = match (args.follows(), args.count()) {
        (true, _) => "Following gateway logs (press Ctrl+C to stop)".to_owned(),
        (false, Some(count)) => format!("Showing last {count} lines of gateway logs"),
        (false, None) => "Showing gateway logs".to_owned(),
    };
    cx.out.info(&message, details);
}
