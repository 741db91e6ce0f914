//! Whether the answer is what was asked for.

use serde_json::Value;

use crate::domain::run::{Answer, FailureKind, RunFailure};
use crate::provider::driver::Check;
use crate::provider::request::{OutputForm, RunRequest, Session};

/// Puts the JSON of the answer into its place and holds it against the schema.
pub(super) fn checked(mut answer: Answer, request: &RunRequest, check: Option<&Check>) -> Result<Answer, RunFailure> {
    if request.output == OutputForm::Text {
        return Ok(answer);
    }
    if answer.structured.is_none() {
        answer.structured = object_in(&answer.text);
    }
    let Some(check) = check else {
        return Ok(answer);
    };
    match &answer.structured {
        Some(value) => check(value).map(|()| answer),
        None => Err(RunFailure::new(FailureKind::Answer, "The answer holds no JSON object")),
    }
}

/// Whether the turn took place in the session asked for.
pub(super) fn same_session(asked: &Session, got: Option<&str>) -> Result<(), RunFailure> {
    match (asked, got) {
        (Session::Resume(asked), Some(got)) if asked != got => Err(RunFailure::new(
            FailureKind::Session,
            format!("The agent went on in session {got} instead of {asked}"),
        )),
        // A new session may get the CLI's own id.
        (Session::Resume(_) | Session::New(_) | Session::Ephemeral, _) => Ok(()),
    }
}

/// The JSON object that a text is, holds in a fence, or holds between other words.
#[must_use]
pub fn object_in(text: &str) -> Option<Value> {
    let text = text.trim();
    let fenced = text.strip_prefix("```").map(|inner| {
        let inner = inner.strip_prefix("json").unwrap_or(inner);
        inner.rsplit_once("```").map_or(inner, |(inner, _)| inner)
    });
    let between = || text.get(text.find('{')?..=text.rfind('}')?);
    parse(text)
        .or_else(|| parse(fenced?))
        .or_else(|| text.lines().find_map(parse))
        .or_else(|| parse(between()?))
}

fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    if !text.starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_found_among_words() {
        for text in [
            r#"{"a":1}"#,
            " {\"a\":\n1}\n",
            "```json\n{\"a\":1}\n```",
            "```\n{\"a\":1}```\nDone.",
            "Here:\n{\"a\":1}\nIs that {good}?",
            "so: {\"a\":\n1}.",
        ] {
            assert_eq!(object_in(text), Some(json!({"a": 1})), "{text}");
        }
        for text in ["", "[1]", "see {x}", "1", "} {", "\"{}\""] {
            assert_eq!(object_in(text).filter(|found| *found != json!({})), None, "{text}");
        }
    }

    #[test]
    fn another_session_than_the_one_resumed_is_a_failure() {
        let resume = Session::Resume("a".to_owned());
        assert_eq!(same_session(&resume, Some("a")), Ok(()));
        assert_eq!(same_session(&resume, None), Ok(()));
        assert_eq!(same_session(&resume, Some("b")).unwrap_err().kind, FailureKind::Session);
        assert_eq!(same_session(&Session::New("a".to_owned()), Some("b")), Ok(()));
    }
}
