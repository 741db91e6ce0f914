//! What people may see of commands and their output: secrets are taken out, the rest stays readable.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use crate::domain::shapes;

/// Stands for what was taken out.
pub const MARKER: &str = "[REDACTED]";
/// Longest text, in UTF-16 units, as the wire counts.
pub const MAX_TEXT: usize = 200_000;
/// Arguments shown of one command.
const MAX_ARGUMENTS: usize = 128;
/// Characters shown of a command's program and of one argument.
const MAX_PROGRAM: usize = 512;
const MAX_ARGUMENT: usize = 256;
/// Bounds of a summary.
const MAX_ITEMS: usize = 20;
const MAX_SUMMARY_TEXT: usize = 2_000;
const SUMMARY_DEPTH: usize = 2;

/// Names whose values are secrets.
const KEYS: &str = "(?:access|refresh)[_-]?token|api[_-]?key|service[_-]?role[_-]?key|secret|password|authorization\
    |cookie|session[_-]?id|session|token";
/// Names within an argument that make the whole of it suspect. A bare `token` counts between delimiters only.
const SUSPECT: &str = "(?:access|refresh)[_-]?token|api[_-]?key|service[_-]?role[_-]?key|secret|password\
    |authorization|cookie|session|prompt|(?:^|[_-])token(?:$|[_-])";
/// Flags with a secret, or with a text that may be anything, as their value.
const FLAG_WORDS: &[&str] = &[
    "token",
    "key",
    "secret",
    "password",
    "authorization",
    "cookie",
    "session",
    "prompt",
];
const FLAGS: &[&str] = &["-p", "--json-schema"];

struct Patterns {
    json: Option<Regex>,
    pair: Option<Regex>,
    scheme: Option<Regex>,
    suspect: Option<Regex>,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| Patterns {
    json: pattern(&format!(r#"("(?i-u:{KEYS})"[ \t\r\n]*:[ \t\r\n]*)"(?:[^"\\]|\\.)*""#)),
    // A scheme belongs to the secret: `Authorization: Bearer x` is not a name, its value and a word.
    pair: pattern(&format!(
        r#"((?-u:\b)(?i-u:{KEYS})[ \t]*[=:][ \t]*)(?:(?i-u:Bearer|Basic)[ \t]+)?("[^"]*"|'[^']*'|[^ \t\r\n,;"']+)"#
    )),
    scheme: pattern(r"((?-u:\b)(?i-u:Bearer|Basic))[ \t]+[A-Za-z0-9._~+/=-]*[A-Za-z0-9]"),
    suspect: pattern(&format!("(?i-u:{SUSPECT})")),
});

/// The patterns are constants and are compiled by the tests below; one that did not compile would hide nothing.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

/// The text without secrets.
#[must_use]
pub fn text(text: &str) -> String {
    let patterns = &*PATTERNS;
    let steps = [
        (&patterns.json, r#"${1}"[REDACTED]""#),
        (&patterns.pair, "${1}[REDACTED]"),
        (&patterns.scheme, "${1} [REDACTED]"),
    ];
    let mut clean = Cow::Borrowed(text);
    for (pattern, with) in steps {
        if let Some(pattern) = pattern
            && let Cow::Owned(changed) = pattern.replace_all(&clean, with)
        {
            clean = Cow::Owned(changed);
        }
    }
    shapes::masked(&clean).into_owned()
}

/// At most that many UTF-16 units, cut at a character.
#[must_use]
pub fn cut(text: &str, units: usize) -> &str {
    let mut left = units;
    for (at, character) in text.char_indices() {
        match left.checked_sub(character.len_utf16()) {
            Some(rest) => left = rest,
            None => return text.get(..at).unwrap_or_default(),
        }
    }
    text
}

/// The program's name.
#[must_use]
pub fn program(name: &str) -> String {
    cut(&text(name), MAX_PROGRAM).to_owned()
}

/// Arguments without secrets: values of flags that carry some, and whatever looks like one.
#[must_use]
pub fn arguments(args: &[String]) -> Vec<String> {
    let mut is_value = false;
    let mut shown = Vec::new();
    for arg in args.iter().take(MAX_ARGUMENTS) {
        let before = std::mem::replace(&mut is_value, is_sensitive(arg));
        // A flag behind a flag that was given no value is a flag still.
        if before && !is_flag(arg) {
            is_value = false;
            shown.push(MARKER.to_owned());
            continue;
        }
        shown.push(argument(arg));
    }
    shown
}

/// Program and arguments in one line, without secrets.
#[must_use]
pub fn command_line(program_name: &str, args: &[String]) -> String {
    let mut words = vec![program(program_name)];
    words.extend(arguments(args));
    cut(&words.join(" "), MAX_TEXT).to_owned()
}

fn argument(arg: &str) -> String {
    if let Some((flag, _)) = arg.split_once('=').filter(|(flag, _)| is_sensitive(flag)) {
        return format!("{flag}={MARKER}");
    }
    if is_flag(arg) {
        return arg.to_owned();
    }
    let found = |pattern: &Option<Regex>| pattern.as_ref().is_none_or(|pattern| pattern.is_match(arg));
    let is_content = !arg.trim().is_empty() && arg.chars().any(char::is_whitespace)
        || arg.encode_utf16().count() > MAX_ARGUMENT
        || found(&PATTERNS.suspect)
        || shapes::holds_key(arg);
    if is_content {
        let length = arg.encode_utf16().count();
        return format!("[REDACTED_CONTENT:{length}]");
    }
    cut(&text(arg), MAX_ARGUMENT).to_owned()
}

/// Whether it is nothing but the name of a flag.
fn is_flag(arg: &str) -> bool {
    let name = arg.trim_start_matches('-');
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let dashes = arg.len() - name.len();
    (1..=2).contains(&dashes)
        && arg.len() <= 48
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
        && !shapes::holds_key(name)
}

/// Whether the flag's value may not be seen. A flag that switches something off has none.
fn is_sensitive(flag: &str) -> bool {
    let lower = flag.to_ascii_lowercase();
    if FLAGS.contains(&lower.as_str()) {
        return true;
    }
    lower.starts_with('-')
        && is_flag(&lower)
        && !lower.starts_with("--no-")
        && lower != "--dangerously-skip-permissions"
        && FLAG_WORDS.iter().any(|word| lower.contains(word))
}

/// A small object for people: shallow, short, without secrets.
#[must_use]
pub fn summary(value: &Map<String, Value>) -> Value {
    object(value, 0)
}

fn object(value: &Map<String, Value>, depth: usize) -> Value {
    let members = value.iter().take(MAX_ITEMS).map(|(name, value)| {
        let secret = is_sensitive(&format!("--{}", name.to_ascii_lowercase().replace('_', "-")));
        let shown = if secret {
            MARKER.into()
        } else {
            summarised(value, depth + 1)
        };
        (name.clone(), shown)
    });
    Value::Object(members.collect())
}

fn summarised(value: &Value, depth: usize) -> Value {
    match value {
        Value::String(found) => cut(&text(found), MAX_SUMMARY_TEXT).into(),
        Value::Object(_) | Value::Array(_) if depth >= SUMMARY_DEPTH => "[REDACTED_NESTED]".into(),
        Value::Object(found) => object(found, depth),
        Value::Array(found) => found
            .iter()
            .take(MAX_ITEMS)
            .map(|item| summarised(item, depth + 1))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_pattern_compiles() {
        let p = &*PATTERNS;
        assert!(
            [&p.json, &p.scheme, &p.pair, &p.suspect]
                .into_iter()
                .all(Option::is_some)
        );
    }

    #[test]
    fn secrets_leave_a_text_and_the_rest_stays() {
        for (given, shown) in [
            (
                "Authorization: Bearer abc.def-123 next",
                "Authorization: [REDACTED] next",
            ),
            ("bearer abc, then", "bearer [REDACTED], then"),
            (r#"{"api_key": "a\"b", "n": 1}"#, r#"{"api_key": "[REDACTED]", "n": 1}"#),
            ("API-KEY=abc;next", "API-KEY=[REDACTED];next"),
            ("password: 'a b' x", "password: [REDACTED] x"),
            ("the token is fine", "the token is fine"),
            (concat!("key sk-", "ant-api03-abcdefghij"), "key [REDACTED]"),
            ("sk-proj-ABCDEFGHIJKLMNOP!", "[REDACTED]!"),
            ("ghp_abcdefghijklmnopqrstuvwx", "[REDACTED]"),
            ("AIzaSyA-bcdefghijklmnopqrstu", "[REDACTED]"),
            ("eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl", "[REDACTED]"),
            ("task-management-of-things sk-8", "task-management-of-things sk-8"),
            ("größe: 3, Ü", "größe: 3, Ü"),
        ] {
            assert_eq!(text(given), shown, "{given}");
        }
    }

    fn shown(args: &[&str]) -> Vec<String> {
        arguments(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_of_sensitive_flags_go_and_harmless_flags_stay() {
        assert_eq!(
            shown(&["--json-schema", "{}", "--model", "m", "--api-key=abc", "-p"]),
            ["--json-schema", MARKER, "--model", "m", "--api-key=[REDACTED]", "-p"]
        );
        assert_eq!(
            shown(&["--no-session-persistence", "--permission-mode", "dontAsk"]),
            ["--no-session-persistence", "--permission-mode", "dontAsk"]
        );
        assert_eq!(
            shown(&["-p", "--output-format", "json"]),
            ["-p", "--output-format", "json"]
        );
        assert_eq!(
            shown(&["--resume", "a1", "--session-id", "b2"]),
            ["--resume", "a1", "--session-id", MARKER]
        );
        assert_eq!(shown(&["--tools", "", "exec"]), ["--tools", "", "exec"]);
    }

    #[test]
    fn content_is_counted_not_shown() {
        assert_eq!(shown(&["two words"]), ["[REDACTED_CONTENT:9]"]);
        assert_eq!(shown(&[&"x".repeat(257)]), ["[REDACTED_CONTENT:257]"]);
        assert_eq!(shown(&["my_secret_thing"]), ["[REDACTED_CONTENT:15]"]);
        assert_eq!(shown(&["tokens", "a-token"]), ["tokens", "[REDACTED_CONTENT:7]"]);
        assert_eq!(shown(&vec!["x"; 200]).len(), 128);
        assert_eq!(
            command_line("/bin/c", &["a b".to_owned()]),
            "/bin/c [REDACTED_CONTENT:3]"
        );
    }

    #[test]
    fn summaries_are_shallow_and_short() {
        let given = json!({"message": "token=abc", "api_key": 7, "a": {"b": {"c": 1}, "d": [[1]]}, "n": null});
        let expected = json!({
            "message": "token=[REDACTED]", "api_key": MARKER, "a": {"b": "[REDACTED_NESTED]", "d": "[REDACTED_NESTED]"},
            "n": null
        });
        assert_eq!(summary(given.as_object().unwrap()), expected);
    }

    #[test]
    fn a_cut_counts_as_the_wire_does() {
        assert_eq!([0, 1, 2, 3].map(|units| cut("a😀b", units)), ["", "a", "a", "a😀"]);
    }
}
