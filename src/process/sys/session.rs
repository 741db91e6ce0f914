//! A session of its own.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Makes the command the leader of a new session without a terminal: a closed one is no end to it, and it can neither
/// read from one nor take it over.
#[expect(unsafe_code, reason = "std has no stable setsid")]
pub(in crate::process) fn lead_session(command: &mut Command) {
    let setsid = || nix::unistd::setsid().map(drop).map_err(std::io::Error::from);
    // SAFETY: the closure runs between fork and exec; it is one system call and neither allocates nor locks.
    unsafe { command.pre_exec(setsid) };
}
