//! Arguments and settings that cannot be mistaken for something else.

use std::path::Path;

use uuid::Uuid;

use crate::domain::run::{FailureKind, RunFailure};
use crate::provider::request::RunRequest;

/// A refusal before the start.
pub(crate) fn refusal<T>(kind: FailureKind, why: impl Into<String>) -> Result<T, RunFailure> {
    Err(RunFailure::new(kind, why))
}

/// The model's name, if it can be nothing but a name.
///
/// # Errors
/// It would be read as an option, or cannot be an argument.
pub(crate) fn model(request: &RunRequest) -> Result<Option<&str>, RunFailure> {
    match request.model.as_deref() {
        Some(name) if !is_plain(name) => refusal(FailureKind::Model, format!("{name:?} is no name of a model")),
        name => Ok(name),
    }
}

/// Whether a text is a value in any place of a command line: not empty, no option, no control characters.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && !text.chars().any(char::is_control)
}

/// A session id as these CLIs give them out. Anything else would start or find a session of another name.
///
/// # Errors
/// It is no UUID.
pub(crate) fn session(label: &str, id: &str) -> Result<String, RunFailure> {
    match Uuid::try_parse(id) {
        Ok(id) => Ok(id.hyphenated().to_string()),
        Err(_) => refusal(FailureKind::NoSession, format!("{id:?} is no session id of {label}")),
    }
}

/// A path as text.
///
/// # Errors
/// It is not UTF-8, so that no settings file could name it.
pub(crate) fn path(path: &Path) -> Result<&str, RunFailure> {
    path.to_str().map_or_else(
        || refusal(FailureKind::Request, format!("{} is not UTF-8", path.display())),
        Ok,
    )
}

/// A TOML string. JSON's is one, too, as long as DEL is escaped.
pub(crate) fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toml_string_ends_where_it_should() {
        assert_eq!(toml_string("a\"\\\n\u{7f}é\u{1}"), r#""a\"\\\n\u007fé\u0001""#);
    }

    #[test]
    fn only_a_uuid_is_a_session() {
        let id = "01A1FBB6-25d3-7471-8b5a-ff18f24241f0";
        assert_eq!(session("Codex", id), Ok(id.to_lowercase()));
        for other in ["latest", "1", "--last", ""] {
            assert_eq!(session("Codex", other).unwrap_err().kind, FailureKind::NoSession);
        }
    }

    #[test]
    fn options_are_no_values() {
        assert!(is_plain("gpt-5.5"));
        assert!(!["", "-c", "a\nb", "a\0"].into_iter().any(is_plain));
    }
}
