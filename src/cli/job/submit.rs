//! `gateway job submit`.

use std::fs::File;
use std::io::{self, Read as _};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::duration::{self, millis};
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::operator::{NewJob, Operator};
use crate::cli::output::Details;
use crate::cli::{job_result, shell_words, target, watcher};

/// Longest wait with `--watch` when no limit is given: a subagent's own default.
const DEFAULT_LIMIT: Duration = Duration::from_mins(30);

/// Most bytes of a payload: no control plane takes a longer body.
const LONGEST_PAYLOAD: u64 = 64 << 20;

/// Options of `job submit`.
#[derive(Debug, Args)]
#[command(
    after_help = "With --watch the exit codes are those of `gateway exec`. A job of another type gives 1 when it failed, or when its \
result says `success: false`, as a diagnostic does where no agent CLI can be used.

Examples:
  gateway job submit -- uname -a
  gateway job submit --watch --timeout 60 -- 'make test'
  gateway job submit --type diagnostic
  gateway job submit --type subagent_run --payload @run.json --idempotency-key run-17"
)]
pub(crate) struct SubmitArgs {
    /// Kind of job
    #[arg(long = "type", value_name = "TYPE", default_value = "shell_exec")]
    job_type: String,

    /// Arguments of the job: a JSON object, or `@FILE`
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,

    /// The gateway that shall run it; needed when the team has several
    #[arg(long, value_name = "ID")]
    gateway: Option<String>,

    /// The remote_shell resource; chosen by the gateway when left out
    #[arg(long, value_name = "ID")]
    resource: Option<String>,

    /// Time limit of a command [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Jobs with one key run once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    /// Wait for the end, show the output and exit as the command did
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    pub(crate) json: JsonArg,

    /// Command line of a shell_exec job; several words are quoted and joined
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn run(args: &SubmitArgs, cx: &Context) -> CliResult {
    let mut payload = read_payload(args.payload.as_deref())?;
    let operator = Operator::open(cx).await?;
    let gateway = target::gateway(&operator, args.gateway.as_deref(), cx).await?;
    if args.job_type == "shell_exec" {
        fill_shell_payload(&mut payload, args, &operator, &gateway).await?;
    } else if !args.command.is_empty() {
        return Err(CliError::usage(format!("A {} job has no command line.", args.job_type)).hint("pass --payload"));
    }
    let job = NewJob {
        gateway_id: gateway,
        job_type: args.job_type.clone(),
        payload,
        idempotency_key: args.idempotency_key.clone(),
    };
    if args.watch {
        let row = watcher::run_to_end(&operator, &job, args.timeout.unwrap_or(DEFAULT_LIMIT), &cx.out).await?;
        return job_result::show(&row, &cx.out);
    }
    let row = operator.insert(&job).await?;
    let id = row.get("id").and_then(Value::as_str).unwrap_or_default();
    if args.json.json {
        cx.out.document(&row)?;
    } else {
        let details = Details::new()
            .add("Job", id)
            .add("Next", format!("gateway job watch {id}"));
        cx.out.ok("Job submitted", &details);
    }
    Ok(Exit::OK)
}

fn read_payload(argument: Option<&str>) -> Result<Map<String, Value>, CliError> {
    let Some(argument) = argument else {
        return Ok(Map::new());
    };
    let text = match argument.strip_prefix('@') {
        Some(path) => read_file(path).map_err(|error| {
            CliError::usage(format!("The payload file `{path}` cannot be read.")).detail(error.to_string())
        })?,
        None => argument.to_owned(),
    };
    let payload: Map<String, Value> = serde_json::from_str(&text)
        .map_err(|error| CliError::usage("The payload is no JSON object.").detail(error.to_string()))?;
    match payload.iter().find(|(_, value)| holds_nul(value)) {
        Some((name, _)) => Err(CliError::usage("The payload cannot be sent.").detail(format!(
            "`{name}` holds a NUL character, which no agent reads and no database stores"
        ))),
        None => Ok(payload),
    }
}

/// A path may be a device that never ends.
fn read_file(path: &str) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(LONGEST_PAYLOAD + 1).read_to_string(&mut text)?;
    if length as u64 > LONGEST_PAYLOAD {
        return Err(io::Error::other(format!("it has more than {LONGEST_PAYLOAD} bytes")));
    }
    Ok(text)
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

async fn fill_shell_payload(
    payload: &mut Map<String, Value>,
    args: &SubmitArgs,
    operator: &Operator,
    gateway_id: &str,
) -> Result<(), CliError> {
    if !args.command.is_empty() {
        payload.insert("command".to_owned(), json!(shell_words::command_line(&args.command)));
    }
    if !payload.contains_key("command") {
        return Err(CliError::usage("A shell_exec job needs a command.").hint("gateway job submit -- uname -a"));
    }
    if let Some(timeout) = args.timeout {
        payload.insert("timeout_ms".to_owned(), json!(millis(timeout)));
    }
    if let Some(resource) = &args.resource {
        payload.insert("resource_id".to_owned(), json!(resource));
    }
    if !payload.contains_key("resource_id") {
        let resource = target::shell_of(operator, gateway_id).await?;
        payload.insert("resource_id".to_owned(), json!(resource));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_without_end_is_refused() {
        let error = read_payload(Some("@/dev/zero")).unwrap_err();
        assert!(error.detail.unwrap().starts_with("it has more than "));
    }
}
