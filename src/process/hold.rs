//! A child is held between its birth and its exec until it is written down who it is: what cannot be found again never runs.

use std::io::{self, pipe};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, write};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::process::containment::Method;
use crate::process::identity::ProcessIdentity;
use crate::process::running::Running;
use crate::process::sys::hold::{GO, Hold, STAY};
use crate::process::sys::launch::Image;

/// Has to know of every process of a job before it begins.
pub trait Registrar: Send {
    /// Writes down that the process is about to begin.
    ///
    /// # Errors
    /// [`Unregistered`]; the process does not begin then.
    fn register(&mut self, begun: Begun) -> BoxFuture<'_, Result<(), Unregistered>>;
}

/// A process of a job that is about to begin, and what holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Which process it is.
    pub process: ProcessIdentity,
    /// What holds it and all that it will start.
    pub held_by: Method,
    /// The directory of its cgroup, where it is in one of its own.
    pub cgroup: Option<PathBuf>,
}

/// A process could not be written down; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unregistered(pub String);

type Launching = JoinHandle<io::Result<Running>>;

/// How long a child may take to become what it is to be: its directory and its program may lie on a disk that is gone.
const EXEC_WITHIN: Duration = Duration::from_secs(30);

/// A child that has not become what it is to be. Dropped, it never does.
pub(super) struct Fork {
    pid: Pid,
    leave: Leave,
    // The thread that makes the child waits for the end of its exec, and so do we, elsewhere.
    launching: Launching,
}

impl Fork {
    /// Makes the child.
    pub(super) async fn of(mut image: Image) -> io::Result<Self> {
        let ((born, tell), (go, leave)) = (pipe()?, pipe()?);
        let (born, leave) = (Receiver::from_owned_fd(born.into())?, Leave(leave.into()));
        image.hold = Some(Hold::new(tell.into(), go.into()));
        // Our copies of the child's ends are gone when this ends.
        let launching = spawn_blocking(move || Running::launch(&image));
        let (pid, launching) = held(born, launching).await?;
        Ok(Self { pid, leave, launching })
    }

    /// Which process it is.
    pub(super) fn identity(&self) -> ProcessIdentity {
        ProcessIdentity::of_leader(self.pid)
    }

    /// Lets it go on, and waits until it is what it is to be.
    pub(super) async fn exec(self) -> io::Result<Running> {
        self.leave.give()?;
        match timeout(EXEC_WITHIN, self.launching).await {
            Ok(launched) => launched.map_err(io::Error::other)?,
            Err(_) => {
                // Nobody has taken its status, so the number is still its own.
                kill(self.pid, Signal::SIGKILL)?;
                Err(Errno::ETIMEDOUT.into())
            }
        }
    }
}

/// Our end of the pipe at which a child waits. Dropped, it refuses: the end of the pipe would not do, as two children
/// that are held at once have copies of each other's.
struct Leave(OwnedFd);

impl Leave {
    fn give(self) -> io::Result<()> {
        match write(&self.0, &[GO]) {
            // One that was killed meanwhile ends like any other.
            Ok(_) | Err(Errno::EPIPE) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        // Nobody reads it behind the other word.
        let _unread = write(&self.0, &[STAY]);
    }
}

/// Waits until the child says who it is.
async fn held(born: Receiver, mut launching: Launching) -> io::Result<(Pid, Launching)> {
    let told = tokio::select! {
        biased;
        told = said(born) => told,
        ended = &mut launching => return Err(refused(ended)),
    };
    match told {
        Ok(pid) => Ok((pid, launching)),
        // The pipe ends before the thread has told why: it may be a shortage, which is waited out.
        Err(_) => Err(refused(launching.await)),
    }
}

async fn said(mut born: Receiver) -> io::Result<Pid> {
    let mut pid = [0; 4];
    born.read_exact(&mut pid).await?;
    Ok(Pid::from_raw(i32::from_ne_bytes(pid)))
}

/// Why there was no fork.
fn refused(ended: Result<io::Result<Running>, JoinError>) -> io::Error {
    match ended {
        Ok(Err(error)) => error,
        // Only one that was killed says nothing and counts as spawned.
        Ok(Ok(_)) => io::Error::other("a child ended before it was held"),
        Err(error) => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn why_there_is_no_child_is_told() {
        for errno in [Errno::EAGAIN, Errno::EMFILE] {
            let (born, tell) = pipe().unwrap();
            let born = Receiver::from_owned_fd(born.into()).unwrap();
            // The pipe ends first, as it does when the child was not made.
            drop(tell);
            let launching = spawn_blocking(move || Err(errno.into()));
            let refused = held(born, launching).await.unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(errno as i32));
        }
    }
}
