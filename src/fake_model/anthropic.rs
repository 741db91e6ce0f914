//! Anthropic Messages.

use std::iter::once;

use serde_json::{Value, json};

use crate::fake_model::asked::{Request, Said, Talk, Tool, list_of, str_of, text_of};
use crate::fake_model::event::{Event, Events};
use crate::fake_model::reply::{Message, Stop, words};

/// Clients pass it on without looking into it.
const SIGNATURE: &str = "c2lnbmVk";

pub(super) fn request(body: &Value) -> Request {
    let format = ["/output_format/schema", "/output_config/format/schema"];
    Request {
        model: str_of(body, "model").to_owned(),
        stream: body.get("stream") == Some(&Value::Bool(true)),
        system: body.get("system").map(text_of).unwrap_or_default(),
        tools: list_of(body, "tools").iter().map(tool).collect(),
        schema: format.iter().find_map(|path| body.pointer(path)).cloned(),
        schema_is_aside: false,
        talk: Talk::of(list_of(body, "messages").iter().flat_map(said)),
    }
}

fn tool(given: &Value) -> Tool {
    Tool {
        name: str_of(given, "name").to_owned(),
        schema: given.get("input_schema").cloned().unwrap_or_default(),
        ..Tool::default()
    }
}

/// What a message says. Besides `assistant` there is `system`, in the middle of the conversation.
fn said(message: &Value) -> Vec<Said> {
    if str_of(message, "role") != "user" {
        return Vec::new();
    }
    let (mut said, mut texts) = (Vec::new(), Vec::new());
    match message.get("content") {
        Some(Value::String(text)) => texts.push(text.clone()),
        _ => {
            for block in list_of(message, "content") {
                match str_of(block, "type") {
                    "tool_result" => said.push(Said::Result(block.get("content").map(text_of).unwrap_or_default())),
                    "text" => texts.push(str_of(block, "text").to_owned()),
                    _ => {}
                }
            }
        }
    }
    said.push(Said::User(texts));
    said
}

pub(super) fn whole(message: &Message) -> Value {
    envelope(
        message,
        &blocks(message),
        Some(stop_reason(message)),
        message.usage.output,
    )
}

pub(super) fn events(message: &Message) -> Events {
    let start = json!({"type": "message_start", "message": envelope(message, &[], None, 1)});
    let end = json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(message), "stop_sequence": null},
        "usage": usage(message, message.usage.output),
    });
    let blocks = blocks(message)
        .into_iter()
        .enumerate()
        .flat_map(|(index, block)| block_events(index, &block));
    Box::new(
        [start, json!({"type": "ping"})]
            .into_iter()
            .map(Event::frame)
            .chain(blocks)
            .chain([end, json!({"type": "message_stop"})].into_iter().map(Event::frame)),
    )
}

fn envelope(message: &Message, content: &[Value], stop_reason: Option<&str>, output: u64) -> Value {
    json!({
        "id": format!("msg_{:024}", message.number),
        "type": "message",
        "role": "assistant",
        "model": message.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": usage(message, output),
    })
}

fn usage(message: &Message, output: u64) -> Value {
    json!({
        "input_tokens": message.usage.input,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn stop_reason(message: &Message) -> &'static str {
    match message.stop {
        Stop::Length => "max_tokens",
        Stop::Refusal => "refusal",
        Stop::End if message.calls.is_empty() => "end_turn",
        Stop::End => "tool_use",
    }
}

fn blocks(message: &Message) -> Vec<Value> {
    let thinking = message.thinking.iter();
    let mut blocks: Vec<Value> = thinking
        .map(|text| json!({"type": "thinking", "thinking": text, "signature": SIGNATURE}))
        .collect();
    blocks.extend(message.text.iter().map(|text| json!({"type": "text", "text": text})));
    blocks.extend(message.calls.iter().enumerate().map(|(index, call)| {
        json!({
            "type": "tool_use",
            "id": format!("toolu_{:022}_{index}", message.number),
            "name": call.name,
            "input": call.arguments,
        })
    }));
    blocks
}

/// The events of one block: empty first, then its pieces.
fn block_events(index: usize, block: &Value) -> Events {
    let delta = move |delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let (empty, pieces): (Value, Events) = match str_of(block, "type") {
        "thinking" => {
            let signed = Event::frame(delta(json!({"type": "signature_delta", "signature": SIGNATURE})));
            let pieces = words(str_of(block, "thinking")).into_iter();
            let pieces = pieces
                .map(move |piece| Event::word(delta(json!({"type": "thinking_delta", "thinking": piece}))))
                .chain(once(signed));
            (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                Box::new(pieces),
            )
        }
        "text" => {
            let pieces = words(str_of(block, "text")).into_iter();
            let pieces = pieces.map(move |piece| Event::word(delta(json!({"type": "text_delta", "text": piece}))));
            (json!({"type": "text", "text": ""}), Box::new(pieces))
        }
        _ => {
            let input = block.get("input").map(Value::to_string).unwrap_or_default();
            let piece = Event::word(delta(json!({"type": "input_json_delta", "partial_json": input})));
            let empty = json!({"type": "tool_use", "id": block.get("id"), "name": block.get("name"), "input": {}});
            (empty, Box::new(once(piece)))
        }
    };
    let start = json!({"type": "content_block_start", "index": index, "content_block": empty});
    let stop = json!({"type": "content_block_stop", "index": index});
    Box::new(once(Event::frame(start)).chain(pieces).chain(once(Event::frame(stop))))
}

pub(super) fn broken(kind: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": "scripted error inside the stream"}})
}

pub(super) fn problem(status: u16, message: &str) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_read() {
        let request = request(
            &json!({"model": "m", "stream": true, "system": [{"type": "text", "text": "be"}],
            "tools": [{"name": "Bash", "input_schema": {"properties": {}}}],
            "messages": [
                {"role": "user", "content": "one"},
                {"role": "system", "content": "not the user"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t"}]},
                {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "out"}]}]},
            ]}),
        );
        assert!(request.stream && request.system == "be" && request.tools[0].name == "Bash");
        assert_eq!((request.talk.turn, request.talk.results), (1, vec!["out".to_owned()]));
    }
}
