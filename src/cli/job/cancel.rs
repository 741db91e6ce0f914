//! `gateway job cancel`.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::operator::{Cancel, Cancelled, Operator};
use crate::cli::output::Details;
use crate::cli::watcher;

/// How long a gateway may take to end what it was asked to end.
const ENDED_WITHIN: Duration = Duration::from_secs(15);
const WHY: &str = "Cancelled by the operator";

/// Options of `job cancel`.
#[derive(Debug, Args)]
#[command(after_help = "A running command ends with its whole process tree within ten seconds.

A turn of a subagent ends with its run: nobody took it, and job and run are cancelled together; it is at work, and its \
gateway is asked to end it and to report that.")]
pub(crate) struct CancelArgs {
    /// The job
    #[arg(value_name = "ID", value_parser = super::job_id)]
    id: String,

    #[command(flatten)]
    pub(crate) json: JsonArg,
}

pub(crate) async fn run(args: &CancelArgs, cx: &Context) -> CliResult {
    let operator = Operator::open(cx).await?;
    let row = match operator.cancel(&args.id, Cancel::Unfinished, WHY).await? {
        Some(Cancelled::Ended(row)) => row,
        Some(Cancelled::Asked) => ended(&operator, &args.id).await?,
        None => return Err(final_already(&operator.job(&args.id, "id,status").await?)),
    };
    if args.json.json {
        cx.out.document(&row)?;
    } else {
        cx.out.ok("Job cancelled", &Details::new().add("Job", &args.id));
    }
    Ok(Exit::OK)
}

/// Waits until the gateway has ended a turn. The job of a cancelled run is done well, so the run says how it went.
async fn ended(operator: &Operator, id: &str) -> Result<Value, CliError> {
    let Ok(row) = timeout(ENDED_WITHIN, watcher::watch(operator, id)).await else {
        let why = "The gateway was asked to cancel the run and has not done so yet.";
        return Err(CliError::failed(why).hint(format!("gateway job watch {id}")));
    };
    let row = row?;
    let run = row.pointer("/result/status").and_then(Value::as_str);
    let status = row.get("status").and_then(Value::as_str);
    if [run, status].contains(&Some("cancelled")) {
        return Ok(json!({"id": id, "status": status, "run_status": "cancelled"}));
    }
    Err(final_already(&row))
}

fn final_already(row: &Value) -> CliError {
    let status = row.get("status").and_then(Value::as_str).unwrap_or("final");
    CliError::failed(format!("The job is {status} already."))
}
