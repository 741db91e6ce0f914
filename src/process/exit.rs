//! How a process ended.

use std::time::Duration;

use crate::process::capture::Captured;
use crate::process::containment::{Held, Method};
use crate::process::mark::Swept;

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, or by a signal that was not ours.
    Exited,
    /// Its time was up.
    TimedOut {
        /// The polite signal was not enough.
        killed: bool,
    },
    /// Its owner wanted it gone.
    Stopped {
        /// The polite signal was not enough.
        killed: bool,
    },
}

/// What became of the output pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipes {
    /// Read to the end.
    Closed,
    /// Somebody, such as background work, still holds them. What was written until then is captured.
    HeldOpen,
}

/// Everything known about an ended process.
#[must_use]
#[derive(Debug)]
pub struct Exit {
    /// Why it ended.
    pub ending: Ending,
    /// Its exit code, if it had one.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did. Neither code nor signal: it could not be killed within a deadline.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
    /// From spawn to exit.
    pub duration: Duration,
    /// Whether the pipes were read to the end.
    pub pipes: Pipes,
    /// What held it and all that it started.
    pub held_by: Method,
}

impl Exit {
    /// Ended by itself with code 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.ending == Ending::Exited && self.exit_code == Some(0)
    }

    /// How well it was held, with what the sweep after it found.
    #[must_use]
    pub fn held(&self, swept: &Swept) -> Held {
        Held {
            by: self.held_by,
            survivors: swept.survivors.len(),
        }
    }

    /// Whether its time was up.
    #[must_use]
    pub const fn timed_out(&self) -> bool {
        match self.ending {
            Ending::TimedOut { .. } => true,
            Ending::Exited | Ending::Stopped { .. } => false,
        }
    }
}
