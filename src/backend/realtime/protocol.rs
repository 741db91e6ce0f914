//! Messages of a Realtime channel, written and read (realtime-js 2.119).

use serde_json::{Map, Value, json};

use crate::backend::realtime::{Binding, Change};
use crate::domain::secret::Secret;
use crate::wire::phoenix::Frame;

const SCHEMA: &str = "public";
const MAX_REASON_CHARS: usize = 300;
/// Codes of a refused join that a fresh token may mend.
const TOKEN_CODES: [&str; 4] = ["InvalidJWTToken", "MalformedJWT", "JwtSignatureError", "Unauthorized"];

/// What a message of our topic means.
#[derive(Debug)]
pub(super) enum Reading {
    Ignored,
    Malformed,
    Joined,
    /// The join was accepted with other bindings than asked for.
    Mismatch,
    SystemOk,
    Change(Change),
    /// The channel is over.
    Ended {
        reason: String,
        token_refused: bool,
    },
}

impl Binding {
    fn to_wire(&self) -> Value {
        let mut wire = Map::new();
        wire.insert("event".to_owned(), Value::from(self.event.as_str()));
        wire.insert("schema".to_owned(), Value::from(SCHEMA));
        wire.insert("table".to_owned(), Value::from(self.table.as_str()));
        if let Some(filter) = &self.filter {
            wire.insert("filter".to_owned(), Value::from(filter.as_str()));
        }
        Value::Object(wire)
    }

    fn is_echoed_by(&self, echo: &Value) -> bool {
        let text = |key: &str| echo.get(key).and_then(Value::as_str);
        text("event") == Some(&self.event)
            && text("schema") == Some(SCHEMA)
            && text("table") == Some(&self.table)
            && text("filter") == self.filter.as_deref()
    }
}

pub(super) fn join(topic: &str, bindings: &[Binding], token: &Secret) -> Frame {
    let changes: Vec<_> = bindings.iter().map(Binding::to_wire).collect();
    let payload = json!({
        "config": {
            "broadcast": {"ack": false, "self": false},
            "presence": {"key": "", "enabled": false},
            "postgres_changes": changes,
            "private": false,
        },
        "access_token": token.expose(),
    });
    Frame::new(topic, "phx_join", payload)
}

pub(super) fn heartbeat() -> Frame {
    Frame::new("phoenix", "heartbeat", json!({}))
}

pub(super) fn access_token(topic: &str, token: &Secret) -> Frame {
    Frame::new(topic, "access_token", json!({"access_token": token.expose()}))
}

pub(super) fn leave(topic: &str) -> Frame {
    Frame::new(topic, "phx_leave", json!({}))
}

/// Reads a message of our topic and our join.
pub(super) fn read(frame: Frame, is_join_reply: bool, bindings: &[Binding]) -> Reading {
    let Value::Object(mut payload) = frame.payload else {
        return Reading::Malformed;
    };
    match frame.event.as_str() {
        "phx_reply" => read_reply(&payload, is_join_reply, bindings),
        "system" => read_system(&payload),
        "postgres_changes" => payload
            .remove("data")
            .and_then(change)
            .map_or(Reading::Malformed, Reading::Change),
        "phx_close" => ended("the server closed the channel", ""),
        "phx_error" => ended("the channel failed on the server", text(&payload, "reason")),
        _other => Reading::Ignored,
    }
}

fn read_reply(payload: &Map<String, Value>, is_join_reply: bool, bindings: &[Binding]) -> Reading {
    let response = payload.get("response");
    let reason = response
        .and_then(|response| response.get("reason"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let ok = text(payload, "status") == "ok";
    match (is_join_reply, ok) {
        (true, true) if echoed(response, bindings) => Reading::Joined,
        (true, true) => Reading::Mismatch,
        (true, false) => ended("the join was refused", reason),
        // The server forgot the channel, for instance after a restart behind a proxy.
        (false, false) if reason == "unmatched topic" => ended("the server does not know the channel", reason),
        (false, _) => Reading::Ignored,
    }
}

/// Position by position and sign by sign: another binding would deliver other rows.
fn echoed(response: Option<&Value>, bindings: &[Binding]) -> bool {
    let echoes = response
        .and_then(|response| response.get("postgres_changes"))
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    echoes.len() == bindings.len()
        && bindings
            .iter()
            .zip(echoes)
            .all(|(asked, echo)| asked.is_echoed_by(echo))
}

fn read_system(payload: &Map<String, Value>) -> Reading {
    match (text(payload, "status"), text(payload, "extension")) {
        ("ok", "postgres_changes") => Reading::SystemOk,
        ("error", _) => ended("the subscription failed", text(payload, "message")),
        _other => Reading::Ignored,
    }
}

fn change(data: Value) -> Option<Change> {
    let Value::Object(mut data) = data else { return None };
    let kind = data.get("type")?.as_str()?.to_owned();
    let table = data.get("table")?.as_str()?.to_owned();
    let errors = match data.remove("errors") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(errors)) => errors.iter().map(plain).collect(),
        Some(other) => vec![plain(&other)],
    };
    let row = data.remove("record").or_else(|| data.remove("old_record"));
    let record = match row {
        Some(Value::Object(record)) => record,
        Some(_) | None if errors.is_empty() => return None,
        Some(_) | None => Map::new(),
    };
    Some(Change {
        kind,
        table,
        record,
        errors,
    })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn ended(what: &str, detail: &str) -> Reading {
    let code = detail.split(':').next().unwrap_or_default().trim();
    let token_refused = TOKEN_CODES.contains(&code) || detail.contains("Token has expired");
    let detail: String = detail.chars().take(MAX_REASON_CHARS).collect();
    let reason = if detail.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {detail}")
    };
    Reading::Ended { reason, token_refused }
}

fn text<'a>(payload: &'a Map<String, Value>, key: &str) -> &'a str {
    payload.get(key).and_then(Value::as_str).unwrap_or_default()
}
