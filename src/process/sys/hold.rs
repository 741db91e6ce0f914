//! A child that waits between fork and exec for leave to go on.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;

/// Milliseconds between two looks whether we still live.
const LOOK_UP: libc::c_int = 50;

/// The child's ends of two pipes.
pub(in crate::process) struct Ends {
    /// Here it says who it is.
    pub(in crate::process) born: OwnedFd,
    /// From here it takes leave to go on.
    pub(in crate::process) go: OwnedFd,
}

/// Has the command, before it is what it is to be, write its process id, four bytes in the order of this machine, and
/// wait for a byte. Where the pipe ends instead, or we do, it never runs.
///
/// `leave` is our own end of that pipe. The child closes its copy, or it would wait for itself. The end of the pipe
/// alone would not tell of ours: two children that are held at once have copies of each other's pipes.
#[expect(unsafe_code, reason = "the child has to wait between fork and exec")]
pub(in crate::process) fn hold(command: &mut Command, ends: Ends, leave: &OwnedFd) {
    let (leave, parent) = (leave.as_raw_fd(), Pid::this());
    let wait = move || {
        // SAFETY: the number is the child's copy of a descriptor that it does not use otherwise.
        unsafe { libc::close(leave) };
        let pid = std::process::id().to_ne_bytes();
        nix::unistd::write(&ends.born, &pid)?;
        while !is_readable(&ends.go)? {
            if Pid::parent() != parent {
                return Err(io::Error::from(Errno::ECANCELED));
            }
        }
        match nix::unistd::read(&ends.go, &mut [0])? {
            0 => Err(io::Error::from(Errno::ECANCELED)),
            _ => Ok(()),
        }
    };
    // SAFETY: the closure makes system calls; it neither allocates nor locks.
    unsafe { command.pre_exec(wait) };
}

/// Whether there is a byte to read, or the end, within [`LOOK_UP`].
fn is_readable(go: &OwnedFd) -> io::Result<bool> {
    let mut wanted = libc::pollfd {
        fd: go.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    #[expect(unsafe_code, reason = "one system call, without the allocation of a wrapper")]
    // SAFETY: one valid pollfd is handed over for the time of the call.
    let ready = unsafe { libc::poll(&raw mut wanted, 1, LOOK_UP) };
    match Errno::result(ready) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
