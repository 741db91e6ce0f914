//! The lines of `stream-json`, as far as they matter. What is not named here is skipped, not built.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::provider::lean::Text;
use crate::provider::tame;

/// Any line.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) subtype: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) parent_tool_use_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) event: Option<StreamEvent<'a>>,
    #[serde(borrow)]
    pub(crate) message: Option<&'a RawValue>,
}

/// The model API's own event inside a `stream_event` line.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) delta: Option<Delta<'a>>,
}

/// A piece of a message.
#[derive(Debug, Deserialize)]
pub(crate) struct Delta<'a> {
    #[serde(borrow)]
    pub(crate) text: Option<Text<'a>>,
}

/// A whole message of the agent, or of the tools to it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    pub(crate) id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) stop_reason: Option<String>,
    #[serde(rename = "content")]
    pub(crate) parts: Vec<Part>,
}

/// A part of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Part {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) text: Option<String>,
    pub(crate) thinking: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) tool_use_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) input: Option<Value>,
    pub(crate) content: Option<Value>,
    pub(crate) is_error: Option<bool>,
}

impl Message {
    /// Reads a message; what has the usual shape is read in one go.
    pub(crate) fn read(raw: &RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_else(|_| Self::read_odd(raw))
    }

    /// A message that is a bare text, or has one for its content, or has parts of a shape nobody knows: these must not
    /// hide the others.
    fn read_odd(raw: &RawValue) -> Self {
        let mut message = tame::read(raw.get().as_bytes()).unwrap_or(Value::Null);
        let content = message.get_mut("content").map(Value::take).unwrap_or(message.clone());
        let parts = match content {
            Value::String(text) => vec![Part::text(text)],
            Value::Array(parts) => parts
                .into_iter()
                .filter_map(|part| serde_json::from_value(part).ok())
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        };
        let member = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            id: member("id"),
            model: member("model"),
            stop_reason: member("stop_reason"),
            parts,
        }
    }
}

impl Part {
    fn text(text: String) -> Self {
        Self {
            kind: "text".to_owned(),
            text: Some(text),
            ..Self::default()
        }
    }
}
