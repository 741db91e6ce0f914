//! A child process whose exit status this process collects itself.

use std::io;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::process::sys::launch::Image;
use crate::process::sys::reap::reap;

/// A child. Dropping this leaves it running.
#[derive(Debug)]
pub(super) struct OwnedProcess {
    pid: Pid,
    status: Option<ExitStatus>,
}

impl OwnedProcess {
    /// Makes the process; see [`Image::launch`].
    pub(super) fn launch(image: &Image) -> io::Result<Self> {
        let pid = image.launch()?;
        Ok(Self { pid, status: None })
    }

    /// Its number, which is its own until its status was taken.
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// What the system says of a process that it does not know.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = reap(self.pid)?;
        }
        Ok(self.status)
    }

    /// Signals it, unless it has ended.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        match self.try_wait()? {
            Some(_) => Ok(()),
            None => Ok(kill(self.pid, signal)?),
        }
    }

    /// Kills it and blocks until it is dead.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn kill(mut self) -> io::Result<()> {
        self.signal(Signal::SIGKILL)?;
        if self.status.is_none() {
            waitpid(self.pid, None)?;
        }
        Ok(())
    }
}
