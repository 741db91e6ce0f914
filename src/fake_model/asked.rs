//! What a request asks, in words that fit every API.

use serde_json::Value;

use crate::fake_model::reply::ToolKind;

/// Blocks that the clients put around or beside what the user typed.
const WRAPPERS: &[&str] = &[
    "system-reminder",
    "environment_context",
    "session_context",
    "user_instructions",
    "skills_instructions",
    "apps_instructions",
    "plugins_instructions",
    "recommended_plugins",
    "collaboration_mode",
    "turn_aborted",
    "INSTRUCTIONS",
];
/// How a block of project instructions begins.
const PROJECT_INSTRUCTIONS: &str = "# AGENTS.md";

/// One request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Request {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) system: String,
    pub(super) tools: Vec<Tool>,
    /// Schema that the answer has to fit.
    pub(super) schema: Option<Value>,
    /// Whether such a schema means that the client asks for itself, not for its user.
    pub(super) schema_is_aside: bool,
    pub(super) talk: Talk,
}

/// A tool that the client offers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) schema: Value,
    pub(super) kind: ToolKind,
    pub(super) namespace: Option<String>,
}

/// One thing said in the conversation so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// By the user, in blocks.
    User(Vec<String>),
    /// By a tool.
    Result(String),
}

/// The conversation, as far as it decides about the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Talk {
    /// How often the user spoke.
    pub(super) turn: u64,
    /// What the user said last, without the clients' own blocks.
    pub(super) prompt: String,
    /// The same as it came.
    pub(super) raw: Vec<String>,
    /// Everything the user said, oldest first, in the form of `prompt`.
    pub(super) prompts: Vec<String>,
    /// What tools said since then.
    pub(super) results: Vec<String>,
}

impl Talk {
    /// The conversation so far.
    pub(super) fn of(said: impl IntoIterator<Item = Said>) -> Self {
        let mut talk = Self::default();
        for said in said {
            match said {
                Said::Result(text) => talk.results.push(text),
                Said::User(blocks) => talk.heard(blocks),
            }
        }
        talk.prompt = talk.prompts.last().cloned().unwrap_or_default();
        talk
    }

    fn heard(&mut self, blocks: Vec<String>) {
        let bare = unwrapped(&blocks.join("\n"));
        if bare.is_empty() || bare.starts_with(PROJECT_INSTRUCTIONS) {
            return;
        }
        self.turn += 1;
        self.prompts.push(bare);
        self.raw = blocks;
        self.results.clear();
    }
}

/// A text without the clients' own blocks.
fn unwrapped(text: &str) -> String {
    let mut text = text.to_owned();
    for tag in WRAPPERS {
        let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
        while let Some((before, rest)) = text.split_once(&open) {
            let Some((_, after)) = rest.split_once(&close) else {
                break;
            };
            text = format!("{before}{after}");
        }
    }
    text.trim().to_owned()
}

/// The text in a content that is a string, a block, or a list of either.
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(text_of).collect(),
        Value::Object(block) => ["text", "content", "output"]
            .iter()
            .find_map(|key| block.get(*key))
            .map(text_of)
            .unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

/// A member that is a text.
pub(super) fn str_of<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A member that is a list.
pub(super) fn list_of<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(text: &str) -> Said {
        Said::User(vec![text.to_owned()])
    }

    #[test]
    fn the_clients_own_blocks_are_no_turn() {
        let talk = Talk::of([
            user("# AGENTS.md instructions\n<INSTRUCTIONS>x</INSTRUCTIONS>"),
            user("<environment_context>\n<cwd>/</cwd></environment_context>"),
            user("first"),
            Said::Result("old".to_owned()),
            user("<system-reminder a=\"1\">be nice</system-reminder>\n second "),
            Said::Result("new".to_owned()),
        ]);
        assert_eq!((talk.turn, talk.prompt.as_str()), (2, "second"));
        assert_eq!(talk.results, ["new"]);
        assert!(talk.raw[0].ends_with(" second "), "{:?}", talk.raw);
    }

    #[test]
    fn text_is_found_in_every_shape() {
        let content = json!([{"type": "text", "text": "a"}, "b", {"content": [{"output": "c"}]}, null]);
        assert_eq!(text_of(&content), "abc");
    }
}
