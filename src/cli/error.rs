//! What a failed command tells the person: what happened, why, and the next step.

use crate::cli::exit::Exit;

/// A command's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CliError {
    /// One sentence.
    pub(crate) message: String,
    /// The cause, when the sentence does not say it all.
    pub(crate) detail: Option<String>,
    /// The command or act that mends it.
    pub(crate) hint: Option<String>,
    /// The exit code.
    pub(crate) exit: Exit,
}

impl CliError {
    /// A failure with exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::with(Exit::FAILED, message)
    }

    /// A failure with its own exit code.
    pub(crate) fn with(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            detail: None,
            hint: None,
            exit,
        }
    }

    /// A wrong command line that the parser cannot see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::with(Exit::USAGE, message)
    }

    /// No answer from the control plane.
    pub(crate) fn unreachable(url: &str, why: impl std::fmt::Display) -> Self {
        Self::with(
            Exit::UNREACHABLE,
            format!("The control plane at {url} cannot be reached."),
        )
        .detail(why.to_string())
        .hint("see whether it runs, and the network; where it is the one of this machine: gateway up --detach")
    }

    /// Adds the cause.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the next step.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What every command returns.
pub(crate) type CliResult = Result<Exit, CliError>;
