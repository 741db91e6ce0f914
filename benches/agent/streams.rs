//! What agents print, over and over: 50 MB of it.

use gateway::provider::ProviderId;
use serde_json::{Value, json};

/// Bytes of a stream.
pub const SIZE: usize = 50_000_000;

/// A stream of one CLI.
pub struct Stream {
    pub provider: ProviderId,
    /// Of short lines: pieces of text, or the smallest messages where the CLI prints no pieces.
    pub pieces: Vec<u8>,
    /// Of what tools say, two thousand characters each time.
    pub results: Vec<u8>,
}

/// One of each CLI.
pub fn all() -> [Stream; 3] {
    [claude(), codex(), gemini()]
}

fn claude() -> Stream {
    let line = |mut line: Value| {
        line["session_id"] = json!("01a1fbb6-25d3-4471-8b5a-ff18f24241f0");
        line["parent_tool_use_id"] = Value::Null;
        line["uuid"] = json!("d7989079-d639-4024-950d-c47fc316d578");
        line["api_message_id"] = json!("msg_0219");
        line
    };
    let delta = json!({"type": "text_delta", "text": " the \"wind\""});
    let piece = json!({"type": "stream_event",
        "event": {"type": "content_block_delta", "index": 0, "delta": delta}});
    let said = |id: usize| {
        let result = json!({"type": "tool_result", "tool_use_id": id.to_string(), "content": output()});
        line(json!({"type": "user", "message": {"role": "user", "content": [result]}}))
    };
    Stream {
        provider: ProviderId::ClaudeCode,
        pieces: filled(|_| line(piece.clone())),
        results: filled(said),
    }
}

fn codex() -> Stream {
    let done = |item: Value| json!({"type": "item.completed", "item": item});
    let said = |id: usize| {
        done(
            json!({"id": format!("item_{id}"), "type": "command_execution", "command": "/bin/bash -lc 'cat log'",
            "aggregated_output": output(), "exit_code": 0, "status": "completed"}),
        )
    };
    Stream {
        provider: ProviderId::Codex,
        pieces: filled(|id| done(json!({"id": format!("item_{id}"), "type": "agent_message", "text": "So"}))),
        results: filled(said),
    }
}

fn gemini() -> Stream {
    const NOW: &str = "2026-11-21T07:30:00.347Z";
    let piece = json!({"type": "message", "timestamp": NOW, "role": "assistant", "content": " wind", "delta": true});
    let said = |id: usize| {
        json!({"type": "tool_result", "timestamp": NOW, "tool_id": format!("run_shell_command_{id}"),
            "status": "success", "output": output()})
    };
    Stream {
        provider: ProviderId::Gemini,
        pieces: filled(|_| piece.clone()),
        results: filled(said),
    }
}

fn output() -> String {
    "some line of 31 characters here\n".repeat(64)
}

fn filled(line: impl Fn(usize) -> Value) -> Vec<u8> {
    let mut stream = Vec::with_capacity(SIZE + 4096);
    for number in 0.. {
        if stream.len() >= SIZE {
            break;
        }
        serde_json::to_writer(&mut stream, &line(number)).expect("memory takes everything");
        stream.push(b'\n');
    }
    stream
}
