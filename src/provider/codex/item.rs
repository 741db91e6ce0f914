//! Items of `codex exec --json`: what each kind of them means to a run.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::run::RunEvent;
use crate::provider::lean::{Raw, Text};

/// More calls than this are never open at once.
const MAX_OPEN: usize = 256;
/// Longer summaries are no line for people.
const MAX_SUMMARY: usize = 200;

/// An item; what a kind of it does not have is absent.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(crate) struct Item<'a> {
    #[serde(default)]
    id: Text<'a>,
    #[serde(default, rename = "type")]
    kind: Text<'a>,
    text: Option<Text<'a>>,
    message: Option<Text<'a>>,
    status: Option<Text<'a>>,
    command: Option<Text<'a>>,
    aggregated_output: Option<Text<'a>>,
    exit_code: Option<i64>,
    changes: Option<Raw<'a>>,
    query: Option<Text<'a>>,
    server: Option<Text<'a>>,
    tool: Option<Text<'a>>,
    arguments: Option<Raw<'a>>,
    result: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
    items: Option<Raw<'a>>,
}

/// How far an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// `item.started`.
    Started,
    /// `item.updated`.
    Updated,
    /// `item.completed`.
    Completed,
}

/// What the items of a run came to.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// The newest message: the answer, once the turn is complete.
    pub(crate) message: Option<String>,
    /// Whether a tool was called.
    pub(crate) tool_ran: bool,
    /// What Codex complained of without failing.
    pub(crate) warnings: Vec<String>,
    open: VecDeque<String>,
}

impl Items {
    const MAX_WARNINGS: usize = 16;

    /// Takes an item.
    pub(crate) fn take(&mut self, stage: Stage, item: Item<'_>, events: &mut Vec<RunEvent>) {
        match (&*item.kind, stage) {
            ("agent_message" | "reasoning", Stage::Completed) => self.said(item, events),
            ("error", Stage::Completed) => self.warn(item.message.map(String::from).unwrap_or_default(), events),
            ("todo_list", Stage::Started | Stage::Updated | Stage::Completed) => {
                events.push(progress(
                    "plan",
                    [("items", item.items.map(Raw::value).unwrap_or_default())],
                ));
            }
            ("agent_message" | "reasoning" | "error", Stage::Started | Stage::Updated) | (_, Stage::Updated) => {}
            (_, Stage::Started) => self.call(&item, events),
            (_, Stage::Completed) => self.result(item, events),
        }
    }

    fn said(&mut self, item: Item<'_>, events: &mut Vec<RunEvent>) {
        let content = item.text.unwrap_or_default();
        let reasoning = &*item.kind == "reasoning";
        if !reasoning {
            content.clone_into(self.message.get_or_insert_default());
        }
        events.push(RunEvent::Message {
            id: Some(item.id.into()),
            content: content.into(),
            reasoning,
            model: None,
            stop_reason: None,
        });
    }

    fn warn(&mut self, message: String, events: &mut Vec<RunEvent>) {
        events.push(progress("warning", [("message", Value::from(message.as_str()))]));
        if self.warnings.len() < Self::MAX_WARNINGS && !self.warnings.contains(&message) {
            self.warnings.push(message);
        }
    }

    fn call(&mut self, item: &Item<'_>, events: &mut Vec<RunEvent>) {
        self.tool_ran = true;
        if self.open.len() == MAX_OPEN {
            self.open.pop_front();
        }
        let id = item.id.to_string();
        self.open.push_back(id.clone());
        events.push(RunEvent::ToolCall {
            id,
            name: Some(item.tool_name()),
            input: item.input(),
            summary: item.summary(),
            message_id: None,
        });
    }

    /// A quick tool is not announced: then the call comes with its result.
    fn result(&mut self, item: Item<'_>, events: &mut Vec<RunEvent>) {
        if !self.open.iter().any(|open| **open == *item.id) {
            self.call(&item, events);
        }
        self.open.retain(|open| **open != *item.id);
        events.push(RunEvent::ToolResult {
            name: Some(item.tool_name()),
            is_error: item.failed(),
            id: item.id.to_string(),
            content: item.outcome(),
            message_id: None,
        });
    }
}

impl Item<'_> {
    fn tool_name(&self) -> String {
        match (self.server.as_deref(), self.tool.as_deref()) {
            (Some(server), Some(tool)) => format!("{server}.{tool}"),
            (None, Some(tool)) => tool.to_owned(),
            (Some(_) | None, None) => self.kind.to_string(),
        }
    }

    fn input(&self) -> Value {
        if let Some(command) = self.command.as_deref() {
            return json!({"command": command});
        }
        if let Some(changes) = self.changes {
            return json!({"changes": changes.value()});
        }
        if let Some(query) = self.query.as_deref() {
            return json!({"query": query});
        }
        self.arguments.map(Raw::value).unwrap_or_default()
    }

    fn summary(&self) -> Option<String> {
        let text = match (self.command.as_deref(), self.query.as_deref()) {
            (Some(command), _) => Cow::from(command),
            (None, Some(query)) => Cow::from(format!("Query: {query}")),
            (None, None) => Cow::from(self.changed()),
        };
        let line: String = text.lines().next()?.chars().take(MAX_SUMMARY).collect();
        (!line.is_empty()).then_some(line)
    }

    /// The changed files, one a line.
    fn changed(&self) -> String {
        let line = |change: &Value| {
            Some(format!(
                "{} {}",
                change.get("kind")?.as_str()?,
                change.get("path")?.as_str()?
            ))
        };
        let changes = self.changes.map(Raw::value).unwrap_or_default();
        let changes = changes.as_array().into_iter().flatten();
        changes.filter_map(line).collect::<Vec<_>>().join("\n")
    }

    fn failed(&self) -> bool {
        let status = matches!(self.status.as_deref(), Some("failed" | "declined"));
        status || self.exit_code.is_some_and(|code| code != 0) || self.error.is_some()
    }

    fn outcome(self) -> String {
        let changed = self.changed();
        let told = || self.error.or(self.result).map(|told| text_of(&told.value()));
        let output = self.aggregated_output.map(String::from);
        output.or_else(told).or(self.text.map(String::from)).unwrap_or(changed)
    }
}

/// The text inside a result or an error of a tool server; its JSON where there is none.
fn text_of(value: &Value) -> String {
    let part = |part: &Value| part.get("text").and_then(Value::as_str).map(str::to_owned);
    let parts = value.get("content").and_then(Value::as_array);
    let texts: Vec<_> = parts.into_iter().flatten().filter_map(part).collect();
    if !texts.is_empty() {
        return texts.join("\n");
    }
    let text = value.as_str().or_else(|| value.get("message")?.as_str());
    text.map_or_else(|| value.to_string(), str::to_owned)
}

/// A run event about the run itself.
pub(crate) fn progress<const N: usize>(phase: &str, details: [(&str, Value); N]) -> RunEvent {
    let details: Map<_, _> = details
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    RunEvent::Progress {
        phase: phase.to_owned(),
        details,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(items: &mut Items, stage: Stage, item: &Value) -> Vec<Value> {
        let mut events = Vec::new();
        items.take(stage, serde_json::from_str(&item.to_string()).unwrap(), &mut events);
        events.iter().map(RunEvent::payload).collect()
    }

    #[test]
    fn a_tool_of_a_server_is_named_with_its_server() {
        let mut items = Items::default();
        let call = json!({"id": "i", "type": "mcp_tool_call", "server": "charts", "tool": "depth",
            "arguments": {"at": "quay"}, "status": "in_progress"});
        let called = take(&mut items, Stage::Started, &call);
        assert_eq!(
            (&called[0]["tool_name"], &called[0]["tool_input"]),
            (&json!("charts.depth"), &json!({"at": "quay"}))
        );
        let done = json!({"id": "i", "type": "mcp_tool_call", "server": "charts", "tool": "depth", "status": "completed",
            "result": {"content": [{"type": "text", "text": "4 m"}]}, "error": null});
        let done = take(&mut items, Stage::Completed, &done);
        assert_eq!(
            (&done[0]["content"], &done[0]["is_error"], done.len()),
            (&json!("4 m"), &json!(false), 1)
        );
        let failed = json!({"id": "j", "type": "mcp_tool_call", "server": "charts", "tool": "depth", "status": "failed",
            "result": null, "error": {"message": "aground"}});
        let failed = take(&mut items, Stage::Completed, &failed);
        assert_eq!(
            (&failed[1]["content"], &failed[1]["is_error"]),
            (&json!("aground"), &json!(true))
        );
    }

    #[test]
    fn a_search_and_an_item_of_tomorrow_are_tools() {
        let mut items = Items::default();
        let search = json!({"id": "s", "type": "web_search", "query": "tides"});
        let events = take(&mut items, Stage::Completed, &search);
        assert_eq!((events.len(), &events[0]["summary"]), (2, &json!("Query: tides")));
        let mut items = Items::default();
        let events = take(
            &mut items,
            Stage::Started,
            &json!({"id": "t", "type": "teleport", "new": {"member": 1}}),
        );
        assert_eq!(events[0]["tool_name"], json!("teleport"));
        assert!(items.tool_ran, "a run with an unknown item is never repeated");
    }

    #[test]
    fn a_plan_is_progress_and_no_tool() {
        let mut items = Items::default();
        let plan = json!({"id": "p", "type": "todo_list", "items": [{"text": "hoist", "completed": true}]});
        let events = take(&mut items, Stage::Updated, &plan);
        assert_eq!(events[0]["phase"], json!("plan"));
        assert!(!items.tool_ran);
    }

    #[test]
    fn calls_that_never_end_do_not_pile_up() {
        let mut items = Items::default();
        for id in 0..2 * MAX_OPEN {
            take(
                &mut items,
                Stage::Started,
                &json!({"id": id.to_string(), "type": "command_execution", "command": "x"}),
            );
        }
        assert_eq!(items.open.len(), MAX_OPEN);
    }
}
