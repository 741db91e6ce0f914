//! Whether a run of Claude Code was a success. Neither its exit code nor the word `success` says so.

use serde_json::{Map, Value};

use crate::domain::run::{Answer, Cumulative, FailureKind, RunEnd, RunFailure};
use crate::provider::answer;
use crate::provider::claude::transcript::Asked;
use crate::provider::claude::usage::Usage;
use crate::provider::transcript::Ended;

/// Everything that was read.
pub(crate) struct Heard<'a> {
    pub(crate) asked: &'a Asked,
    /// The whole output of a CLI that prints nothing but text.
    pub(crate) plain: Option<String>,
    /// Whether the CLI prints nothing but its result.
    pub(crate) only_result: bool,
    pub(crate) init: &'a Map<String, Value>,
    pub(crate) result: Option<&'a Map<String, Value>>,
    pub(crate) results: u64,
    pub(crate) dropped: Option<u64>,
    pub(crate) usage: &'a Usage,
    pub(crate) model: Option<&'a str>,
    pub(crate) tool_ran: bool,
}

/// Members of the result that go into the run's metadata, and their names there.
const METADATA: &[(&str, &str)] = &[
    ("modelUsage", "model_usage"),
    ("permission_denials", "permission_denials"),
    ("num_turns", "num_turns"),
    ("terminal_reason", "terminal_reason"),
    ("api_error_status", "api_error_status"),
];

/// Phrases in what the CLI says for people; the first that matches decides.
const PHRASES: &[(FailureKind, &[&str])] = &[
    (FailureKind::NoSession, &["No conversation found"]),
    (FailureKind::Session, &["already in use", "--resume requires"]),
    (
        FailureKind::Authentication,
        &[
            "Not logged in",
            "/login",
            "Invalid API key",
            "authentication_error",
            "OAuth token",
        ],
    ),
    (
        FailureKind::Quota,
        &["usage limit", "hit your limit", "Credit balance", "(429)"],
    ),
    (FailureKind::Model, &["issue with the selected model"]),
    (
        FailureKind::Request,
        &[
            "Prompt is too long",
            "error: option",
            "unknown option",
            "root/sudo privileges",
            "JSON Schema",
            "exceeds",
        ],
    ),
    (FailureKind::Capacity, &["Overloaded", "overloaded_error", "api_error"]),
    (
        FailureKind::Network,
        &[
            "ECONN",
            "ENOTFOUND",
            "EAI_AGAIN",
            "ETIMEDOUT",
            "EPIPE",
            "Connection",
            "connect to",
            "timed out",
            "fetch failed",
            "socket",
        ],
    ),
];

/// Judges the run.
pub(crate) fn judge(heard: &Heard<'_>, facts: &Ended<'_>) -> RunEnd {
    let nothing = Map::new();
    let result = heard.result.unwrap_or(&nothing);
    let (cost_usd, own) = heard.usage.cost();
    let session_id = string(result, "session_id").or_else(|| string(heard.init, "session_id"));
    RunEnd {
        answer: verdict(heard, session_id.as_deref(), facts),
        model: heard.model.map(str::to_owned).or_else(|| model(result, heard.init)),
        usage: heard.usage.tokens(),
        cost_usd,
        cumulative: Cumulative {
            usage: false,
            cost: cost_usd.is_some() && !own && heard.asked.cost_is_cumulative,
        },
        tool_ran: heard.tool_ran || (heard.only_result && took_turns(result)),
        metadata: metadata(result, heard),
        session_id,
    }
}

fn verdict(heard: &Heard<'_>, session: Option<&str>, facts: &Ended<'_>) -> Result<Answer, RunFailure> {
    if let Some(text) = &heard.plain {
        return plain(text, heard, facts);
    }
    let Some(result) = heard.result else {
        return Err(silent(heard, facts));
    };
    if let Some(failure) = failure(result) {
        return Err(failure);
    }
    if let (Some(asked), Some(got)) = (&heard.asked.session, session)
        && !asked.eq_ignore_ascii_case(got)
    {
        let why = format!("Claude answered in session {got} instead of {asked}");
        return Err(RunFailure::new(FailureKind::Session, why));
    }
    if let Some(command) = result.get("local_command").and_then(Value::as_str) {
        let why = format!("Claude took the prompt for its own command /{command}; the model never saw it");
        return Err(RunFailure::new(FailureKind::Request, why));
    }
    let text = string(result, "result").unwrap_or_default();
    let native = ["structured_output", "structuredOutput"]
        .into_iter()
        .find_map(|name| result.get(name));
    let structured = structured(native.filter(|value| !value.is_null()).cloned(), &text, heard.asked)?;
    let raw = Value::Object(result.clone());
    Ok(Answer { text, structured, raw })
}

/// The structured answer, which must be there if a schema was given.
fn structured(native: Option<Value>, text: &str, asked: &Asked) -> Result<Option<Value>, RunFailure> {
    let missing = |why| Err(RunFailure::new(FailureKind::Answer, why));
    match native {
        Some(value) => Ok(Some(value)),
        None if !asked.schema => Ok(None),
        None if asked.native_schema => missing("Claude ended without the structured answer that the schema asks for"),
        None => answer::object_in(text).map_or_else(
            || missing("Claude's answer holds no JSON object"),
            |object| Ok(Some(Value::Object(object))),
        ),
    }
}

/// Of a CLI that prints text nothing but the exit code is known.
fn plain(text: &str, heard: &Heard<'_>, facts: &Ended<'_>) -> Result<Answer, RunFailure> {
    if facts.exit_code != Some(0) {
        let message = if text.is_empty() {
            last_words(facts)
        } else {
            text.to_owned()
        };
        return Err(RunFailure::new(
            kind_of(&message).unwrap_or(FailureKind::Crash),
            message,
        ));
    }
    if text.is_empty() {
        return Err(RunFailure::new(FailureKind::Crash, "Claude ended without a word"));
    }
    Ok(Answer {
        text: text.to_owned(),
        structured: structured(None, text, heard.asked)?,
        raw: Value::from(text),
    })
}

/// Why the result is none.
fn failure(result: &Map<String, Value>) -> Option<RunFailure> {
    let subtype = string(result, "subtype").unwrap_or_default();
    let failed = result.get("is_error").and_then(Value::as_bool).unwrap_or(false);
    if !failed && !subtype.starts_with("error") {
        return None;
    }
    let message = message(result, &subtype);
    let status = result.get("api_error_status").and_then(Value::as_u64);
    let status = status.and_then(|status| u16::try_from(status).ok());
    let kind = match subtype.as_str() {
        "error_max_turns" | "error_max_budget_usd" => FailureKind::Limit,
        "error_max_structured_output_retries" => FailureKind::Answer,
        _ if string(result, "terminal_reason").as_deref() == Some("blocking_limit") => FailureKind::Request,
        _ => status
            .map(FailureKind::of_status)
            .or_else(|| kind_of(&message))
            .unwrap_or(FailureKind::Crash),
    };
    Some(RunFailure::new(kind, message))
}

fn message(result: &Map<String, Value>, subtype: &str) -> String {
    let errors = result.get("errors").and_then(Value::as_array);
    let errors = errors.into_iter().flatten().filter_map(Value::as_str);
    let errors: Vec<_> = errors.filter(|error| !error.starts_with("[ede_diagnostic]")).collect();
    let told = string(result, "result").filter(|text| !text.is_empty());
    let told = told.or_else(|| (!errors.is_empty()).then(|| errors.join("; ")));
    told.unwrap_or_else(|| {
        let reason = string(result, "terminal_reason").unwrap_or_else(|| subtype.to_owned());
        format!("Claude stopped: {reason}")
    })
}

/// The run ended without its final line.
fn silent(heard: &Heard<'_>, facts: &Ended<'_>) -> RunFailure {
    if let Some(bytes) = heard.dropped {
        let why = format!("Claude's output held a line of {bytes} bytes, too long to be read");
        return RunFailure::new(FailureKind::Limit, why);
    }
    let message = last_words(facts);
    RunFailure::new(kind_of(&message).unwrap_or(FailureKind::Crash), message)
}

/// What it wrote to stderr at the end, or how it ended.
fn last_words(facts: &Ended<'_>) -> String {
    let stderr = String::from_utf8_lossy(facts.stderr);
    let last = stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
    match (last, facts.signal, facts.exit_code) {
        (_, Some(signal), _) => format!("Claude was ended by signal {signal} before its final word"),
        (Some(line), None, _) => line.to_owned(),
        (None, None, Some(code)) => format!("Claude ended with exit code {code} before its final word"),
        (None, None, None) => "Claude ended before its final word".to_owned(),
    }
}

fn kind_of(text: &str) -> Option<FailureKind> {
    let status = text
        .split_once("API Error: ")
        .and_then(|(_, rest)| rest.get(..3)?.parse().ok());
    status.map(FailureKind::of_status).or_else(|| phrase(text))
}

fn phrase(text: &str) -> Option<FailureKind> {
    let found = PHRASES
        .iter()
        .find(|(_, phrases)| phrases.iter().any(|phrase| text.contains(phrase)));
    found.map(|(kind, _)| *kind)
}

fn string(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn model(result: &Map<String, Value>, init: &Map<String, Value>) -> Option<String> {
    let named = || string(result, "model").or_else(|| string(result, "provider_model"));
    let used = || {
        result
            .get("modelUsage")
            .and_then(Value::as_object)?
            .keys()
            .next()
            .cloned()
    };
    named().or_else(used).or_else(|| string(init, "model"))
}

/// Where only the result is printed, more turns than the one that answers tell that tools were called in between.
fn took_turns(result: &Map<String, Value>) -> bool {
    result
        .get("num_turns")
        .and_then(Value::as_u64)
        .is_some_and(|turns| turns > 1)
}

fn metadata(result: &Map<String, Value>, heard: &Heard<'_>) -> Map<String, Value> {
    let take = |(from, to): &(&str, &str)| Some(((*to).to_owned(), result.get(*from)?.clone()));
    let mut metadata: Map<_, _> = METADATA
        .iter()
        .filter_map(take)
        .filter(|(_, value)| !value.is_null())
        .collect();
    if heard.results > 1 {
        metadata.insert("results".to_owned(), Value::from(heard.results));
    }
    if let Some(own) = heard.usage.models() {
        // `modelUsage` counts the session; a run has only what it used itself.
        metadata.insert("model_usage".to_owned(), Value::Object(own.clone()));
    }
    metadata
}
