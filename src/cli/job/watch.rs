//! `gateway job watch`.

use clap::Args;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::error::CliResult;
use crate::cli::exit::Exit;
use crate::cli::operator::Operator;
use crate::cli::{job_result, watcher};

/// Options of `job watch`.
#[derive(Debug, Args)]
#[command(after_help = "Exits as the command did; Ctrl-C ends the watching, not the job.")]
pub(crate) struct WatchArgs {
    /// The job
    #[arg(value_name = "ID", value_parser = super::job_id)]
    id: String,

    #[command(flatten)]
    pub(crate) json: JsonArg,
}

pub(crate) async fn run(args: &WatchArgs, cx: &Context) -> CliResult {
    let operator = Operator::open(cx).await?;
    tokio::select! {
        row = watcher::watch(&operator, &args.id) => {
            let row = row?;
            if args.json.json {
                cx.out.document(&row)?;
                return Ok(job_result::exit(&row));
            }
            job_result::show(&row, &cx.out)
        }
        _interrupted = tokio::signal::ctrl_c() => Ok(Exit::INTERRUPTED),
    }
}
