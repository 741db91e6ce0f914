//! Whether the answer is what was asked for.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::domain::run::{Answer, FailureKind, RunFailure};
use crate::provider::answer::object_in;
use crate::provider::driver::Check;
use crate::provider::request::{OutputForm, RunRequest, Session};

/// Longest time that an answer is held against its schema.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts the JSON of the answer into its place and holds it against the schema.
pub(super) async fn checked(
    mut answer: Answer,
    request: &RunRequest,
    check: Option<&Check>,
) -> Result<Answer, RunFailure> {
    if request.output == OutputForm::Text {
        return Ok(answer);
    }
    if answer.structured.is_none() {
        answer.structured = object_in(&answer.text).map(Value::Object);
    }
    let Some(check) = check else {
        return Ok(answer);
    };
    let check = Arc::clone(check);
    aside(move || match &answer.structured {
        Some(value) => check(value).map(|()| answer),
        None => Err(RunFailure::new(FailureKind::Answer, "The answer holds no JSON object")),
    })
    .await
}

/// Does what schemas ask for on a thread where nothing else waits for it: it may be much.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RunFailure> + Send + 'static,
) -> Result<T, RunFailure> {
    let failed = |kind, why: String| Err(RunFailure::new(kind, why));
    match timeout(PATIENCE, spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(fault)) => failed(FailureKind::Crash, fault.to_string()),
        Err(_elapsed) => failed(
            FailureKind::Request,
            format!("the JSON schema takes more than {PATIENCE:?} of work"),
        ),
    }
}

/// Whether the turn took place in the session asked for.
pub(super) fn same_session(asked: &Session, got: Option<&str>) -> Result<(), RunFailure> {
    match (asked, got) {
        (Session::Resume(asked), Some(got)) if !asked.eq_ignore_ascii_case(got) => Err(RunFailure::new(
            FailureKind::Session,
            format!("The agent went on in session {got} instead of {asked}"),
        )),
        // A new session may get the CLI's own id.
        (Session::Resume(_) | Session::New(_) | Session::Ephemeral, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_session_than_the_one_resumed_is_a_failure() {
        let resume = Session::Resume("a".to_owned());
        assert_eq!(same_session(&resume, Some("a")), Ok(()));
        assert_eq!(same_session(&resume, Some("A")), Ok(()), "a UUID has no case");
        assert_eq!(same_session(&resume, None), Ok(()));
        assert_eq!(same_session(&resume, Some("b")).unwrap_err().kind, FailureKind::Session);
        assert_eq!(same_session(&Session::New("a".to_owned()), Some("b")), Ok(()));
    }
}
