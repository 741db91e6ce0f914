//! `gateway job cancel`.

use clap::Args;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::operator::{Cancel, Operator};
use crate::cli::output::Details;

/// Options of `job cancel`.
#[derive(Debug, Args)]
#[command(after_help = "A running command ends with its whole process tree within ten seconds.")]
pub(crate) struct CancelArgs {
    /// The job
    #[arg(value_name = "ID", value_parser = super::job_id)]
    id: String,

    #[command(flatten)]
    pub(crate) json: JsonArg,
}

pub(crate) async fn run(args: &CancelArgs, cx: &Context) -> CliResult {
    let operator = Operator::open(cx).await?;
    if let Some(row) = operator
        .cancel(&args.id, Cancel::Unfinished, "Cancelled by the operator")
        .await?
    {
        if args.json.json {
            cx.out.document(&row)?;
        } else {
            cx.out.ok("Job cancelled", &Details::new().add("Job", &args.id));
        }
        return Ok(Exit::OK);
    }
    let row = operator.job(&args.id, "id,status").await?;
    let status = row.get("status").and_then(serde_json::Value::as_str).unwrap_or("final");
    Err(CliError::failed(format!("The job is {status} already.")))
}
