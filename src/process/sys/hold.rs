//! A child that waits between its birth and its exec for leave to go on.

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Pid, read, write};

/// Milliseconds between two looks whether we still live.
const LOOK_UP: libc::c_int = 50;

/// Leave to go on, and its refusal.
pub(in crate::process) const GO: u8 = 1;
pub(in crate::process) const STAY: u8 = 0;

/// The child's ends of two pipes, and who we are.
#[derive(Debug)]
pub(in crate::process) struct Hold {
    born: OwnedFd,
    go: OwnedFd,
    parent: Pid,
}

impl Hold {
    /// On `born` the child says who it is, from `go` it takes [`GO`] or [`STAY`].
    pub(in crate::process) fn new(born: OwnedFd, go: OwnedFd) -> Self {
        Self {
            born,
            go,
            parent: Pid::this(),
        }
    }

    /// In the child: writes its process id, four bytes in the order of this machine, and waits for a word. The pipe has no
    /// end that could be waited for: the child has a copy of ours.
    ///
    /// # Errors
    /// `ECANCELED` where it is refused, or we are gone: it must never run.
    pub(super) fn wait(&self) -> Result<(), Errno> {
        write(&self.born, &Pid::this().as_raw().to_ne_bytes())?;
        while !is_readable(&self.go)? {
            if Pid::parent() != self.parent {
                return Err(Errno::ECANCELED);
            }
        }
        let mut word = [STAY];
        match read(&self.go, &mut word)? {
            1 if word == [GO] => Ok(()),
            _ => Err(Errno::ECANCELED),
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
