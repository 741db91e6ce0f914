//! Why a run does not begin, and what that means for its job and its rows.

use serde_json::Value;

use crate::domain::job::JobOutcome;
use crate::domain::run::RunClose;

/// Why a job goes no further, and what becomes of its run.
#[derive(Debug)]
pub(super) struct Refused {
    fate: Fate,
    message: String,
    error: String,
    extra: Extra,
}

pub(super) type Extra = Vec<(&'static str, Value)>;

#[derive(Debug, Clone, Copy)]
enum Fate {
    Skipped,
    Orphaned,
    Failed,
}

impl Refused {
    /// The job is not to be done; the run is somebody else's matter.
    pub(super) fn skip(message: impl Into<String>, extra: Extra) -> Self {
        Self::new(Fate::Skipped, message.into(), extra)
    }

    /// The job is not to be done, and nobody else will do it: the run must not stay running.
    pub(super) fn orphan(message: impl Into<String>, extra: Extra) -> Self {
        Self::new(Fate::Orphaned, message.into(), extra)
    }

    /// It cannot be done; its run fails with it.
    pub(super) fn fail(message: impl Into<String>, extra: Extra) -> Self {
        Self::new(Fate::Failed, message.into(), extra)
    }

    fn new(fate: Fate, message: String, extra: Extra) -> Self {
        Self {
            fate,
            error: message.clone(),
            message,
            extra,
        }
    }

    /// The same, with another error than the message.
    pub(super) fn because(self, error: &(impl ToString + ?Sized)) -> Self {
        Self {
            error: error.to_string(),
            ..self
        }
    }

    pub(super) fn outcome(self) -> JobOutcome {
        let Self {
            fate,
            message,
            error,
            extra,
        } = self;
        let close = |error: &str| RunClose::Failed {
            error: error.to_owned(),
        };
        match fate {
            Fate::Skipped => JobOutcome::cancelled(error, extra).saying(message),
            Fate::Orphaned => {
                let close = close(&message);
                JobOutcome::cancelled(error, extra).saying(message).closing(close)
            }
            Fate::Failed => {
                let close = close(&error);
                JobOutcome::failed(error, extra).saying(message).closing(close)
            }
        }
    }
}
