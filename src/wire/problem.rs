//! Error bodies of the backend's services, read leniently and written exactly.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A PostgREST error body: always these four members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestProblem {
    /// SQLSTATE or `PGRSTnnn`.
    pub code: String,
    /// More, if there is more.
    #[serde(default)]
    pub details: Option<String>,
    /// What to do, if that is known.
    #[serde(default)]
    pub hint: Option<String>,
    /// One sentence.
    pub message: String,
}

/// What any error body says, whatever service wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problem {
    /// Machine-readable code: `refresh_token_not_found`, `23505`, `PGRST303`, ...
    pub code: Option<String>,
    /// Text for people, at most [`MAX_MESSAGE_CHARS`] characters.
    pub message: Option<String>,
}

/// Longest error text kept, in characters.
pub const MAX_MESSAGE_CHARS: usize = 500;

impl Problem {
    /// Reads PostgREST, Auth (both generations), Functions and plain error bodies. Anything else gives an empty problem.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(body) else {
            return Self::default();
        };
        let text = |keys: &[&str]| {
            keys.iter()
                .filter_map(|key| body.get(*key).and_then(Value::as_str))
                .find(|text| !text.trim().is_empty())
                .map(|text| text.chars().take(MAX_MESSAGE_CHARS).collect::<String>())
        };
        Self {
            code: text(&["error_code", "code"]),
            message: text(&["message", "error", "msg", "error_description"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_auth_generations_and_rest_are_read() {
        let cases = [
            (
                r#"{"code":"refresh_token_not_found","message":"gone"}"#,
                "refresh_token_not_found",
                "gone",
            ),
            (
                r#"{"code":400,"error_code":"session_not_found","msg":"gone"}"#,
                "session_not_found",
                "gone",
            ),
            (
                r#"{"code":"23505","details":null,"hint":null,"message":"dup"}"#,
                "23505",
                "dup",
            ),
        ];
        for (body, code, message) in cases {
            let problem = Problem::read(body.as_bytes());
            assert_eq!(
                (problem.code.as_deref(), problem.message.as_deref()),
                (Some(code), Some(message))
            );
        }
        assert_eq!(Problem::read(b"<html>"), Problem::default());
    }
}
