//! Starting a child and awaiting its end.

use std::convert::Infallible;
use std::future::pending;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture;
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe::Sender;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::limits::PIPE_GRACE;
use crate::process::capture::{Captured, Collector, Hearer, Overheard, Take, read_all};
use crate::process::containment::Method;
use crate::process::exit::{Ending, Exit, Pipes};
use crate::process::failure::{self, SpawnError};
use crate::process::fence::Fence;
use crate::process::group;
use crate::process::hold::{Fork, Registrar, Unregistered};
use crate::process::identity::{ProcessIdentity, to_pid};
use crate::process::image;
use crate::process::pipes::{self, OurEnds};
use crate::process::running::Running;
use crate::process::spec::{Spec, Stdin};
use crate::process::sys::launch::Image;

/// Bytes that wait in the pipe of a program whose lines are read: as many as Linux grants everybody.
#[cfg(target_os = "linux")]
const PIPE_ROOM: nix::libc::c_int = 1 << 20;

/// A running child. Dropped unawaited, it takes its whole group with it.
#[must_use = "a child that nobody awaits is killed"]
#[derive(Debug)]
pub struct Child {
    // Before `child`, so that on drop the group is signalled while the leader still pins its number.
    group: Group,
    fence: Fence,
    held_by: Method,
    child: Running,
    identity: ProcessIdentity,
    pipes: Option<OurEnds>,
    stdin: Stdin,
    limit: usize,
    spawned: Instant,
    deadline: Option<Instant>,
    grace: Duration,
}

/// Starts a process of our own, such as a question to an agent CLI; one of a job is written down first:
/// [`spawn_registered`].
///
/// # Errors
/// [`SpawnError`] when it never ran.
pub fn spawn(spec: Spec) -> Result<Child, SpawnError> {
    let (image, pipes, mut fence) = prepare(&spec)?;
    let child = Running::launch(&image).map_err(|error| failure::explain(&spec, error))?;
    let identity = ProcessIdentity::of_leader(child.pid());
    let held_by = fence.holds(identity).held_by;
    Ok(Child::of((child, identity), pipes, (fence, held_by), spec))
}

/// Starts a process of a job, once `registrar` has written it down.
///
/// # Errors
/// [`NotSpawned`] when it never ran.
pub async fn spawn_registered(spec: Spec, registrar: &mut dyn Registrar) -> Result<Child, NotSpawned> {
    let (image, pipes, mut fence) = prepare(&spec)?;
    let explain = |error| failure::explain(&spec, error);
    let fork = Fork::of(image).await.map_err(explain)?;
    let identity = fork.identity();
    let begun = fence.holds(identity);
    let held_by = begun.held_by;
    registrar.register(begun).await?;
    let child = fork.exec().await.map_err(explain)?;
    Ok(Child::of((child, identity), pipes, (fence, held_by), spec))
}

/// A process of a job that never ran.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum NotSpawned {
    /// The system refused it.
    Failed(#[from] SpawnError),
    /// It could not be written down.
    Unregistered(#[from] Unregistered),
}

fn prepare(spec: &Spec) -> Result<(Image, OurEnds, Fence), SpawnError> {
    failure::check(spec)?;
    let fence = Fence::around(&spec.env);
    let prepared = || {
        let (stdio, pipes) = pipes::open(matches!(spec.stdin, Stdin::Bytes(_)))?;
        Ok((image::of(spec, stdio, fence.door()?)?, pipes))
    };
    let (image, pipes) = prepared().map_err(|error| failure::explain(spec, error))?;
    Ok((image, pipes, fence))
}

impl Child {
    fn of(
        (child, identity): (Running, ProcessIdentity),
        pipes: OurEnds,
        (fence, held_by): (Fence, Method),
        spec: Spec,
    ) -> Self {
        let spawned = Instant::now();
        Self {
            group: Group::of(identity),
            fence,
            held_by,
            child,
            identity,
            pipes: Some(pipes),
            stdin: spec.stdin,
            limit: spec.limit_per_stream,
            spawned,
            deadline: spec.timeout.and_then(|timeout| spawned.checked_add(timeout)),
            grace: spec.grace,
        }
    }

    /// Which process it is.
    #[must_use]
    pub const fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Awaits the end: its own, its deadline's or `stop`'s. The latter two end the whole group, and the job's cgroup,
    /// before this returns; an own end leaves background work alone.
    pub async fn wait(self, stop: CancellationToken) -> Exit {
        self.wait_heard(stop, [&|_| (), &|_| ()]).await
    }

    /// As [`Child::wait`]; stdout and stderr are heard as they come.
    pub async fn wait_heard(self, stop: CancellationToken, [out, err]: [Hearer<'_>; 2]) -> Exit {
        let heard = |hearer| Overheard {
            hearer,
            kept: Collector::new(self.limit),
        };
        let (mut stdout, mut stderr) = (heard(out), heard(err));
        let end = self.end(&stop, &mut stdout, &mut stderr).await;
        end.with(stdout.kept.finish(), stderr.kept.finish())
    }

    /// Bytes kept of each output stream.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Gives stdout as much room as the system grants. Programs in JavaScript end without writing out what found no room
    /// in the pipe, and on a busy machine their last lines were lost.
    pub(super) fn widen_stdout(&self) {
        #[cfg(target_os = "linux")]
        if let Some(pipes) = &self.pipes {
            let wider = nix::fcntl::FcntlArg::F_SETPIPE_SZ(PIPE_ROOM);
            if let Err(error) = nix::fcntl::fcntl(&pipes.stdout, wider) {
                tracing::debug!(%error, "a pipe keeps its size");
            }
        }
    }

    pub(super) async fn end(
        mut self,
        stop: &CancellationToken,
        stdout: &mut (impl Take + Send),
        stderr: &mut (impl Take + Send),
    ) -> End {
        let mut pumps = pin!(self.pumps(stdout, stderr).fuse());
        let forever = async {
            pumps.as_mut().await;
            pending::<Infallible>().await
        };
        let (ending, status) = tokio::select! {
            biased;
            ended = self.supervise(stop) => ended,
            never = forever => match never {},
        };
        End {
            ending,
            status,
            duration: self.spawned.elapsed(),
            pipes: drain(pumps).await,
            held_by: self.held_by,
        }
    }

    /// Carries bytes both ways until every pipe is closed. Must be polled all the time the child runs: a full pipe
    /// would stop it.
    fn pumps<'c, O: Take + Send, E: Take + Send>(
        &mut self,
        stdout: &'c mut O,
        stderr: &'c mut E,
    ) -> impl Future<Output = ()> + Send + use<'c, O, E> {
        let (pipes, stdin) = (self.pipes.take(), std::mem::replace(&mut self.stdin, Stdin::Null));
        async move {
            let Some(pipes) = pipes else { return };
            let fed = feed(pipes.stdin, stdin);
            tokio::join!(fed, read_all(pipes.stdout, stdout), read_all(pipes.stderr, stderr));
        }
    }

    async fn supervise(&mut self, stop: &CancellationToken) -> (Ending, Option<ExitStatus>) {
        let stopped = tokio::select! {
            biased;
            status = self.child.wait() => {
                self.group.release();
                self.fence.open();
                return (Ending::Exited, status.ok());
            }
            () = stop.cancelled() => true,
            () = at(self.deadline) => false,
        };
        let killed = match self.group.0 {
            Some(pgid) => group::end(pgid, self.grace).await,
            None => false,
        };
        // Side by side: whoever survives the one outlasts the other.
        let ended = timeout(group::KILL_DEADLINE, self.child.wait());
        let ((), status) = tokio::join!(self.fence.end(), ended);
        let status = status.ok().and_then(Result::ok);
        if status.is_some() {
            self.group.release();
        }
        let ending = if stopped {
            Ending::Stopped { killed }
        } else {
            Ending::TimedOut { killed }
        };
        (ending, status)
    }
}

/// Gives the pipes of an ended process a moment, then gives them up.
async fn drain(pumps: impl FusedFuture<Output = ()> + Unpin) -> Pipes {
    if pumps.is_terminated() || timeout(PIPE_GRACE, pumps).await.is_ok() {
        Pipes::Closed
    } else {
        Pipes::HeldOpen
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

async fn feed(pipe: Option<Sender>, stdin: Stdin) {
    if let (Some(mut pipe), Stdin::Bytes(bytes)) = (pipe, stdin)
        && let Err(error) = pipe.write_all(&bytes).await
    {
        // A child may close its stdin early; that is its business and shows in how it ends.
        tracing::debug!(%error, "a child did not read all of its stdin");
    }
}

/// Everything about an end but what was said.
#[must_use]
#[derive(Debug)]
pub(super) struct End {
    ending: Ending,
    status: Option<ExitStatus>,
    duration: Duration,
    pipes: Pipes,
    held_by: Method,
}

impl End {
    pub(super) fn with(self, stdout: Captured, stderr: Captured) -> Exit {
        Exit {
            ending: self.ending,
            exit_code: self.status.and_then(|status| status.code()),
            signal: self.status.and_then(|status| status.signal()),
            stdout,
            stderr,
            duration: self.duration,
            pipes: self.pipes,
            held_by: self.held_by,
        }
    }
}

/// The group of a child whose leader is not reaped yet.
#[derive(Debug)]
pub(super) struct Group(Option<Pid>);

impl Group {
    /// The group that `leader` leads.
    pub(super) fn of(leader: ProcessIdentity) -> Self {
        Self(to_pid(leader.pgid))
    }

    /// Its number, as long as that is certainly its.
    pub(super) const fn id(&self) -> Option<Pid> {
        self.0
    }

    /// The leader is reaped: from here on the number may be given to somebody else.
    pub(super) const fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pgid) = self.0 {
            group::kill(pgid);
        }
    }
}
