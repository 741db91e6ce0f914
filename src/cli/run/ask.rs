//! What is asked of the control plane: prompt, agent and configuration, checked before anything is written.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{RunArgs, choose};
use crate::cli::context::Context;
use crate::cli::duration::millis;
use crate::cli::error::CliError;
use crate::cli::operator::Operator;
use crate::cli::target;
use crate::config::backend::same_origin;
use crate::domain::prompt;
use crate::provider::ProviderId;
use crate::provider::schema::Schema;
use crate::state::last_run;

/// What a run gets when nothing is said; the gateway's own default.
const DEFAULT_LIMIT: Duration = Duration::from_mins(30);
/// More than any agent takes as a prompt.
const MOST_PROMPT_BYTES: u64 = 16 << 20;
const MOST_SCHEMA_BYTES: u64 = 1 << 20;
/// What a turn takes over from the ones before it.
const KEPT: &[&str] = &["model", "cwd"];

/// A turn, ready to be asked for.
#[derive(Debug)]
pub(super) struct Ask {
    /// Request of the control plane.
    pub(super) body: Value,
    pub(super) provider: ProviderId,
    pub(super) gateway_id: String,
    pub(super) limit: Duration,
    /// Whether it goes on with a subagent.
    pub(super) resumed: bool,
    /// The session that the subagent had before.
    pub(super) session: Option<String>,
}

/// The prompt, from the command line or from stdin.
pub(super) fn prompt(word: &str) -> Result<String, CliError> {
    if word != "-" {
        return Ok(word.to_owned());
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(MOST_PROMPT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::usage("The prompt cannot be read from stdin.").detail(error.to_string()))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MOST_PROMPT_BYTES {
        let most = format!("it has more than {MOST_PROMPT_BYTES} bytes, more than any agent takes");
        return Err(CliError::usage("The prompt is too long.").detail(most));
    }
    String::from_utf8(bytes)
        .map_err(|error| CliError::usage("The prompt is no UTF-8 text.").detail(error.utf8_error().to_string()))
}

/// The schema in a file.
pub(super) fn schema(path: &Path) -> Result<Value, CliError> {
    let unusable = |why: &dyn std::fmt::Display| {
        CliError::usage("The schema cannot be used.").detail(format!("{}: {why}", path.display()))
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| unusable(&error))?;
    file.take(MOST_SCHEMA_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unusable(&error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MOST_SCHEMA_BYTES {
        return Err(unusable(&format_args!("it has more than {MOST_SCHEMA_BYTES} bytes")));
    }
    match serde_json::from_slice(&bytes) {
        Ok(schema @ Value::Object(_)) => match Schema::new(&schema) {
            Ok(_good) => Ok(schema),
            Err(failure) => Err(unusable(&failure)),
        },
        Ok(_) => Err(unusable(&"it is no JSON object")),
        Err(error) => Err(unusable(&error)),
    }
}

/// Everything that decides about the turn. Only reads.
pub(super) async fn plan(
    args: &RunArgs,
    prompt: String,
    schema: Option<Value>,
    operator: &Operator,
    cx: &Context,
) -> Result<Ask, CliError> {
    let named = match args.session {
        Some(id) => Some(id.to_string()),
        None if args.resume => Some(last_subagent(operator, cx)?),
        None => None,
    };
    let mut ask = match named {
        Some(id) => going_on(&id, args, schema, operator).await?,
        None => new(args, schema, operator, cx).await?,
    };
    let kind = ask.provider.subagent_type();
    if let Some((agent, limit)) = prompt::of_subagent_type(kind) {
        let problem =
            |problem: prompt::PromptProblem| CliError::usage("The prompt cannot be sent.").detail(problem.to_string());
        prompt::check(&prompt, agent, limit).map_err(problem)?;
    }
    if let Some(body) = ask.body.as_object_mut() {
        body.insert("prompt".to_owned(), Value::from(prompt));
        body.insert("requested_via".to_owned(), Value::from("cli"));
    }
    Ok(ask)
}

fn last_subagent(operator: &Operator, cx: &Context) -> Result<String, CliError> {
    let last = last_run::load(&cx.state_dir()?)?;
    let here = last.filter(|last| same_origin(&last.url, operator.url()));
    here.map(|last| last.subagent_id).ok_or_else(|| {
        CliError::usage("This machine has started no run on this control plane that could be resumed.")
            .hint("gateway run PROMPT starts one; --session names one")
    })
}

async fn new(args: &RunArgs, schema: Option<Value>, operator: &Operator, cx: &Context) -> Result<Ask, CliError> {
    let gateway = target::gateway_row(operator, args.gateway.as_deref(), cx).await?;
    let provider = match args.provider {
        Some(word) => word.id(),
        None => choose::provider(&gateway, schema.is_some())?,
    };
    let gateway_id = text(&gateway, "/id").unwrap_or_default();
    let body = json!({
        "subagent_type": provider.subagent_type(), "gateway_id": gateway_id, "config": config(args, schema, &Map::new())?,
    });
    Ok(Ask {
        body,
        provider,
        gateway_id,
        limit: args.timeout.unwrap_or(DEFAULT_LIMIT),
        resumed: false,
        session: None,
    })
}

async fn going_on(id: &str, args: &RunArgs, schema: Option<Value>, operator: &Operator) -> Result<Ask, CliError> {
    let subagent = operator.subagent(id).await?;
    let kind = text(&subagent, "/subagent_type").unwrap_or_default();
    let provider = ProviderId::of_subagent_type(&kind)
        .ok_or_else(|| CliError::usage(format!("A subagent of type {kind} runs on no gateway.")))?;
    if args.provider.is_some_and(|word| word.id() != provider) {
        let label = provider.label();
        return Err(CliError::usage(format!(
            "The subagent {id} is {label}'s; another agent cannot go on with it."
        )));
    }
    let before = subagent
        .get("config")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let body = json!({"subagent_id": id, "config": config(args, schema, &before)?});
    Ok(Ask {
        body,
        provider,
        gateway_id: text(&subagent, "/gateway_id").unwrap_or_default(),
        limit: args.timeout.unwrap_or(DEFAULT_LIMIT),
        resumed: true,
        session: text(&subagent, "/metadata/session_id"),
    })
}

fn config(args: &RunArgs, schema: Option<Value>, before: &Map<String, Value>) -> Result<Map<String, Value>, CliError> {
    let kept = before.iter().filter(|(name, _)| KEPT.contains(&name.as_str()));
    let mut config: Map<String, Value> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut put = |name: &str, value: Value| drop(config.insert(name.to_owned(), value));
    put("full_control", Value::from(args.full_control));
    put(
        "output_format",
        Value::from(if schema.is_some() { "json" } else { "text" }),
    );
    if let Some(model) = &args.model {
        put("model", Value::from(model.as_str()));
    }
    if let Some(schema) = schema {
        put("json_schema", schema);
    }
    if let Some(limit) = args.timeout {
        put("timeout_ms", Value::from(millis(limit)));
    }
    if let Some(cwd) = &args.cwd {
        put("cwd", Value::from(absolute(cwd)?));
    }
    Ok(config)
}

/// A directory is named from where one stands; the gateway stands elsewhere.
fn absolute(path: &Path) -> Result<String, CliError> {
    let full = std::path::absolute(path)
        .map_err(|error| CliError::usage("The directory of --cwd cannot be named.").detail(error.to_string()))?;
    let text = full.into_os_string().into_string();
    text.map_err(|path| CliError::usage(format!("The name of {} is no UTF-8 text.", path.display())))
}

fn text(row: &Value, pointer: &str) -> Option<String> {
    row.pointer(pointer)?.as_str().map(str::to_owned)
}
