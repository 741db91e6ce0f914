//! A session of its own for a background process.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Makes the command the leader of a new session without a terminal, so that a closed terminal is no end to it.
#[expect(unsafe_code, reason = "std has no stable setsid")]
pub(in crate::process) fn lead_session(command: &mut Command) {
    let setsid = || nix::unistd::setsid().map(drop).map_err(std::io::Error::from);
    // SAFETY: the closure runs between fork and exec; it is one system call and neither allocates nor locks.
    unsafe { command.pre_exec(setsid) };
}
