//! Taking the status of a child that has ended.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;

/// How the child ended, if it has; its number may be given to somebody else from then on.
///
/// The safe wrapper knows no real-time signals: who was ended by one would be reaped without a status.
///
/// # Errors
/// `ECHILD` where it is no child of ours, or was reaped before.
#[expect(unsafe_code, reason = "the safe wrapper loses the ends that it has no name for")]
pub(in crate::process) fn reap(child: Pid) -> io::Result<Option<ExitStatus>> {
    let mut status = 0;
    // SAFETY: the call writes one integer.
    let ended = unsafe { libc::waitpid(child.as_raw(), &raw mut status, libc::WNOHANG) };
    match Errno::result(ended)? {
        0 => Ok(None),
        _ => Ok(Some(ExitStatus::from_raw(status))),
    }
}
