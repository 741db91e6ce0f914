//! `gateway logs`.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::Details;
use crate::state::log_file::{self, Follower};

/// How often the log is looked at while following.
const LOOK_EVERY: Duration = Duration::from_millis(200);

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
    #[arg(long)]
    no_follow: bool,
}

impl LogsArgs {
    fn follows(&self) -> bool {
        !self.no_follow && (self.follow || std::io::stdout().is_terminal())
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
    let unreadable = |error: &dyn std::fmt::Display| {
        CliError::failed("Unable to read gateway log file")
            .detail(format!("{}: {error}", cx.out.path(path)))
            .hint("the log begins with the first `gateway start`")
    };
    let tail = log_file::tail(path, args.count()).map_err(|error| unreadable(&error))?;
    let details = Details::new().verbose("Log path", cx.out.path(path));
    announce(args, cx, &details);
    cx.out.raw_stdout(&tail);
    if !args.follows() {
        return Ok(Exit::OK);
    }
    let mut follower = Follower::open(path).map_err(|error| unreadable(&error))?;
    let follow = async {
        let mut look = tokio::time::interval(LOOK_EVERY);
        while !cx.out.stdout_gone() {
            look.tick().await;
            let bytes = follower.read_new().map_err(|error| unreadable(&error))?;
            if !bytes.is_empty() {
                cx.out.raw_stdout(&bytes);
            }
        }
        Ok(Exit::OK)
    };
    tokio::select! {
        ended = follow => ended,
        _interrupted = tokio::signal::ctrl_c() => Ok(Exit::OK),
    }
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
