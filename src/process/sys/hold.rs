//! A child that waits between its birth and its exec for leave to go on.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Pid, read, write};

/// Milliseconds between two looks whether we still live.
const LOOK_UP: libc::c_int = 50;

/// The child's ends of two pipes, and who we are.
#[derive(Debug)]
pub(in crate::process) struct Hold {
    born: OwnedFd,
    go: OwnedFd,
    leave: RawFd,
    parent: Pid,
}

impl Hold {
    /// On `born` the child says who it is, from `go` it takes leave to go on. `leave` is our own end of that pipe. The
    /// child closes its copy, or it would wait for itself. The end of the pipe alone would not tell of ours: two children
    /// that are held at once have copies of each other's pipes.
    pub(in crate::process) fn new(born: OwnedFd, go: OwnedFd, leave: &OwnedFd) -> Self {
        Self {
            born,
            go,
            leave: leave.as_raw_fd(),
            parent: Pid::this(),
        }
    }

    /// In the child: writes its process id, four bytes in the order of this machine, and waits for a byte.
    ///
    /// # Errors
    /// `ECANCELED` where the pipe ends instead, or we do: it must never run.
    #[expect(unsafe_code, reason = "the number is all there is of a copy")]
    pub(super) fn wait(&self) -> Result<(), Errno> {
        // SAFETY: the number is the child's copy of a descriptor that it does not use otherwise.
        unsafe { libc::close(self.leave) };
        write(&self.born, &Pid::this().as_raw().to_ne_bytes())?;
        while !is_readable(&self.go)? {
            if Pid::parent() != self.parent {
                return Err(Errno::ECANCELED);
            }
        }
        match read(&self.go, &mut [0])? {
            0 => Err(Errno::ECANCELED),
            _ => Ok(()),
        }
    }
}

/// Whether there is a byte to read, or the end, within [`LOOK_UP`].
fn is_readable(go: &OwnedFd) -> Result<bool, Errno> {
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
        Err(error) => Err(error),
    }
}
