//! `gateway exec`: a command as a job. It writes a row and watches it; it has no way to a process.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, json};

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::duration::{self, millis};
use crate::cli::error::{CliError, CliResult};
use crate::cli::operator::{NewJob, Operator};
use crate::cli::stack::{self, Wants};
use crate::cli::{job_result, shell_words, target, watcher};

/// What a job gets when nothing is said; the gateway's own default.
const DEFAULT_LIMIT: Duration = Duration::from_secs(30);

/// Options of `exec`.
#[derive(Debug, Args)]
#[command(
    after_help = "One word is a shell command line; several are quoted and joined. stdout and stderr stay apart;
both are shown when the command has ended, not while it runs.

Exit codes: the command's own, or
    4  the control plane cannot be reached
    5  no gateway took the job within 10 seconds; it was cancelled
    6  refused by a layer of machine control; the layer and the command that changes it are shown
    7  no operator credential
  124  the command timed out
  130  interrupted; the job was cancelled

Examples:
  gateway exec -- uname -a
  gateway exec -- 'ls | wc -l'
  gateway exec --timeout 5m -- make test
  gateway exec --up --full-control -- uname -a   from nothing"
)]
pub(crate) struct ExecArgs {
    /// Start control plane and gateway on this machine first, if they do not run
    #[arg(long)]
    up: bool,

    /// Allow machine control on host, team and resource first; for a control plane on this machine
    #[arg(long)]
    full_control: bool,

    /// Time limit of the command, at most ten minutes [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = limit)]
    timeout: Option<Duration>,

    /// The gateway that shall run it; needed when the team has several
    #[arg(long, value_name = "ID")]
    gateway: Option<String>,

    #[command(flatten)]
    pub(crate) json: JsonArg,

    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl ExecArgs {
    /// Whether this may start something, and so needs a state directory.
    pub(crate) const fn brings_up(&self) -> bool {
        self.up
    }
}

fn limit(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_mins(10);
    let limit = duration::parse(text)?;
    if limit > LONGEST {
        return Err("a command may take ten minutes at most".to_owned());
    }
    Ok(limit.max(Duration::from_millis(1)))
}

pub(crate) async fn run(args: &ExecArgs, cx: &Context) -> CliResult {
    if args.up {
        let wants = Wants {
            full_control: args.full_control,
        };
        stack::ensure(&wants, cx).await?;
    } else if args.full_control {
        stack::allow_machine_control(cx).await?;
    }
    let command = shell_words::command_line(&args.command);
    if command.trim().is_empty() {
        return Err(CliError::usage("The command is empty."));
    }
    let operator = Operator::open(cx).await?;
    let target = target::shell(&operator, args.gateway.as_deref(), cx).await?;
    let job = NewJob {
        gateway_id: target.gateway_id,
        job_type: "shell_exec".to_owned(),
        payload: payload(&command, &target.resource_id, args.timeout),
        idempotency_key: None,
    };
    let limit = args.timeout.unwrap_or(DEFAULT_LIMIT);
    let row = watcher::run_to_end(&operator, &job, limit, &cx.out).await?;
    job_result::show(&row, &cx.out)
}

fn payload(command: &str, resource_id: &str, limit: Option<Duration>) -> Map<String, serde_json::Value> {
    let mut payload = Map::new();
    payload.insert("command".to_owned(), json!(command));
    payload.insert("resource_id".to_owned(), json!(resource_id));
    if let Some(limit) = limit {
        payload.insert("timeout_ms".to_owned(), json!(millis(limit)));
    }
    payload
}
