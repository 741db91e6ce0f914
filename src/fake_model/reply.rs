//! What the model answers, in words that fit every API.

use std::time::Duration;

use serde_json::Value;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    /// Before anything else.
    pub(super) delay: Duration,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// An HTTP error.
    Problem { status: u16, retry_after: Option<String> },
    /// A message of the model.
    Message {
        message: Message,
        /// Between the words of a stream.
        slow: Duration,
        fault: Option<Fault>,
    },
}

/// A message of the model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// Number of the request, for ids.
    pub(super) number: u64,
    pub(super) model: String,
    pub(super) thinking: Option<String>,
    pub(super) text: Option<String>,
    pub(super) calls: Vec<Call>,
    pub(super) stop: Stop,
    pub(super) usage: Usage,
}

/// A tool call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    /// An object; a text for a tool that takes free text.
    pub(super) arguments: Value,
    pub(super) kind: ToolKind,
    pub(super) namespace: Option<String>,
}

/// How a tool is called on the wire; only OpenAI knows more than one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ToolKind {
    #[default]
    Function,
    /// Free text.
    Custom,
    /// The built-in shell.
    LocalShell,
}

/// Why the message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stop {
    #[default]
    End,
    Length,
    Refusal,
}

/// Token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) input: u64,
    pub(super) output: u64,
}

/// What goes wrong in a stream after its first word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Silence.
    Hang,
    /// A lost connection.
    Drop,
    /// An early end in good order.
    Cut,
    /// An error event of that type.
    Error(String),
}

/// A text in the pieces in which it is streamed: each word with the white space before it.
pub(super) fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut begun) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        if begun && c.is_whitespace() {
            words.push(std::mem::take(&mut word));
        }
        begun = !c.is_whitespace();
        word.push(c);
    }
    match words.last_mut() {
        Some(last) if !begun => String::push_str(last, &word),
        _ if word.is_empty() => {}
        _ => words.push(word),
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_put_together_are_the_text() {
        for (text, count) in [
            ("", 0),
            (" ", 1),
            ("a", 1),
            ("a b", 2),
            (" a\n\n b  ", 2),
            ("ä\u{2028}b", 2),
        ] {
            let pieces = words(text);
            assert_eq!(pieces.concat(), text);
            assert_eq!(pieces.len(), count, "{pieces:?}");
        }
    }
}
