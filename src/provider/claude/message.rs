//! Whole messages, turned into events.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::domain::run::RunEvent;
use crate::provider::claude::line::{Message, Part};

/// Calls remembered; of those beyond it a repetition is not noticed and the result has no name.
const MAX_CALLS: usize = 10_000;
/// The tool by which the CLI takes a structured answer; it does nothing.
pub(crate) const STRUCTURED_OUTPUT: &str = "StructuredOutput";

/// The model's name in what the CLI itself says in the agent's place, mostly about an error.
const SYNTHETIC: &str = "<synthetic>";

/// Makes events of messages and remembers which calls were told.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    calls: HashMap<String, Call>,
    /// Whether a tool ran that may have done something.
    pub(crate) tool_ran: bool,
    /// The model that spoke last.
    pub(crate) model: Option<String>,
}

#[derive(Debug, Default)]
struct Call {
    name: Option<String>,
    answered: bool,
}

impl Messages {
    /// What the agent said and did. What a subagent of it says is progress.
    pub(crate) fn assistant(&mut self, mut message: Message, parent: Option<&str>, events: &mut Vec<RunEvent>) {
        if parent.is_none() && message.model.is_some() && !is_synthetic(&message) {
            self.model.clone_from(&message.model);
        }
        let mut text = String::new();
        for part in std::mem::take(&mut message.parts) {
            match part.kind.as_str() {
                "text" => text += part.text.as_deref().unwrap_or_default(),
                "thinking" => said(
                    &message,
                    parent,
                    part.thinking.as_deref().unwrap_or_default(),
                    true,
                    events,
                ),
                "tool_use" | "server_tool_use" => {
                    said(&message, parent, &std::mem::take(&mut text), false, events);
                    self.call(&message, part, events);
                }
                _ => {}
            }
        }
        said(&message, parent, &text, false, events);
    }

    fn call(&mut self, message: &Message, part: Part, events: &mut Vec<RunEvent>) {
        let Some(id) = part.id.or(part.tool_use_id) else {
            return;
        };
        self.tool_ran |= part.name.as_deref() != Some(STRUCTURED_OUTPUT);
        if self.calls.contains_key(&id) {
            return;
        }
        if self.calls.len() < MAX_CALLS {
            let name = part.name.clone();
            self.calls.insert(id.clone(), Call { name, answered: false });
        }
        let input = part.input.unwrap_or(Value::Null);
        events.push(RunEvent::ToolCall {
            id,
            summary: summary(&input),
            name: part.name,
            input,
            message_id: message.id.clone(),
        });
    }

    /// What tools answered.
    pub(crate) fn user(&mut self, mut message: Message, events: &mut Vec<RunEvent>) {
        for part in std::mem::take(&mut message.parts) {
            if part.kind == "tool_result" {
                self.result(&message, part, events);
            }
        }
    }

    fn result(&mut self, message: &Message, part: Part, events: &mut Vec<RunEvent>) {
        let content = content_text(part.content);
        let Some(id) = part.tool_use_id.or(part.id).filter(|_| !content.is_empty()) else {
            return;
        };
        let call = self.calls.get_mut(&id);
        let told = call.as_ref().is_some_and(|call| call.answered);
        let name = call.and_then(|call| {
            call.answered = true;
            call.name.clone()
        });
        if !told {
            events.push(RunEvent::ToolResult {
                id,
                name,
                content,
                is_error: part.is_error.unwrap_or(false),
                message_id: message.id.clone(),
            });
        }
    }
}

fn said(message: &Message, parent: Option<&str>, text: &str, reasoning: bool, events: &mut Vec<RunEvent>) {
    let content = text.trim_end();
    if content.is_empty() {
        return;
    }
    let content = Value::from(content);
    let progress = |phase: &str, more: Option<(&str, &str)>| RunEvent::Progress {
        phase: phase.to_owned(),
        details: more
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .into_iter()
            .chain([("content".to_owned(), content.clone())])
            .collect::<Map<_, _>>(),
    };
    events.push(match parent {
        Some(parent) => progress("subagent_message", Some(("parent_tool_use_id", parent))),
        None if is_synthetic(message) => progress("provider_notice", None),
        None => RunEvent::Message {
            id: message.id.clone(),
            content: text.trim_end().to_owned(),
            reasoning,
            model: message.model.clone(),
            stop_reason: message.stop_reason.clone(),
        },
    });
}

fn is_synthetic(message: &Message) -> bool {
    message.model.as_deref() == Some(SYNTHETIC)
}

fn content_text(content: Option<Value>) -> String {
    match content {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => {
            serde_json::to_string_pretty(&other).unwrap_or_default()
        }
    }
}

/// One line for people: what is asked for, run or opened.
fn summary(input: &Value) -> Option<String> {
    let member = |name: &str| input.get(name).and_then(Value::as_str).map(str::trim);
    let line = input.as_str().map(|text| text.trim().to_owned());
    let line = line.or_else(|| member("query").map(|query| format!("Query: {query}")));
    let plain = ["text", "command", "file_path", "url", "pattern"];
    line.or_else(|| plain.into_iter().find_map(member).map(str::to_owned))
        .filter(|line| !line.is_empty())
}
