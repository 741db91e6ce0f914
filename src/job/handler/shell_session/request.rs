//! The payload of a `shell_session` job.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use crate::domain::text::trimmed;
use crate::process::env::ChildEnv;
use crate::process::interactive::{Link, Size};
use crate::process::mark;

/// Size of a terminal nobody gave one.
pub(super) const DEFAULT_SIZE: Size = Size { columns: 120, rows: 40 };
/// A session nobody has asked about for so long is closed; a payload may ask for less.
pub(super) const MAX_IDLE: Duration = Duration::from_hours(24);
const MIN_IDLE: Duration = Duration::from_secs(1);
/// Longest id a caller may choose.
const MAX_ID: usize = 200;
/// Most columns or rows.
const MAX_SIDE: u64 = 10_000;
const MAX_EVENTS_ASKED: u64 = 1_000;
const DEFAULT_EVENTS_ASKED: u64 = 200;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Open,
    Write,
    Read,
    Close,
    Status,
    Resize,
}

/// A payload that is not understood: the text of the job's error, and of its result where that says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Invalid {
    pub(super) error: &'static str,
    pub(super) message: &'static str,
}

const fn invalid(text: &'static str) -> Invalid {
    Invalid {
        error: text,
        message: text,
    }
}

const SHELL_ARGS: Invalid = Invalid {
    error: "Invalid shell_args in payload",
    message: "Invalid shell_args in payload (expected string array)",
};
const ENV: Invalid = Invalid {
    error: "Invalid env in payload",
    message: "Invalid env in payload (expected string/number/boolean map)",
};
const SIZE: Invalid = invalid("Invalid columns or rows in payload");
const MISSING_INPUT: Invalid = invalid("Missing input in payload");

impl Action {
    pub(super) fn read(payload: &Map<String, Value>) -> Option<Self> {
        Some(match text(payload, "action")?.to_lowercase().as_str() {
            "open" => Self::Open,
            "write" => Self::Write,
            "read" => Self::Read,
            "close" => Self::Close,
            "status" => Self::Status,
            "resize" => Self::Resize,
            _ => return None,
        })
    }
}

/// A trimmed text that says something.
pub(super) fn text<'a>(payload: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    trimmed(payload.get(key))
}

/// What to open.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Opening {
    pub(super) session_id: Option<String>,
    pub(super) shell: Option<String>,
    pub(super) shell_args: Vec<String>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) link: Link,
    pub(super) idle: Duration,
    env: Vec<(String, String)>,
}

impl Opening {
    pub(super) fn read(payload: &Map<String, Value>) -> Result<Self, Invalid> {
        let session_id = text(payload, "session_id").map(str::to_owned);
        if session_id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
            return Err(invalid("Invalid session_id in payload"));
        }
        let size = size(payload, DEFAULT_SIZE)?;
        let on_terminal = payload.get("pty") == Some(&Value::Bool(true));
        let idle = payload.get("idle_timeout_ms").and_then(Value::as_u64);
        Ok(Self {
            session_id,
            shell: text(payload, "shell").map(str::to_owned),
            shell_args: shell_args(payload.get("shell_args"))?,
            cwd: text(payload, "cwd").map(PathBuf::from),
            link: if on_terminal { Link::Terminal(size) } else { Link::Pipes },
            idle: idle.map_or(MAX_IDLE, |ms| Duration::from_millis(ms).clamp(MIN_IDLE, MAX_IDLE)),
            env: env(payload.get("env"))?,
        })
    }

    /// The environment of the shell. A terminal knows its size itself, and a variable would outlive a resize.
    pub(super) fn environment(&self, base: &ChildEnv, mark: &str) -> ChildEnv {
        let base = base.clone().with("TERM", "xterm-256color");
        let sized = match self.link {
            Link::Terminal(_) => base.without("COLUMNS").without("LINES"),
            Link::Pipes => base
                .with("COLUMNS", DEFAULT_SIZE.columns.to_string())
                .with("LINES", DEFAULT_SIZE.rows.to_string()),
        };
        let given = self.env.iter().fold(sized, |env, (name, value)| {
            env.with(OsString::from(name), OsString::from(value))
        });
        given.with(mark::NAME, mark)
    }
}

fn shell_args(value: Option<&Value>) -> Result<Vec<String>, Invalid> {
    let Some(value) = given(value) else {
        return Ok(Vec::new());
    };
    let items = value.as_array().ok_or(SHELL_ARGS)?;
    let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
    texts.collect::<Option<_>>().ok_or(SHELL_ARGS)
}

fn env(value: Option<&Value>) -> Result<Vec<(String, String)>, Invalid> {
    let Some(value) = given(value) else {
        return Ok(Vec::new());
    };
    let pair = |(name, value): (&String, &Value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        (!name.is_empty() && !name.contains('=')).then(|| (name.clone(), text))
    };
    let pairs = value.as_object().ok_or(ENV)?.iter().map(pair);
    pairs.collect::<Option<_>>().ok_or(ENV)
}

/// Columns and rows; what is left out stays as it was.
pub(super) fn size(payload: &Map<String, Value>, now: Size) -> Result<Size, Invalid> {
    let side = |key: &str, now: u16| match given(payload.get(key)) {
        None => Ok(now),
        Some(value) => {
            let asked = value.as_u64().filter(|side| (1..=MAX_SIDE).contains(side));
            asked.and_then(|side| u16::try_from(side).ok()).ok_or(SIZE)
        }
    };
    Ok(Size {
        columns: side("columns", now.columns)?,
        rows: side("rows", now.rows)?,
    })
}

fn given(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Writing {
    pub(super) bytes: Vec<u8>,
    pub(super) append_newline: bool,
    /// Nothing more comes: closes a pipe, types the end of file on a terminal.
    pub(super) eof: bool,
}

impl Writing {
    pub(super) fn read(payload: &Map<String, Value>) -> Result<Self, Invalid> {
        let flag = |key: &str| payload.get(key) == Some(&Value::Bool(true));
        let (append_newline, eof) = (flag("append_newline"), flag("eof"));
        let mut bytes = match (payload.get("input"), payload.get("input_base64")) {
            (Some(Value::String(text)), _) => text.clone().into_bytes(),
            (_, Some(Value::String(text))) => BASE64_STANDARD
                .decode(text)
                .map_err(|_malformed| invalid("Invalid input_base64 in payload"))?,
            (None | Some(Value::Null), None | Some(Value::Null)) if eof => Vec::new(),
            (_, _) => return Err(MISSING_INPUT),
        };
        if append_newline {
            bytes.push(b'\n');
        }
        Ok(Self {
            bytes,
            append_newline,
            eof,
        })
    }
}

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) since: u64,
    pub(super) max: u64,
}

impl Reading {
    pub(super) fn read(payload: &Map<String, Value>) -> Self {
        Self {
            since: whole(payload, "since_sequence").unwrap_or_default(),
            max: whole(payload, "max_events").map_or(DEFAULT_EVENTS_ASKED, |max| max.clamp(1, MAX_EVENTS_ASKED)),
        }
    }
}

/// A whole number; below zero is zero, a fraction is cut off.
fn whole(payload: &Map<String, Value>, key: &str) -> Option<u64> {
    let number = payload.get(key)?.as_number()?;
    let rounded = || format!("{:.0}", number.as_f64()?.trunc().clamp(0.0, 1e15)).parse().ok();
    number.as_u64().or_else(rounded)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn actions_are_trimmed_words() {
        let action = |word: Value| Action::read(&map(&json!({"action": word})));
        assert_eq!(action(json!(" Open\n")), Some(Action::Open));
        for word in [json!("run"), json!(""), json!(1), json!(null)] {
            assert_eq!(action(word), None);
        }
        assert_eq!(Action::read(&Map::new()), None);
    }

    #[test]
    fn openings_follow_their_rules() {
        let read = |value: Value| Opening::read(&map(&value));
        let plain = read(json!({"pty": "yes"})).unwrap();
        assert_eq!(
            (plain.link, plain.idle, plain.session_id),
            (Link::Pipes, MAX_IDLE, None)
        );
        let sized = read(json!({"pty": true, "rows": 24, "idle_timeout_ms": 5})).unwrap();
        let size = Size { columns: 120, rows: 24 };
        assert_eq!((sized.link, sized.idle), (Link::Terminal(size), MIN_IDLE));
        for args in [json!("-l"), json!([1]), json!({})] {
            assert_eq!(read(json!({"shell_args": args})), Err(SHELL_ARGS));
        }
        for env in [json!([]), json!({"A": null}), json!({"A=B": ""}), json!({"": ""})] {
            assert_eq!(read(json!({"env": env})), Err(ENV));
        }
        for side in [json!(0), json!(-1), json!("80"), json!(100_000), json!(1.5)] {
            assert_eq!(read(json!({"columns": side})), Err(SIZE));
        }
        assert!(read(json!({"session_id": "x".repeat(201)})).is_err());
    }

    #[test]
    fn the_mark_wins_and_a_terminal_has_no_size_in_its_environment() {
        let base = ChildEnv::default().with("COLUMNS", "1").with("A", "base");
        let env = |value: Value| Opening::read(&map(&value)).unwrap().environment(&base, "j");
        let given = env(json!({"env": {"A": true, "TERM": "dumb", "N": 1.5, mark::NAME: "x"}}));
        for (name, value) in [
            ("A", "true"),
            ("TERM", "dumb"),
            ("N", "1.5"),
            (mark::NAME, "j"),
            ("COLUMNS", "120"),
            ("LINES", "40"),
        ] {
            assert_eq!(given.get(name).unwrap(), value);
        }
        let terminal = env(json!({"pty": true}));
        assert_eq!((terminal.get("COLUMNS"), terminal.get("LINES")), (None, None));
        assert_eq!(terminal.get("TERM").unwrap(), "xterm-256color");
    }

    #[test]
    fn input_is_text_or_bytes_or_the_end() {
        let read = |value: Value| Writing::read(&map(&value)).map(|writing| writing.bytes);
        assert_eq!(read(json!({"input": "a", "append_newline": true})), Ok(b"a\n".to_vec()));
        assert_eq!(read(json!({"input": "", "append_newline": 1})), Ok(Vec::new()));
        assert_eq!(read(json!({"input_base64": "AP8="})), Ok(vec![0, 255]));
        assert_eq!(read(json!({"eof": true})), Ok(Vec::new()));
        assert_eq!(read(json!({})), Err(MISSING_INPUT));
        assert_eq!(read(json!({"input": 1})), Err(MISSING_INPUT));
        assert!(read(json!({"input_base64": "?"})).is_err());
    }

    #[test]
    fn readings_are_clamped() {
        let read = |value: Value| {
            let Reading { since, max } = Reading::read(&map(&value));
            (since, max)
        };
        assert_eq!(read(json!({})), (0, 200));
        assert_eq!(read(json!({"since_sequence": -4, "max_events": 0})), (0, 1));
        assert_eq!(read(json!({"since_sequence": 7.9, "max_events": 9_999})), (7, 1000));
        assert_eq!(read(json!({"since_sequence": "7", "max_events": null})), (0, 200));
    }
}
