//! Texts as others can take them: not too long, and without what no database stores.

use serde_json::{Map, Value};

/// The first `chars` characters of a text, and three dots when there were more.
#[must_use]
pub fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

/// A text without the white space around it, if it says anything.
#[must_use]
pub fn trimmed(value: Option<&Value>) -> Option<&str> {
    let text = value?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

/// The same value as every database takes it: PostgreSQL knows no NUL, so it becomes `\0`, two characters.
#[must_use]
pub fn storable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable_text(text)),
        Value::Array(items) => items.into_iter().map(storable).collect(),
        Value::Object(members) => Value::Object(storable_members(members)),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
    }
}

/// [`storable`], for the members of an object.
#[must_use]
pub fn storable_members(members: Map<String, Value>) -> Map<String, Value> {
    let pairs = members.into_iter();
    pairs
        .map(|(key, value)| (storable_text(key), storable(value)))
        .collect()
}

/// [`storable`], for a text.
#[must_use]
pub fn storable_text(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\\0")
    } else {
        text
    }
}

/// Text of a stranger for a terminal: it must not move the cursor, rename the window, write into the clipboard, or turn
/// the direction of what stands beside it.
#[must_use]
pub fn harmless(text: &str) -> String {
    let replaced = |c: char| match c {
        '\n' | '\t' => c,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(replaced).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn characters_count_not_bytes() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöü", 2), "äö...");
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn white_space_says_nothing() {
        let found = |value| trimmed(Some(&value)).map(str::to_owned);
        assert_eq!(found(json!(" a b\n")).as_deref(), Some("a b"));
        assert_eq!(
            [found(json!(" \t")), found(json!(1)), trimmed(None).map(str::to_owned)],
            [None, None, None]
        );
    }

    #[test]
    fn text_of_a_stranger_commands_no_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\tc\n\u{7}"), "a\u{fffd}[2Jb\tc\n\u{fffd}");
        assert_eq!(harmless("\u{9b}1A\u{202e}x é"), "\u{fffd}1A\u{fffd}x é");
    }

    #[test]
    fn a_nul_is_written_out_wherever_it_stands() {
        let value = json!({"a\0": ["b\0c", 1, null, {"d": "\0"}]});
        assert_eq!(storable(value), json!({"a\\0": ["b\\0c", 1, null, {"d": "\\0"}]}));
    }
}
