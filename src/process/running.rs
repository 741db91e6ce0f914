//! A child of ours from its start until its status is taken.

use std::io;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::runtime::Handle;
use tokio::signal::unix::{self, SignalKind, signal};

use crate::process::owned::OwnedProcess;
use crate::process::sys::launch::Image;
use crate::process::sys::reap::reap;

/// A process that runs, or has ended and waits for us to ask how. Dropped before that, it is killed.
#[derive(Debug)]
pub(super) struct Running {
    own: OwnedProcess,
    // Of any child: each looks whether it was its own.
    ended: unix::Signal,
}

impl Running {
    /// Makes the process; see [`Image::launch`]. Needs the runtime.
    pub(super) fn launch(image: &Image) -> io::Result<Self> {
        let ended = ends()?;
        let own = OwnedProcess::launch(image)?;
        Ok(Self { own, ended })
    }

    /// Its number, which is its own until [`Running::wait`] has returned.
    pub(super) const fn pid(&self) -> Pid {
        self.own.pid()
    }

    /// Awaits its end. May be given up and called again.
    ///
    /// # Errors
    /// What the system says of a process that it does not know.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.own.try_wait()? {
                return Ok(status);
            }
            self.ended.recv().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.own.try_wait() {
            // It leads a group, which may have members by now.
            let _gone = killpg(self.pid(), Signal::SIGKILL);
            // Without a runtime we end too, and the system takes it.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(bury(self.pid()));
            }
        }
    }
}

fn ends() -> io::Result<unix::Signal> {
    signal(SignalKind::child())
}

/// Takes the status of one that nobody waits for.
async fn bury(pid: Pid) -> io::Result<()> {
    let mut ended = ends()?;
    while reap(pid)?.is_none() {
        ended.recv().await;
    }
    Ok(())
}
