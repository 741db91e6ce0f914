//! A child that waits between fork and exec for leave to go on.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;

/// The child's ends of two pipes.
pub(in crate::process) struct Ends {
    /// Here it says who it is.
    pub(in crate::process) born: OwnedFd,
    /// From here it takes leave to go on.
    pub(in crate::process) go: OwnedFd,
}

/// Has the command, before it is what it is to be, write its process id, four bytes in the order of this machine, and
/// wait for a byte. Where the pipe ends instead, it never runs.
///
/// `leave` is our own end of that pipe. The child closes its copy, or it would wait for itself.
#[expect(unsafe_code, reason = "the child has to wait between fork and exec")]
pub(in crate::process) fn hold(command: &mut Command, ends: Ends, leave: &OwnedFd) {
    let leave = leave.as_raw_fd();
    let wait = move || {
        // SAFETY: the number is the child's copy of a descriptor that it does not use otherwise.
        unsafe { libc::close(leave) };
        let pid = std::process::id().to_ne_bytes();
        nix::unistd::write(&ends.born, &pid)?;
        match read(&ends.go)? {
            0 => Err(io::Error::from(Errno::ECANCELED)),
            _ => Ok(()),
        }
    };
    // SAFETY: the closure makes system calls; it neither allocates nor locks.
    unsafe { command.pre_exec(wait) };
}

fn read(go: &OwnedFd) -> nix::Result<usize> {
    loop {
        match nix::unistd::read(go, &mut [0]) {
            Err(Errno::EINTR) => {}
            read => return read,
        }
    }
}
