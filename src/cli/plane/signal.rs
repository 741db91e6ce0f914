//! Asking a process of ours to end.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::error::CliError;

/// Sends SIGTERM to the holder of one of our locks. The caller has read `pid` from a lock that is held right now, so
/// that it names no stranger.
pub(crate) fn terminate(pid: u32) -> Result<(), CliError> {
    let number = i32::try_from(pid).ok().filter(|number| *number > 1);
    let Some(number) = number else {
        return Err(CliError::failed(format!("{pid} is no process id.")));
    };
    match kill(Pid::from_raw(number), Signal::SIGTERM) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(CliError::failed("Failed to stop gateway process").detail(format!("PID {pid}: {error}"))),
    }
}
