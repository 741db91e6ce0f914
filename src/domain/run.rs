//! A run of an agent, in words that fit every provider: what happened, and how it ended.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::domain::ids::{RunId, SubagentId};
use crate::domain::job::JobStatus;

/// Something that happened in a run. The wire knows it as a row of `subagent_run_events`.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// The agent said something, whole.
    Message {
        /// The provider's id of the message.
        id: Option<String>,
        /// What it said.
        content: String,
        /// Whether it is thinking aloud rather than answering.
        reasoning: bool,
        /// Model that said it.
        model: Option<String>,
        /// Why it stopped there.
        stop_reason: Option<String>,
    },
    /// Text of a message that is still being written; the whole message follows.
    Partial {
        /// The new piece.
        text: String,
    },
    /// The agent uses a tool.
    ToolCall {
        /// The provider's id of the call.
        id: String,
        /// Name of the tool.
        name: Option<String>,
        /// Its arguments.
        input: Value,
        /// One line for people.
        summary: Option<String>,
        /// Message in which it stands.
        message_id: Option<String>,
    },
    /// A tool answered.
    ToolResult {
        /// Id of the call it answers.
        id: String,
        /// Name of the tool.
        name: Option<String>,
        /// What it answered, as text.
        content: String,
        /// Whether the tool failed.
        is_error: bool,
        /// Message in which it stands.
        message_id: Option<String>,
    },
    /// The run got on, or the provider has something to say about itself.
    Progress {
        /// Machine-readable name, such as `api_retry`.
        phase: String,
        /// More.
        details: Map<String, Value>,
    },
}

impl RunEvent {
    /// The wire's `event_type`.
    #[must_use]
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::ToolCall { .. } => "tool_call",
            Self::ToolResult { .. } => "tool_result",
            Self::Partial { .. } | Self::Progress { .. } => "run_progress",
        }
    }

    /// The wire's `payload`.
    #[must_use]
    pub fn payload(&self) -> Value {
        let object = match self {
            Self::Message {
                id,
                content,
                reasoning,
                model,
                stop_reason,
            } => json!({
                "role": "assistant",
                "content": content,
                "kind": reasoning.then_some("reasoning"),
                "message_id": id,
                "model": model,
                "stop_reason": stop_reason,
            }),
            Self::Partial { text } => json!({"phase": "partial_text", "text": text}),
            Self::ToolCall {
                id,
                name,
                input,
                summary,
                message_id,
            } => {
                return json!({
                    "tool_name": name,
                    "tool_use_id": id,
                    "tool_input": input,
                    "summary": summary,
                    "message_id": message_id,
                });
            }
            Self::ToolResult {
                id,
                name,
                content,
                is_error,
                message_id,
            } => {
                return json!({
                    "tool_use_id": id,
                    "tool_name": name,
                    "content": content,
                    "is_error": is_error,
                    "message_id": message_id,
                });
            }
            Self::Progress { phase, details } => {
                let mut object = details.clone();
                object.insert("phase".to_owned(), Value::from(phase.as_str()));
                Value::Object(object)
            }
        };
        without_nulls(object)
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(mut object) => {
            object.retain(|_, value| !value.is_null());
            Value::Object(object)
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => other,
    }
}

/// What has to be told about a run before its job's row may end. It waits with the job's result until it arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "close", rename_all = "snake_case")]
pub enum RunClose {
    /// The run ended here.
    Ended(Box<RunFinal>),
    /// The job failed before or beside its run: what it was to run must not stay running.
    Failed {
        /// Why, in a sentence.
        error: String,
    },
}

/// The end of a run: the request of `finalize-gateway-subagent-run`, and the events that follow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFinal {
    /// Whose run.
    pub subagent_id: SubagentId,
    /// Which one.
    pub run_id: RunId,
    /// A final state.
    pub final_status: JobStatus,
    /// Envelope of a completed run's answer.
    pub output: Option<Value>,
    /// Envelope that stands in for the answer of another one.
    pub failure_output: Option<Value>,
    /// Why it failed or was cancelled.
    pub final_error: Option<String>,
    /// When it ended.
    pub completed_at: Timestamp,
    /// What the program wrote to stderr.
    pub stderr: String,
    /// Merged over the metadata of run and subagent.
    pub metadata_patch: Map<String, Value>,
    /// `(event_type, payload)` of the events that tell of the end.
    pub events: Vec<(String, Value)>,
}

/// The envelope that stands in for an answer: `{schema_version, content, content_type, errors}`.
#[must_use]
pub fn error_envelope(message: &str) -> Value {
    json!({"schema_version": 1, "content": message, "content_type": "text", "errors": [message]})
}

/// Where and for whom gateway runs are executed; in the metadata of every one of them.
#[must_use]
pub fn execution_context() -> Map<String, Value> {
    [
        ("execution_lane", "cloud"),
        ("execution_bridge", "gateway"),
        ("execution_substrate", "gateway_host"),
        ("trust_zone", "user_delegated_host"),
        ("delegate_kind", "gateway_cli"),
    ]
    .map(|(name, word)| (name.to_owned(), Value::from(word)))
    .into_iter()
    .collect()
}

/// What a run came to, as far as its transcript tells.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEnd {
    /// The answer, or why there is none.
    pub answer: Result<Answer, RunFailure>,
    /// Session in which it took place; compare with the one asked for.
    pub session_id: Option<String>,
    /// Model that answered.
    pub model: Option<String>,
    /// Token counts, in the provider's own names. Totals of the session where [`RunEnd::cumulative`].
    pub usage: Option<Value>,
    /// Cost in US dollars. A total of the session where [`RunEnd::cumulative`].
    pub cost_usd: Option<f64>,
    /// Whether `usage` and `cost_usd` count the whole session so far rather than this run.
    pub cumulative: Cumulative,
    /// Whether a tool ran: such a run is never repeated by itself.
    pub tool_ran: bool,
    /// Further members for the run's metadata, such as `permission_denials`.
    pub metadata: Map<String, Value>,
}

/// Which figures count the whole session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cumulative {
    /// `usage`.
    pub usage: bool,
    /// `cost_usd`.
    pub cost: bool,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The answer as text.
    pub text: String,
    /// The structured answer, where the provider gave one apart from the text.
    pub structured: Option<Value>,
    /// The provider's own final object; the text where there is none.
    pub raw: Value,
}

/// Why a run gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RunFailure {
    /// What kind of trouble; decides about health, retry and hint.
    pub kind: FailureKind,
    /// One sentence with the provider's own words.
    pub message: String,
}

impl RunFailure {
    /// A failure of that kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Nobody is logged in, or the key is not accepted (401, 403).
    Authentication,
    /// Over quota, or too many requests (429).
    Quota,
    /// The provider is overloaded (5xx, 529).
    Capacity,
    /// The network or the endpoint cannot be reached, or the stream broke.
    Network,
    /// The model is unknown or not allowed (404).
    Model,
    /// The request itself was refused (400, 413, bad flags, prompt too long).
    Request,
    /// The session asked for is busy, or another one answered.
    Session,
    /// The session asked for does not exist, and never will.
    NoSession,
    /// The answer is not of the form asked for.
    Answer,
    /// The turn, budget or length limit was reached.
    Limit,
    /// The program ended without a word, or in a way nobody knows.
    Crash,
}

impl FailureKind {
    /// The kind that an HTTP status of the model API stands for.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Authentication,
            404 => Self::Model,
            429 => Self::Quota,
            408 | 425 => Self::Network,
            400..=499 => Self::Request,
            500..=599 => Self::Capacity,
            _ => Self::Crash,
        }
    }

    /// Machine-readable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Quota => "quota",
            Self::Capacity => "capacity",
            Self::Network => "network",
            Self::Model => "model",
            Self::Request => "request",
            Self::Session => "session",
            Self::NoSession => "no_session",
            Self::Answer => "answer",
            Self::Limit => "limit",
            Self::Crash => "crash",
        }
    }

    /// Whether the same request may succeed a little later.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        match self {
            Self::Quota | Self::Capacity | Self::Network => true,
            Self::Authentication
            | Self::Model
            | Self::Request
            | Self::Session
            | Self::NoSession
            | Self::Answer
            | Self::Limit
            | Self::Crash => false,
        }
    }

    /// Whether it says something about the provider on this host, not about one job.
    #[must_use]
    pub const fn concerns_provider(self) -> bool {
        match self {
            Self::Authentication | Self::Quota => true,
            Self::Capacity
            | Self::Network
            | Self::Model
            | Self::Request
            | Self::Session
            | Self::NoSession
            | Self::Answer
            | Self::Limit
            | Self::Crash => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_members_stay_away_from_a_message_and_stay_null_in_a_tool_call() {
        let message = RunEvent::Message {
            id: None,
            content: "hi".to_owned(),
            reasoning: false,
            model: None,
            stop_reason: None,
        };
        assert_eq!(message.payload(), json!({"role": "assistant", "content": "hi"}));
        let call = RunEvent::ToolCall {
            id: "t".to_owned(),
            name: None,
            input: Value::Null,
            summary: None,
            message_id: None,
        };
        let expected = json!({
            "tool_name": null, "tool_use_id": "t", "tool_input": null, "summary": null, "message_id": null,
        });
        assert_eq!((call.event_type(), call.payload()), ("tool_call", expected));
    }

    #[test]
    fn a_status_of_the_model_api_is_a_kind_of_trouble() {
        for (status, kind) in [
            (401, FailureKind::Authentication),
            (404, FailureKind::Model),
            (413, FailureKind::Request),
            (429, FailureKind::Quota),
            (529, FailureKind::Capacity),
        ] {
            assert_eq!(FailureKind::of_status(status), kind);
        }
    }
}
