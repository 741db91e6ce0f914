//! A child that is talked to while it runs: over pipes, or on a terminal of its own.

use std::io;
use std::os::fd::AsFd as _;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use pty_process::{OwnedReadPty, OwnedWritePty};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::timeout;

use crate::process::containment::Method;
use crate::process::failure;
use crate::process::fence::Fence;
use crate::process::group;
use crate::process::hold::{Fork, Registrar};
use crate::process::identity::ProcessIdentity;
use crate::process::image::{self, Stdio};
use crate::process::pipes;
use crate::process::running::Running;
use crate::process::spawn::{Group, NotSpawned};
use crate::process::spec::Spec;

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What the child talks through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Three pipes: stdout and stderr stay apart.
    Pipes,
    /// A terminal of this size, which the child controls.
    Terminal(Size),
}

/// A running child. Dropped, it takes its process group and its job's cgroup with it.
#[must_use = "a child that nobody holds is killed"]
#[derive(Debug)]
pub struct Interactive {
    // Before `child`, so that on drop the group is signalled while the leader still pins its number.
    group: Group,
    fence: Fence,
    held_by: Method,
    child: Running,
    identity: ProcessIdentity,
    grace: Duration,
    terminal: bool,
}

/// Our ends of what the child reads and writes.
#[derive(Debug)]
pub struct Streams {
    /// What it reads.
    pub input: Input,
    /// Its standard output, or all that appears on its terminal.
    pub stdout: Output,
    /// Its standard error, where that is kept apart.
    pub stderr: Option<Output>,
}

/// What the child reads.
#[derive(Debug)]
pub enum Input {
    /// Its standard input.
    Pipe(Sender),
    /// Its terminal.
    Terminal(OwnedWritePty),
}

/// Something the child writes to.
#[derive(Debug)]
pub enum Output {
    /// Its standard output or its standard error.
    Pipe(Receiver),
    /// Its terminal.
    Terminal(OwnedReadPty),
}

/// Starts the process of a job, once `registrar` has written it down. Its stdin, timeout and output limit are not the
/// spec's business here.
///
/// # Errors
/// [`NotSpawned`] when it never ran.
pub async fn spawn_interactive(
    spec: &Spec,
    link: Link,
    registrar: &mut dyn Registrar,
) -> Result<(Interactive, Streams), NotSpawned> {
    failure::check(spec)?;
    let mut fence = Fence::around(&spec.env);
    let explain = |error| failure::explain(spec, error);
    let prepared = || {
        let (stdio, streams) = link.open()?;
        Ok((image::of(spec, stdio, fence.door()?)?, streams))
    };
    let (image, streams) = prepared().map_err(explain)?;
    let fork = Fork::of(image).await.map_err(explain)?;
    let identity = fork.identity();
    let begun = fence.holds(identity);
    let held_by = begun.held_by;
    registrar.register(begun).await?;
    let child = fork.exec().await.map_err(explain)?;
    let interactive = Interactive {
        group: Group::of(identity),
        fence,
        held_by,
        child,
        identity,
        grace: spec.grace,
        terminal: link != Link::Pipes,
    };
    Ok((interactive, streams))
}

impl Link {
    /// What the child gets, and our ends of it.
    fn open(self) -> io::Result<(Stdio, Streams)> {
        match self {
            Self::Pipes => on_pipes(),
            Self::Terminal(size) => on_terminal(size).map_err(plain),
        }
    }
}

fn on_pipes() -> io::Result<(Stdio, Streams)> {
    let (stdio, ours) = pipes::open(true)?;
    let streams = Streams {
        input: Input::Pipe(ours.stdin.ok_or(Errno::EPIPE)?),
        stdout: Output::Pipe(ours.stdout),
        stderr: Some(Output::Pipe(ours.stderr)),
    };
    Ok((stdio, streams))
}

fn on_terminal(size: Size) -> pty_process::Result<(Stdio, Streams)> {
    let (terminal, far_end) = pty_process::open()?;
    terminal.resize(pty_process::Size::new(size.rows, size.columns))?;
    let end = || far_end.as_fd().try_clone_to_owned();
    let stdio = Stdio {
        ends: [end()?, end()?, end()?],
        terminal: true,
    };
    let (read, write) = terminal.into_split();
    let streams = Streams {
        input: Input::Terminal(write),
        stdout: Output::Terminal(read),
        stderr: None,
    };
    Ok((stdio, streams))
}

fn plain(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(errno) => errno.into(),
        other @ (pty_process::Error::TokioAsyncFd(_) | pty_process::Error::Unsplit(..)) => io::Error::other(other),
    }
}

impl Interactive {
    /// Which process it is.
    #[must_use]
    pub const fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// What holds it and all that it starts.
    #[must_use]
    pub const fn held_by(&self) -> Method {
        self.held_by
    }

    /// Awaits its own end. What it left in the background is left alone. May be given up and called again.
    ///
    /// # Errors
    /// What the system says instead.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.group.release();
        self.fence.open();
        Ok(status)
    }

    /// Ends the group and the cgroup: politely, and after the grace finally. None when it could not be killed within a deadline.
    pub async fn end(&mut self) -> Option<ExitStatus> {
        if let Some(pgid) = self.group.id() {
            if self.terminal {
                // A shell on a terminal ignores the polite signal; this is what a closed terminal sends.
                group::signal(pgid, Signal::SIGHUP);
            }
            group::end(pgid, self.grace).await;
        }
        self.fence.end().await;
        timeout(group::KILL_DEADLINE, self.wait()).await.ok()?.ok()
    }
}

impl Input {
    /// Writes some bytes; tells how many.
    ///
    /// # Errors
    /// What the system says, `EPIPE` when nobody reads any more.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => pipe.write(bytes).await,
            Self::Terminal(terminal) => terminal.write(bytes).await,
        }
    }

    /// Changes the terminal's size; false where there is no terminal.
    ///
    /// # Errors
    /// What the system says.
    pub fn resize(&self, size: Size) -> io::Result<bool> {
        match self {
            Self::Pipe(_) => Ok(false),
            Self::Terminal(terminal) => terminal
                .resize(pty_process::Size::new(size.rows, size.columns))
                .map_err(plain)
                .map(|()| true),
        }
    }
}

impl Output {
    /// Reads some bytes; 0 at the end.
    pub async fn read(&mut self, buffer: &mut [u8]) -> usize {
        let read = match self {
            Self::Pipe(pipe) => pipe.read(buffer).await,
            Self::Terminal(terminal) => terminal.read(buffer).await,
        };
        // What cannot be read says nothing more. A terminal whose last holder is gone answers EIO instead of an end.
        read.unwrap_or_default()
    }
}
