//! JSON lines of the log, shown as lines for people.

use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value};

use crate::cli::times::to_the_second;

/// One line for a person; a line that is no event stays as it is.
pub(crate) fn readable(line: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(event)) => event_line(&event).unwrap_or_else(|| line.to_owned()),
        Ok(_) | Err(_) => line.to_owned(),
    }
}

fn event_line(event: &Map<String, Value>) -> Option<String> {
    let time = event.get("timestamp")?.as_str()?;
    let level = event.get("level")?.as_str()?;
    let fields = event.get("fields").and_then(Value::as_object).unwrap_or(event);
    let message = fields.get("message").and_then(Value::as_str).unwrap_or_default();
    let style = level_style(level);
    let mut line = format!("{} {style}{level:>5}{style:#} {message}", to_the_second(time));
    for (key, value) in fields {
        if !matches!(key.as_str(), "message" | "timestamp" | "level" | "target" | "fields") {
            line.push_str(&format!(" {key}={}", plain(value)));
        }
    }
    Some(line)
}

fn level_style(level: &str) -> Style {
    match level {
        "ERROR" => AnsiColor::Red.on_default(),
        "WARN" => AnsiColor::Yellow.on_default(),
        "INFO" => AnsiColor::Green.on_default(),
        _ => Style::new().dimmed(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if !text.contains(char::is_whitespace) => text.clone(),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_lines_and_other_lines_stay() {
        let line = r#"{"timestamp":"2026-11-21T07:08:28.843994Z","level":"INFO","fields":{"message":"Gateway running","pid":7,"why":"a b"},"target":"x"}"#;
        let shown = anstream::adapter::strip_str(&readable(line)).to_string();
        assert_eq!(shown, "2026-11-21T07:08:28Z  INFO Gateway running pid=7 why=\"a b\"");
        assert_eq!(readable("thread panicked"), "thread panicked");
        assert_eq!(readable("[1]"), "[1]");
    }
}
