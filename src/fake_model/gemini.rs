//! Gemini `generateContent`.

use std::iter::once;

use serde_json::{Value, json};

use crate::fake_model::asked::{Request, Said, Talk, Tool, list_of, str_of, text_of};
use crate::fake_model::event::{Event, Events};
use crate::fake_model::reply::{Message, Stop, words};

/// The model's name and the way of the answer stand in the path.
pub(super) fn request(path: &str, body: &Value) -> Request {
    let model = path.rsplit('/').next().and_then(|last| last.split_once(':'));
    let declared = list_of(body, "tools")
        .iter()
        .flat_map(|group| list_of(group, "functionDeclarations"));
    let schemas = [
        "/generationConfig/responseJsonSchema",
        "/generationConfig/responseSchema",
    ];
    Request {
        model: model.map(|(name, _)| name.to_owned()).unwrap_or_default(),
        stream: path.ends_with(":streamGenerateContent"),
        system: body
            .pointer("/systemInstruction/parts")
            .map(text_of)
            .unwrap_or_default(),
        tools: declared.map(tool).collect(),
        schema: schemas.iter().find_map(|path| body.pointer(path)).cloned(),
        // The CLI has no option for a schema: it asks for routes and summaries of its own.
        schema_is_aside: true,
        talk: Talk::of(list_of(body, "contents").iter().flat_map(said)),
    }
}

fn tool(given: &Value) -> Tool {
    let schema = given.get("parametersJsonSchema").or_else(|| given.get("parameters"));
    Tool {
        name: str_of(given, "name").to_owned(),
        schema: schema.cloned().unwrap_or_default(),
        ..Tool::default()
    }
}

fn said(content: &Value) -> Vec<Said> {
    if str_of(content, "role") == "model" {
        return Vec::new();
    }
    let (mut said, mut texts) = (Vec::new(), Vec::new());
    for part in list_of(content, "parts") {
        if let Some(answer) = part.pointer("/functionResponse/response") {
            let text = answer.get("output").or_else(|| answer.get("error")).map(text_of);
            said.push(Said::Result(text.unwrap_or_else(|| answer.to_string())));
        } else if let Some(text) = part.get("text").and_then(Value::as_str) {
            texts.push(text.to_owned());
        }
    }
    said.push(Said::User(texts));
    said
}

pub(super) fn whole(message: &Message) -> Value {
    let mut parts = thoughts(message);
    parts.extend(message.text.iter().map(|text| json!({"text": text})));
    parts.extend(calls(message));
    piece(message, &parts, true)
}

pub(super) fn events(message: &Message) -> Events {
    let text = message.text.as_deref().map(words).unwrap_or_default();
    let text = text.into_iter().map(|word| json!({"text": word}));
    let parts: Vec<Value> = thoughts(message)
        .into_iter()
        .chain(text)
        .chain(calls(message))
        .collect();
    let last = Event::frame(piece(message, &[json!({"text": ""})], true));
    let message = Message {
        text: None,
        thinking: None,
        calls: Vec::new(),
        ..message.clone()
    };
    let pieces = parts
        .into_iter()
        .map(move |part| Event::word(piece(&message, &[part], false)));
    Box::new(pieces.chain(once(last)))
}

fn thoughts(message: &Message) -> Vec<Value> {
    let thoughts = message.thinking.iter();
    thoughts.map(|text| json!({"text": text, "thought": true})).collect()
}

fn calls(message: &Message) -> Vec<Value> {
    let calls = message.calls.iter();
    calls
        .map(
            |call| json!({"functionCall": {"name": call.name, "args": call.arguments}, "thoughtSignature": "c2VhbGVk"}),
        )
        .collect()
}

fn piece(message: &Message, parts: &[Value], last: bool) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    let mut piece = json!({"modelVersion": message.model, "responseId": format!("resp-{:024}", message.number)});
    if last && let (Some(candidate), Some(piece)) = (candidate.as_object_mut(), piece.as_object_mut()) {
        let why = match message.stop {
            Stop::End => "STOP",
            Stop::Length => "MAX_TOKENS",
            Stop::Refusal => "SAFETY",
        };
        candidate.insert("finishReason".to_owned(), why.into());
        let usage = json!({
            "promptTokenCount": message.usage.input,
            "candidatesTokenCount": message.usage.output,
            "totalTokenCount": message.usage.input.saturating_add(message.usage.output),
        });
        piece.insert("usageMetadata".to_owned(), usage);
    }
    if let Some(piece) = piece.as_object_mut() {
        piece.insert("candidates".to_owned(), json!([candidate]));
    }
    piece
}

pub(super) fn broken(kind: &str) -> Value {
    json!({"error": {"code": 503, "message": "scripted error inside the stream", "status": kind}})
}

pub(super) fn problem(status: u16, message: &str) -> Value {
    let kind = match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    json!({"error": {"code": status, "message": message, "status": kind}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_read() {
        let body = json!({"contents": [
            {"role": "user", "parts": [{"text": "one"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "run_shell_command"}}]},
            {"role": "user", "parts": [{"functionResponse": {"response": {"output": "out"}}}]},
        ], "generationConfig": {"responseSchema": {"type": "OBJECT"}}});
        let request = request("/v1beta/models/gemini-x:streamGenerateContent", &body);
        assert_eq!((request.model.as_str(), request.stream), ("gemini-x", true));
        assert_eq!((request.talk.turn, request.talk.results), (1, vec!["out".to_owned()]));
        assert!(request.schema.is_some());
    }
}
