//! What the `debug` column says of a model run: how it was started and what it printed, without secrets.

use serde_json::{Map, Value, json};

use crate::domain::{clock, redact};
use crate::job::agent::{CommandLine, Process};
use crate::job::handler::model_run::Asked;
use crate::process::capture::Captured;

/// Longest path, and how many of them.
const MAX_PATH: usize = 1024;
const MAX_FILES: usize = 128;

/// Before the start.
pub(super) fn before(asked: &Asked, command: &CommandLine) -> Map<String, Value> {
    let path = |path: &std::path::Path| redact::cut(&path.to_string_lossy(), MAX_PATH).to_owned();
    let mut debug = members([
        ("provider_id", json!(asked.provider.wire())),
        ("command", json!(redact::program(&command.program))),
        ("args", json!(redact::arguments(&command.args))),
        (
            "command_line",
            json!(redact::command_line(&command.program, &command.args)),
        ),
        ("work_dir", json!(path(&command.cwd))),
        ("prompt_chars", json!(asked.prompt_chars)),
        ("json_schema_chars", json!(asked.schema_chars)),
        ("timeout_ms", json!(asked.timeout_ms)),
        (
            "output_mode",
            json!(if command.output_file.is_some() {
                "file-json"
            } else {
                command.format.wire()
            }),
        ),
        ("output_path", json!(command.output_file.as_deref().map(path))),
    ]);
    if !command.files.is_empty() {
        let files: Vec<_> = command.files.iter().take(MAX_FILES).map(|file| path(file)).collect();
        debug.insert("files".to_owned(), json!(files));
    }
    debug.retain(|_, value| !value.is_null());
    debug
}

/// After the end.
pub(super) fn after(asked: &Asked, process: &Process, timed_out: bool) -> Map<String, Value> {
    let mut debug = before(asked, &process.command);
    debug.extend(members([
        ("stdout", json!(shown(&process.stdout))),
        ("stdout_truncated", json!(process.stdout.truncated)),
        ("stdout_bytes", json!(process.stdout.total)),
        ("stderr", json!(shown(&process.stderr))),
        ("stderr_truncated", json!(process.stderr.truncated)),
        ("stderr_bytes", json!(process.stderr.total)),
        ("exit_code", json!(process.exit_code)),
        ("duration_ms", json!(clock::millis(process.duration))),
        ("timed_out", json!(timed_out)),
    ]));
    if let Some(summary) = error_summary(&process.stderr.bytes) {
        debug.insert("error_summary".to_owned(), redact::summary(&summary));
    }
    debug
}

fn members<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Output as text for people: without secrets, and without the character that no database takes.
pub(super) fn shown(captured: &Captured) -> String {
    // Cut twice: what is not shown need not be searched, and escapes make the text longer.
    let text = String::from_utf8_lossy(&captured.bytes);
    let text = redact::text(redact::cut(&text, redact::MAX_TEXT)).replace('\0', "\\0");
    redact::cut(&text, redact::MAX_TEXT).to_owned()
}

/// Beginnings of objects that are tried, within the first bytes of a text.
const MAX_TRIES: usize = 64;
const SEARCHED_BYTES: usize = 64 * 1024;

/// The error that a JSON object in stderr describes.
pub(super) fn error_summary(stderr: &[u8]) -> Option<Map<String, Value>> {
    let found = first_object(stderr.get(..SEARCHED_BYTES).unwrap_or(stderr))?;
    let (source, names): (_, &[&str]) = match found.get("error").and_then(Value::as_object) {
        Some(error) => (error, &["message", "type", "code", "param"]),
        None => (&found, &["message", "type", "code"]),
    };
    let text = |name: &&str| {
        Some((
            (*name).to_owned(),
            source.get(*name).filter(|value| value.is_string())?.clone(),
        ))
    };
    let summary: Map<_, _> = names.iter().filter_map(text).collect();
    (!summary.is_empty()).then_some(summary)
}

/// Quotes before an object mean nothing, and an object that does not end costs one look at what follows it.
fn first_object(text: &[u8]) -> Option<Map<String, Value>> {
    let starts = text
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'{')
        .map(|(at, _)| at);
    starts.take(MAX_TRIES).find_map(|at| {
        let rest = text.get(at..)?;
        serde_json::Deserializer::from_slice(rest)
            .into_iter::<Map<String, Value>>()
            .next()?
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_behind_noise() {
        let text = br#"it's a "mess {x} {"error":{"message":"no","code":"c","status":1}} {"message":"later"}"#;
        assert_eq!(json!(error_summary(text)), json!({"message": "no", "code": "c"}));
        let top = br#"warn {"message":"m","type":"t","param":"p"}"#;
        assert_eq!(json!(error_summary(top)), json!({"message": "m", "type": "t"}));
        for none in ["", "plain", "{", "{\"a\":1}"] {
            assert_eq!(error_summary(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn a_flood_of_braces_takes_no_time() {
        assert_eq!(error_summary("{".repeat(5_000_000).as_bytes()), None);
        assert_eq!(error_summary("{\"a\":".repeat(1_000_000).as_bytes()), None);
    }

    #[test]
    fn output_has_no_secret_and_no_nul() {
        let captured = Captured {
            bytes: b"a\0b password=x\xff".to_vec(),
            ..Captured::default()
        };
        assert_eq!(shown(&captured), "a\\0b password=[REDACTED]");
        let long = Captured {
            bytes: vec![0; 300_000],
            ..Captured::default()
        };
        assert_eq!(shown(&long).len(), redact::MAX_TEXT);
    }
}
