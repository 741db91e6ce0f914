//! An answer in the form in which run and subagent keep it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An answer as it is stored.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Version of this shape.
    pub schema_version: std::num::NonZeroU32,
    /// The answer.
    pub content: Value,
    /// `markdown`, `text` or `json`.
    pub content_type: ContentType,
    /// What it was before it was converted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_content_type: Option<String>,
    /// Whether the content is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact_content_state: Option<String>,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omission_reason: Option<String>,
    /// In a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<String>>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<String>>,
    /// Where the rest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overflow_artifact: Option<Map<String, Value>>,
}

/// Forms of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentType {
    /// Markdown.
    Markdown,
    /// Plain text.
    Text,
    /// A JSON value.
    Json,
}
