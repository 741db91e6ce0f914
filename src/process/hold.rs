//! A child is held between fork and exec until it is written down who it is: what cannot be found again never runs.

use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::OwnedFd;
use std::process::Command;

use futures_util::future::BoxFuture;
use nix::errno::Errno;
use nix::unistd::{Pid, write};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::process::identity::ProcessIdentity;
use crate::process::spawn::{owned, pid_of, without_inheritance};
use crate::process::sys::hold::{Ends, hold};

/// Has to know of every process of a job before it begins.
pub trait Registrar: Send {
    /// Writes down that the process is about to begin.
    ///
    /// # Errors
    /// [`Unregistered`]; the process does not begin then.
    fn register(&mut self, process: ProcessIdentity) -> BoxFuture<'_, Result<(), Unregistered>>;
}

/// A process could not be written down; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unregistered(pub String);

/// A child that has not become what it is to be; `T` is that child. Dropped, it never does.
pub(super) struct Fork<T> {
    pid: Pid,
    leave: OwnedFd,
    // The thread that spawns waits for the end of the exec, and so do we, elsewhere.
    spawning: JoinHandle<io::Result<T>>,
}

impl<T: Send + 'static> Fork<T> {
    /// Forks, by `spawn`. Hooks that the command has already run first.
    pub(super) async fn of(
        mut command: Command,
        spawn: impl FnOnce(tokio::process::Command) -> io::Result<T> + Send + 'static,
    ) -> io::Result<Self> {
        let ((born, tell), (go, leave)) = (pipe()?, pipe()?);
        let (born, leave) = (receiver(born)?, OwnedFd::from(leave));
        hold(&mut command, ends(tell, go), &leave);
        let command = owned(command);
        // Our copies of the child's ends are gone when this ends.
        let mut spawning = spawn_blocking(move || without_inheritance(|| spawn(command)));
        tokio::select! {
            biased;
            pid = said(born) => Ok(Self { pid: pid?, leave, spawning }),
            ended = &mut spawning => Err(refused(ended)),
        }
    }

    /// Which process it is.
    pub(super) fn identity(&self) -> ProcessIdentity {
        ProcessIdentity::of_leader(self.pid)
    }

    /// Lets it go on, and waits until it is what it is to be.
    pub(super) async fn exec(self) -> io::Result<T> {
        match write(&self.leave, &[1]) {
            // One that was killed meanwhile ends like any other.
            Ok(_) | Err(Errno::EPIPE) => drop(self.leave),
            Err(error) => return Err(error.into()),
        }
        self.spawning.await.map_err(io::Error::other)?
    }
}

fn receiver(born: PipeReader) -> io::Result<Receiver> {
    Receiver::from_owned_fd(born.into())
}

fn ends(tell: PipeWriter, go: PipeReader) -> Ends {
    Ends {
        born: tell.into(),
        go: go.into(),
    }
}

async fn said(mut born: Receiver) -> io::Result<Pid> {
    let mut pid = [0; 4];
    born.read_exact(&mut pid).await?;
    pid_of(Some(u32::from_ne_bytes(pid)))
}

/// Why there was no fork.
fn refused<T>(ended: Result<io::Result<T>, tokio::task::JoinError>) -> io::Error {
    match ended {
        Ok(Err(error)) => error,
        // It said who it is before it went on, and then this is not asked.
        Ok(Ok(_)) => io::Error::other("a held child went on by itself"),
        Err(error) => io::Error::other(error),
    }
}
