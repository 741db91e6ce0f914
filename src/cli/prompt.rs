//! Questions to a person at a terminal.

use std::io::{BufRead as _, Read as _, Write as _};

use crate::cli::error::CliError;
use crate::domain::secret::Secret;

/// Longest line anybody types.
const MAX_LINE: u64 = 64 * 1024;

/// Asks for `y`; everything else is no.
pub(crate) fn yes(question: &str) -> Result<bool, CliError> {
    let answer = line(question)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Asks for a secret; it is not shown while it is typed.
pub(crate) fn secret(question: &str) -> Result<Secret, CliError> {
    let hidden = echo::Off::new();
    let answer = line(question)?;
    if hidden.is_some() {
        // The line end that was typed was not shown either.
        write(b"\n")?;
    }
    Ok(Secret::new(answer.trim()))
}

fn line(question: &str) -> Result<String, CliError> {
    write(question.as_bytes())?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_LINE)
        .read_line(&mut answer)
        .map_err(|error| unreadable(&error))?;
    Ok(answer)
}

fn write(text: &[u8]) -> Result<(), CliError> {
    let mut stderr = std::io::stderr().lock();
    stderr
        .write_all(text)
        .and_then(|()| stderr.flush())
        .map_err(|error| unreadable(&error))
}

fn unreadable(error: &std::io::Error) -> CliError {
    CliError::failed("The terminal cannot be used.").detail(error.to_string())
}

/// Terminal echo, off for as long as the value lives.
mod echo {
    use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

    pub(super) struct Off(Termios);

    impl Off {
        /// `None` when stdin is no terminal: there is nothing to hide then.
        pub(super) fn new() -> Option<Self> {
            let before = tcgetattr(std::io::stdin()).ok()?;
            let mut quiet = before.clone();
            quiet.local_flags.remove(LocalFlags::ECHO);
            tcsetattr(std::io::stdin(), SetArg::TCSANOW, &quiet).ok()?;
            Some(Self(before))
        }
    }

    impl Drop for Off {
        fn drop(&mut self) {
            if tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0).is_err() {
                // A terminal that is gone needs no restoring.
            }
        }
    }
}
