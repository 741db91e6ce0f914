//! What is told of a run, while it runs and afterwards.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::domain::run::{Answer, FailureKind, RunEvent, RunFailure};
use crate::job::agent::attempt::cancelled;
use crate::job::agent::retry::Reason;
use crate::process::capture::Captured;
use crate::process::containment::Held;
use crate::process::exit::Exit;
use crate::process::hold::Registrar;
use crate::process::mark::Swept;
use crate::provider::plan::Format;

/// Is told what happens while it happens. Called between two reads of the agent's output, so it may not wait.
pub trait Observer: Registrar {
    /// An attempt is about to start.
    fn planned(&mut self, command: &CommandLine);

    /// Something happened.
    fn event(&mut self, event: RunEvent);
}

/// A command as it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// A path or a bare name.
    pub program: String,
    /// Arguments after it; never the prompt.
    pub args: Vec<String>,
    /// Where it works.
    pub cwd: PathBuf,
    /// Files it reads.
    pub files: Vec<PathBuf>,
    /// File it writes its answer to.
    pub output_file: Option<PathBuf>,
    /// What its stdout holds.
    pub format: Format,
}

/// How the last attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By itself.
    Ended,
    /// The request cannot be made of this CLI.
    Refused,
    /// The program could not be started.
    NotStarted,
    /// The whole run took longer than this.
    TimedOut(Duration),
    /// It said nothing for this long.
    Silent(Duration),
    /// It said more than can be kept.
    TooMuch(Boundary),
    /// Its owner wanted it gone.
    Cancelled,
}

/// Where there was too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// Standard output.
    Stdout,
    /// The output file.
    OutputFile,
}

impl Boundary {
    /// The word of the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::OutputFile => "output_file",
        }
    }
}

impl How {
    pub(super) fn failure(self, limit: usize) -> Option<RunFailure> {
        let (kind, message) = match self {
            Self::Ended | Self::Refused | Self::NotStarted => return None,
            Self::Cancelled => return Some(cancelled()),
            Self::TimedOut(after) => (FailureKind::Limit, format!("The run did not end within {after:?}")),
            Self::Silent(after) => (FailureKind::Network, format!("The agent said nothing for {after:?}")),
            Self::TooMuch(boundary) => {
                let what = boundary.as_str();
                (
                    FailureKind::Limit,
                    format!("{what} exceeded the {limit}-byte output limit"),
                )
            }
        };
        Some(RunFailure::new(kind, message))
    }

    /// Whether its time was up.
    #[must_use]
    pub const fn is_deadline(self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Silent(_))
    }
}

/// A process that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// What was started.
    pub command: CommandLine,
    /// Exit code, if it had one.
    pub exit_code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// From spawn to exit.
    pub duration: Duration,
    /// Beginning and end of stdout, as much as was asked for.
    pub stdout: Captured,
    /// Beginning and end of stderr.
    pub stderr: Captured,
    /// How well it was held.
    pub held: Held,
}

impl Process {
    pub(super) fn new(command: CommandLine, exit: Exit, swept: &Swept) -> Self {
        Self {
            held: exit.held(swept),
            command,
            exit_code: exit.exit_code,
            signal: exit.signal,
            duration: exit.duration,
            stdout: exit.stdout,
            stderr: exit.stderr,
        }
    }
}

/// A run that is over.
#[must_use]
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub how: How,
    /// The answer, or why there is none.
    pub answer: Result<Answer, RunFailure>,
    /// Session in which it took place.
    pub session_id: Option<String>,
    /// Model that answered.
    pub model: Option<String>,
    /// Token counts of this run alone.
    pub usage: Option<Value>,
    /// Cost of this run alone.
    pub cost_usd: Option<f64>,
    /// Whether a tool ran.
    pub tool_ran: bool,
    /// Further members for the run's metadata.
    pub metadata: Map<String, Value>,
    /// The process of the last attempt, if it came to one.
    pub process: Option<Process>,
    /// Why it was tried again, each time.
    pub retries: Vec<Reason>,
    /// How often it might have been tried altogether.
    pub max_attempts: u32,
    /// The whole run, with every attempt and pause.
    pub duration: Duration,
}
