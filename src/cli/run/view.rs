//! A run as a person watches it: what the agent says on stdout as it comes, everything else beside it on stderr.

use std::io::IsTerminal as _;

use serde_json::Value;

use crate::cli::output::{Output, shortened};
use crate::domain::text::harmless;

/// Characters of a line about a tool, where no terminal says how many fit.
const LINE: usize = 100;
/// Bytes of what was said that are kept, to know in the end whether the answer was shown.
const KEPT: usize = 8 << 20;
/// Arguments of tools that say most about a call, best first.
const TELLING: &[&str] = &[
    "command",
    "cmd",
    "file_path",
    "path",
    "pattern",
    "query",
    "url",
    "prompt",
    "description",
];

/// Shows events in the order in which they happened.
#[derive(Debug)]
pub(crate) struct View<'a> {
    out: &'a Output,
    /// Whether what the agent says is the answer; of a run that answers with JSON only its end is.
    speaks: bool,
    terminal: bool,
    /// The message that is being written, as far as it was shown.
    open: String,
    /// Whether the cursor stands behind text.
    within_line: bool,
    /// All that was said, without white space.
    said: String,
}

impl<'a> View<'a> {
    pub(crate) fn new(out: &'a Output, speaks: bool) -> Self {
        Self {
            out,
            speaks,
            terminal: std::io::stdout().is_terminal(),
            open: String::new(),
            within_line: false,
            said: String::new(),
        }
    }

    /// Shows one event.
    pub(crate) fn event(&mut self, event_type: &str, payload: &Value) {
        match event_type {
            "message" => self.message(payload),
            "tool_call" => self.tool_call(payload),
            "tool_result" => self.tool_result(payload),
            "run_progress" => self.progress(payload),
            "cancellation_requested" => self.aside("cancelling..."),
            _ => {}
        }
    }

    fn message(&mut self, payload: &Value) {
        let Some(content) = text(payload, "content") else {
            let open = std::mem::take(&mut self.open);
            if open.is_empty() {
                self.aside("(a message too long to be sent whole)");
            }
            return;
        };
        if text(payload, "kind") == Some("reasoning") {
            if self.out.is_verbose() {
                self.aside(&format!("thinking: {}", one_line(content)));
            }
            return;
        }
        let open = std::mem::take(&mut self.open);
        match content.strip_prefix(open.as_str()) {
            Some(rest) => self.say(rest),
            None if content.trim() == open.trim() => {}
            None => {
                self.end_line();
                self.say(content);
            }
        }
        self.end_line();
    }

    fn tool_call(&mut self, payload: &Value) {
        let name = text(payload, "tool_name").unwrap_or("tool");
        let about = text(payload, "summary").map_or_else(|| argument(payload.get("tool_input")), one_line);
        self.close_message();
        self.out.aside(&fitting(&format!("> {name}  {about}"), self.terminal));
    }

    fn tool_result(&mut self, payload: &Value) {
        let content = text(payload, "content").unwrap_or_default();
        let mut lines = content.lines().filter(|line| !line.trim().is_empty());
        let first = one_line(lines.next().unwrap_or("(nothing)"));
        let more = match lines.count() {
            0 => String::new(),
            1 => "  (+1 line)".to_owned(),
            more => format!("  (+{more} lines)"),
        };
        let room = LINE.saturating_sub(more.len());
        let line = format!("{}{more}", shortened(&format!("  {first}"), room));
        self.close_message();
        if payload.get("is_error") == Some(&Value::Bool(true)) {
            self.out.aside_fault(&fitting(&line, self.terminal));
        } else {
            self.out.aside(&fitting(&line, self.terminal));
        }
    }

    fn progress(&mut self, payload: &Value) {
        let number = |name: &str| payload.get(name).and_then(Value::as_f64);
        match text(payload, "phase") {
            Some("partial_text") => {
                let piece = text(payload, "text").unwrap_or_default();
                self.open.push_str(piece);
                self.say(piece);
            }
            Some("retry_scheduled") => {
                let seconds = number("delay_ms").unwrap_or_default() / 1_000.0;
                let reason = text(payload, "reason").unwrap_or("an error").replace('_', " ");
                self.aside(&format!("trying again in {seconds:.1} s, because of {reason}"));
            }
            Some("api_retry") => {
                let status = number("error_status").map(|status| format!(" (HTTP {status})"));
                let why = status.or_else(|| Some(format!(": {}", text(payload, "message")?)));
                self.aside(&format!("the model API is asked again{}", why.unwrap_or_default()));
            }
            Some("events_dropped") => {
                let dropped = number("dropped").unwrap_or_default();
                self.aside(&format!("{dropped} events of this run were dropped"));
            }
            Some(phase) if self.out.is_verbose() && phase != "attempt_started" => {
                self.aside(&phase.replace('_', " "));
            }
            Some(_) | None => {}
        }
    }

    /// Shows the answer of a run that has ended, unless it was shown while it came. JSON is always shown here.
    pub(crate) fn answer(&mut self, content: &Value) {
        self.close_message();
        match content {
            Value::String(answer) if self.speaks => {
                let bare = squeezed(answer);
                if !self.said.ends_with(&bare) {
                    self.say(answer);
                }
            }
            Value::Null => {}
            Value::String(answer) => self.print(answer),
            json @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                let pretty = serde_json::to_string_pretty(json).unwrap_or_else(|_error| json.to_string());
                self.print(&pretty);
            }
        }
        self.end_line();
    }

    fn say(&mut self, text: &str) {
        if !self.speaks || text.is_empty() {
            return;
        }
        self.said.push_str(&squeezed(text));
        if self.said.len() > KEPT {
            self.said.clear();
        }
        self.print(text);
    }

    fn print(&mut self, text: &str) {
        if self.terminal {
            self.out.raw_stdout(harmless(text).as_bytes());
        } else {
            self.out.raw_stdout(text.as_bytes());
        }
        self.within_line = !text.ends_with('\n');
    }

    fn aside(&mut self, line: &str) {
        self.close_message();
        self.out.aside(&fitting(line, self.terminal));
    }

    /// What comes is no part of a message that was being written.
    pub(crate) fn close_message(&mut self) {
        self.open.clear();
        self.end_line();
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.within_line) {
            self.out.raw_stdout(b"\n");
        }
    }
}

/// However the watching ends, what comes next begins on a line of its own.
impl Drop for View<'_> {
    fn drop(&mut self) {
        self.end_line();
    }
}

fn text<'a>(payload: &'a Value, name: &str) -> Option<&'a str> {
    payload.get(name).and_then(Value::as_str)
}

/// The argument that says most about a call, on one line.
fn argument(input: Option<&Value>) -> String {
    let Some(input) = input else { return String::new() };
    let telling = TELLING.iter().find_map(|name| text(input, name));
    match telling {
        Some(text) => one_line(text),
        None if input.is_null() => String::new(),
        None => one_line(&input.to_string()),
    }
}

fn one_line(text: &str) -> String {
    // Nobody sees more of it; what is cut is not looked through.
    let start: String = text.chars().take(4 * LINE).collect();
    start.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As much of a line as the terminal is wide, without what would command it.
fn fitting(line: &str, terminal: bool) -> String {
    let width = terminal
        .then(|| terminal_size::terminal_size_of(std::io::stdout()))
        .flatten();
    let width = width.map_or(LINE, |(terminal_size::Width(width), _)| usize::from(width).max(20));
    harmless(&shortened(line, width))
}

fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_shown_by_the_argument_that_says_most() {
        assert_eq!(argument(Some(&json!({"timeout": 5, "command": "ls\n -la"}))), "ls -la");
        assert_eq!(argument(Some(&json!({"x": 1}))), "{\"x\":1}");
        assert_eq!(argument(Some(&Value::Null)), "");
    }

    #[test]
    fn a_line_ends_where_the_terminal_does() {
        assert_eq!(fitting(&"x".repeat(LINE + 1), false).len(), LINE);
    }
}
