//! A child is held between fork and exec until it is written down who it is: what cannot be found again never runs.

use std::io::{self, pipe};
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
        let (born, leave) = (Receiver::from_owned_fd(born.into())?, OwnedFd::from(leave));
        let (tell, go) = (tell.into(), go.into());
        hold(&mut command, Ends { born: tell, go }, &leave);
        let command = owned(command);
        // Our copies of the child's ends are gone when this ends.
        let mut spawning = spawn_blocking(move || without_inheritance(|| spawn(command)));
        let told = tokio::select! {
            biased;
            told = said(born) => told,
            ended = &mut spawning => return Err(refused(ended)),
        };
        match told {
            Ok(pid) => Ok(Self { pid, leave, spawning }),
            // The pipe ends before the thread has told why: it may be a shortage, which is waited out.
            Err(_) => Err(refused(spawning.await)),
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

async fn said(mut born: Receiver) -> io::Result<Pid> {
    let mut pid = [0; 4];
    born.read_exact(&mut pid).await?;
    pid_of(Some(u32::from_ne_bytes(pid)))
}

/// Why there was no fork.
fn refused<T>(ended: Result<io::Result<T>, tokio::task::JoinError>) -> io::Error {
    match ended {
        Ok(Err(error)) => error,
        // Only one that was killed says nothing and counts as spawned.
        Ok(Ok(_)) => io::Error::other("a child ended before it was held"),
        Err(error) => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::process::env::ChildEnv;
    use crate::process::spawn::command;

    #[tokio::test]
    async fn why_there_is_no_fork_is_told() {
        for errno in [Errno::EAGAIN, Errno::EMFILE] {
            let args: [&str; 0] = [];
            let command = command(Path::new("/bin/true"), &args, &ChildEnv::default(), Path::new("/"));
            let refused = Fork::<()>::of(command, move |_| Err(errno.into())).await;
            assert_eq!(refused.err().and_then(|error| error.raw_os_error()), Some(errno as i32));
        }
    }
}
