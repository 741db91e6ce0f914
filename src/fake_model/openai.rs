//! OpenAI Responses.

use std::iter::once;

use serde_json::{Value, json};

use crate::fake_model::asked::{Request, Said, Talk, Tool, list_of, str_of, text_of};
use crate::fake_model::event::{Event, Events};
use crate::fake_model::reply::{Call, Message, Stop, ToolKind, words};

/// When every response was made: 2026-01-01.
const CREATED_AT: u64 = 1_767_225_600;

pub(super) fn request(body: &Value) -> Request {
    let items = list_of(body, "input");
    // Newer models get their tools as an item of the input.
    let more = items.iter().filter(|item| str_of(item, "type") == "additional_tools");
    let tools = once(body).chain(more).flat_map(|holder| list_of(holder, "tools"));
    let text = body.get("input").and_then(Value::as_str);
    let said = items.iter().filter_map(said);
    Request {
        model: str_of(body, "model").to_owned(),
        stream: body.get("stream") == Some(&Value::Bool(true)),
        system: str_of(body, "instructions").to_owned(),
        tools: tools.flat_map(tools_of).collect(),
        schema: body.pointer("/text/format/schema").cloned(),
        schema_is_aside: false,
        talk: Talk::of(said.chain(text.map(|text| Said::User(vec![text.to_owned()])))),
    }
}

fn tools_of(given: &Value) -> Vec<Tool> {
    if str_of(given, "type") == "namespace" {
        let namespace = str_of(given, "name");
        let inside = list_of(given, "tools").iter().map(|tool| Tool {
            namespace: Some(namespace.to_owned()),
            ..tool_of(tool)
        });
        return inside.collect();
    }
    vec![tool_of(given)]
}

fn tool_of(given: &Value) -> Tool {
    let kind = str_of(given, "type");
    Tool {
        name: given.get("name").and_then(Value::as_str).unwrap_or(kind).to_owned(),
        schema: given.get("parameters").cloned().unwrap_or_default(),
        kind: match kind {
            "custom" => ToolKind::Custom,
            "local_shell" => ToolKind::LocalShell,
            _ => ToolKind::Function,
        },
        namespace: None,
    }
}

fn said(item: &Value) -> Option<Said> {
    let kind = str_of(item, "type");
    if kind.ends_with("_call_output") {
        return Some(Said::Result(item.get("output").map(text_of).unwrap_or_default()));
    }
    if !["", "message"].contains(&kind) || str_of(item, "role") != "user" {
        return None;
    }
    Some(Said::User(match item.get("content") {
        Some(Value::String(text)) => vec![text.clone()],
        _ => list_of(item, "content").iter().map(text_of).collect(),
    }))
}

pub(super) fn whole(message: &Message) -> Value {
    let items: Vec<Value> = items(message);
    response(message, &items, true)
}

pub(super) fn events(message: &Message) -> Events {
    let items = items(message);
    let started = response(message, &[], false);
    let done = response(message, &items, true);
    let last = match str_of(&done, "status") {
        "incomplete" => "response.incomplete",
        _ => "response.completed",
    };
    let first = ["response.created", "response.in_progress"];
    let first = first.map(|kind| Event::frame(json!({"type": kind, "response": started})));
    let last = Event::frame(json!({"type": last, "response": done}));
    let items = items
        .into_iter()
        .enumerate()
        .flat_map(|(index, item)| item_events(index, &item));
    let events = first.into_iter().chain(items).chain(once(last));
    Box::new(events.zip(0_u64..).map(|(mut event, number)| {
        if let Some(data) = event.data.as_object_mut() {
            data.insert("sequence_number".to_owned(), number.into());
        }
        event
    }))
}

fn response(message: &Message, output: &[Value], ended: bool) -> Value {
    let (status, why) = match message.stop {
        _ if !ended => ("in_progress", None),
        Stop::End => ("completed", None),
        Stop::Length => ("incomplete", Some("max_output_tokens")),
        Stop::Refusal => ("incomplete", Some("content_filter")),
    };
    let usage = message.usage;
    let usage = ended.then(|| {
        json!({
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.input.saturating_add(usage.output),
        })
    });
    json!({
        "id": format!("resp_{:024}", message.number),
        "object": "response",
        "created_at": CREATED_AT,
        "status": status,
        "error": null,
        "incomplete_details": why.map(|reason| json!({"reason": reason})),
        "instructions": null,
        "model": message.model,
        "output": output,
        "parallel_tool_calls": message.calls.len() > 1,
        "tools": [],
        "usage": usage,
        "metadata": {},
    })
}

fn items(message: &Message) -> Vec<Value> {
    let number = message.number;
    let mut items: Vec<Value> = Vec::new();
    items.extend(message.thinking.iter().map(|text| {
        json!({
            "type": "reasoning",
            "id": format!("rs_{number:024}"),
            "summary": [{"type": "summary_text", "text": text}],
            "encrypted_content": "c2VhbGVk",
        })
    }));
    items.extend(message.text.iter().map(|text| {
        json!({
            "type": "message",
            "id": format!("msg_{number:024}"),
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        })
    }));
    let calls = message.calls.iter().enumerate();
    items.extend(calls.map(|(index, call)| call_item(&format!("{number:022}_{index}"), call)));
    items
}

fn call_item(id: &str, call: &Call) -> Value {
    let text = call
        .arguments
        .as_str()
        .map_or_else(|| call.arguments.to_string(), str::to_owned);
    let mut item = json!({"id": format!("fc_{id}"), "call_id": format!("call_{id}"), "status": "completed"});
    let (kind, key, value) = match call.kind {
        ToolKind::Function => ("function_call", "arguments", Value::from(text)),
        ToolKind::Custom => ("custom_tool_call", "input", Value::from(text)),
        ToolKind::LocalShell => {
            let command = call.arguments.get("command");
            (
                "local_shell_call",
                "action",
                json!({"type": "exec", "command": command}),
            )
        }
    };
    if let Some(item) = item.as_object_mut() {
        item.insert("type".to_owned(), kind.into());
        item.insert(key.to_owned(), value);
        if call.kind != ToolKind::LocalShell {
            item.insert("name".to_owned(), call.name.as_str().into());
        }
        item.extend(
            call.namespace
                .iter()
                .map(|name| ("namespace".to_owned(), name.as_str().into())),
        );
    }
    item
}

/// The events of one item: empty first, then its pieces, then whole.
fn item_events(index: usize, item: &Value) -> Events {
    let id = item.get("id").cloned().unwrap_or_default();
    let at = move |kind: &str, mut more: Value| {
        if let Some(more) = more.as_object_mut() {
            more.insert("type".to_owned(), kind.into());
            more.insert("output_index".to_owned(), index.into());
            more.insert("item_id".to_owned(), id.clone());
        }
        more
    };
    let (empty, pieces): (Value, Events) = match str_of(item, "type") {
        "message" => (
            json!({"type": "message", "id": item.get("id"), "role": "assistant", "status": "in_progress", "content": []}),
            text_events(&text_of(item), at),
        ),
        "reasoning" => {
            let text = item.pointer("/summary/0").map(text_of).unwrap_or_default();
            let empty = json!({"type": "reasoning", "id": item.get("id"), "summary": []});
            (empty, thought_events(&text, at))
        }
        "function_call" => {
            let whole = item.get("arguments").cloned().unwrap_or_default();
            let pieces = [
                Event::word(at("response.function_call_arguments.delta", json!({"delta": whole}))),
                Event::frame(at("response.function_call_arguments.done", json!({"arguments": whole}))),
            ];
            (in_progress(item), Box::new(pieces.into_iter()))
        }
        _ => (in_progress(item), Box::new(std::iter::empty())),
    };
    let added = json!({"type": "response.output_item.added", "output_index": index, "item": empty});
    let done = json!({"type": "response.output_item.done", "output_index": index, "item": item});
    Box::new(once(Event::frame(added)).chain(pieces).chain(once(Event::frame(done))))
}

fn in_progress(item: &Value) -> Value {
    let mut item = item.clone();
    if let Some(item) = item.as_object_mut() {
        item.insert("status".to_owned(), "in_progress".into());
    }
    item
}

fn text_events(text: &str, at: impl Fn(&str, Value) -> Value + Send + 'static) -> Events {
    let part =
        |text: &str| json!({"content_index": 0, "part": {"type": "output_text", "text": text, "annotations": []}});
    let added = at("response.content_part.added", part(""));
    let done = [
        at("response.output_text.done", json!({"content_index": 0, "text": text})),
        at("response.content_part.done", part(text)),
    ];
    let pieces = words(text).into_iter().map(move |piece| {
        let delta = json!({"content_index": 0, "delta": piece});
        Event::word(at("response.output_text.delta", delta))
    });
    Box::new(
        once(Event::frame(added))
            .chain(pieces)
            .chain(done.into_iter().map(Event::frame)),
    )
}

fn thought_events(text: &str, at: impl Fn(&str, Value) -> Value + Send + 'static) -> Events {
    let part = |text: &str| json!({"summary_index": 0, "part": {"type": "summary_text", "text": text}});
    let added = at("response.reasoning_summary_part.added", part(""));
    let done = [
        at(
            "response.reasoning_summary_text.done",
            json!({"summary_index": 0, "text": text}),
        ),
        at("response.reasoning_summary_part.done", part(text)),
    ];
    let pieces = words(text).into_iter().map(move |piece| {
        let delta = json!({"summary_index": 0, "delta": piece});
        Event::word(at("response.reasoning_summary_text.delta", delta))
    });
    Box::new(
        once(Event::frame(added))
            .chain(pieces)
            .chain(done.into_iter().map(Event::frame)),
    )
}

pub(super) fn broken(kind: &str) -> Value {
    let error = json!({"code": kind, "message": "scripted error inside the stream"});
    json!({"type": "response.failed", "response": {"object": "response", "status": "failed", "error": error}})
}

pub(super) fn problem(status: u16, message: &str) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "invalid_api_key",
        403 => "permission_denied",
        404 => "not_found",
        413 => "request_too_large",
        429 => "rate_limit_exceeded",
        _ => "server_error",
    };
    json!({"error": {"message": message, "type": kind, "code": kind, "param": null}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_read() {
        let request = request(&json!({"model": "m", "instructions": "be", "stream": true,
        "tools": [{"type": "function", "name": "exec_command", "parameters": {"properties": {"cmd": {}}}},
            {"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "free"}]}],
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "not the user"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one"}]},
            {"type": "function_call", "name": "exec_command"},
            {"type": "function_call_output", "output": "out"},
        ]}));
        assert_eq!((request.talk.turn, request.talk.results), (1, vec!["out".to_owned()]));
        assert_eq!(request.tools[1].kind, ToolKind::Custom);
        assert_eq!(request.tools[1].namespace.as_deref(), Some("n"));
    }
}
