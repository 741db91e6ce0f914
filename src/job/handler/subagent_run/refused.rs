//! Why a run does not begin, and what that means for its job and its rows.

use serde_json::Value;

use crate::domain::job::JobOutcome;
use crate::domain::run::RunClose;

/// Why a job goes no further.
#[derive(Debug)]
pub(super) enum Refused {
    /// The job is not to be done; the run is somebody else's matter.
    Skip {
        message: String,
        error: String,
        extra: Extra,
    },
    /// As [`Refused::Skip`], and nobody else will do it: the run must not stay running.
    Orphan {
        message: String,
        error: String,
        extra: Extra,
    },
    /// It cannot be done; its run fails with it.
    Fail {
        message: String,
        error: String,
        extra: Extra,
    },
}

pub(super) type Extra = Vec<(&'static str, Value)>;

impl Refused {
    pub(super) fn fail(message: impl Into<String>, extra: Extra) -> Self {
        let message = message.into();
        Self::Fail {
            error: message.clone(),
            message,
            extra,
        }
    }

    pub(super) fn outcome(self) -> JobOutcome {
        match self {
            Self::Skip { message, error, extra } => JobOutcome::cancelled(error, extra).saying(message),
            Self::Orphan { message, error, extra } => {
                let close = RunClose::Failed { error: message.clone() };
                JobOutcome::cancelled(error, extra).saying(message).closing(close)
            }
            Self::Fail { message, error, extra } => {
                let close = RunClose::Failed { error: error.clone() };
                JobOutcome::failed(error, extra).saying(message).closing(close)
            }
        }
    }
}
