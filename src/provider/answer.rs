//! Finding the JSON in what a model said, and keeping output that comes in no lines.

use serde_json::{Map, Value};

/// The JSON object that a text is or holds: bare, in a code fence, on a line of its own, or between other words.
#[must_use]
pub fn object_in(text: &str) -> Option<Map<String, Value>> {
    let text = text.trim();
    let parsed = |text: &str| serde_json::from_str::<Map<String, Value>>(text.trim()).ok();
    let on_a_line = || {
        text.lines()
            .filter(|line| line.trim_start().starts_with('{'))
            .take(100)
            .find_map(parsed)
    };
    let between = || parsed(text.get(text.find('{')?..=text.rfind('}')?)?);
    parsed(text)
        .or_else(|| parsed(fenced(text)?))
        .or_else(on_a_line)
        .or_else(between)
}

fn fenced(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("```")?;
    let inner = inner.strip_prefix("json").unwrap_or(inner);
    Some(inner.rsplit_once("```").map_or(inner, |(inner, _)| inner))
}

/// Output kept whole, up to a bound.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    bytes: Vec<u8>,
    lost: bool,
}

impl Whole {
    /// More than this is no answer.
    const MAX_BYTES: usize = 16 * 1024 * 1024;

    /// Adds a line; its end is put back.
    pub(crate) fn line(&mut self, line: &[u8]) {
        if self.bytes.len() + line.len() < Self::MAX_BYTES {
            self.bytes.extend_from_slice(line);
            self.bytes.push(b'\n');
        } else {
            self.lost = true;
        }
    }

    /// Something was dropped.
    pub(crate) const fn lose(&mut self) {
        self.lost = true;
    }

    /// The trimmed text, unless something of it was lost.
    pub(crate) fn text(&self) -> Option<String> {
        (!self.lost).then(|| String::from_utf8_lossy(&self.bytes).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_found_wherever_it_stands() {
        for text in [
            r#" {"a":1} "#,
            "```json\n{\"a\":1}\n```",
            "```{\"a\":1}```",
            "```\n{\"a\":\n1}```\nDone.",
            "so: {\"a\":\n1}.",
            "Here {it} is:\n{\"a\":1}\nbye",
            r#"It is {"a":1}, I think"#,
        ] {
            assert_eq!(
                object_in(text).map(Value::from),
                Some(serde_json::json!({"a": 1})),
                "{text}"
            );
        }
        assert!(
            ["", "see {x}", "[1]", "1", "}{", "```"]
                .into_iter()
                .all(|text| object_in(text).is_none())
        );
    }

    #[test]
    fn what_was_lost_is_no_text() {
        let mut whole = Whole::default();
        whole.line(b" a");
        whole.line(b"b ");
        assert_eq!(whole.text().as_deref(), Some("a\nb"));
        whole.line(&vec![b'x'; Whole::MAX_BYTES]);
        assert_eq!(whole.text(), None);
    }
}
