//! `gateway job`: rows written and watched with the operator credential. Nothing here starts a process.

pub(crate) mod cancel;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod submit;
pub(crate) mod watch;

use clap::{Args, Subcommand};

use crate::cli::context::Context;
use crate::cli::error::CliResult;

/// Options of `job`.
#[derive(Debug, Args)]
#[command(
    after_help = "Jobs are rows of the control plane; these commands need an operator credential (`gateway login`, or \
`gateway up` on this machine).

Examples:
  gateway job submit --watch -- uname -a
  gateway job submit --type diagnostic
  gateway job list --status running
  gateway job show ID
  gateway job cancel ID"
)]
pub(crate) struct JobArgs {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// Write a job
    Submit(submit::SubmitArgs),
    /// List jobs, newest first
    List(list::ListArgs),
    /// Show one job: the way it came and every step with its time
    Show(show::ShowArgs),
    /// Wait for a job and show its output
    Watch(watch::WatchArgs),
    /// Cancel a queued or running job
    Cancel(cancel::CancelArgs),
}

impl JobArgs {
    /// Whether a document is wanted.
    pub(crate) const fn json(&self) -> bool {
        match &self.command {
            JobCommand::Submit(args) => args.json.json,
            JobCommand::List(args) => args.json.json,
            JobCommand::Show(args) => args.json.json,
            JobCommand::Watch(args) => args.json.json,
            JobCommand::Cancel(args) => args.json.json,
        }
    }
}

pub(crate) async fn run(args: &JobArgs, cx: &Context) -> CliResult {
    match &args.command {
        JobCommand::Submit(args) => submit::run(args, cx).await,
        JobCommand::List(args) => list::run(args, cx).await,
        JobCommand::Show(args) => show::run(args, cx).await,
        JobCommand::Watch(args) => watch::run(args, cx).await,
        JobCommand::Cancel(args) => cancel::run(args, cx).await,
    }
}

/// Job ids are UUIDs: anything else is a slip of the fingers, and said so before the control plane is asked.
fn job_id(text: &str) -> Result<String, String> {
    let id = uuid::Uuid::try_parse(text.trim());
    id.map(|id| id.to_string())
        .map_err(|_error| "not a job id; `gateway job list` shows them".to_owned())
}
