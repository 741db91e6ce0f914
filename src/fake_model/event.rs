//! A server-sent event, and a stream of them.

use serde_json::Value;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) data: Value,
    /// Whether it brings a piece of the answer: pauses come before these, faults after the first of them.
    pub(super) word: bool,
}

/// A stream's events, made as they are sent.
pub(super) type Events = Box<dyn Iterator<Item = Event> + Send>;

impl Event {
    /// An event around the answer.
    pub(super) const fn frame(data: Value) -> Self {
        Self { data, word: false }
    }

    /// A piece of the answer.
    pub(super) const fn word(data: Value) -> Self {
        Self { data, word: true }
    }

    /// As it goes over the wire: named after its `type`, where it has one.
    pub(super) fn wire(&self) -> String {
        // Gemini's client takes these two for the end of a line.
        let data = self.data.to_string().replace('\u{2028}', "\\u2028");
        let data = data.replace('\u{2029}', "\\u2029");
        match self.data.get("type").and_then(Value::as_str) {
            Some(name) => format!("event: {name}\ndata: {data}\n\n"),
            None => format!("data: {data}\n\n"),
        }
    }
}
