//! Our own background processes: they outlive the command that started them.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::process::env::ChildEnv;
use crate::process::failure::{self, SpawnError};
use crate::process::identity::ProcessIdentity;
use crate::process::spawn::{command, pid_of, without_inheritance};
use crate::process::spec::Spec;
use crate::process::sys;

/// A background process to be.
#[derive(Debug)]
pub struct DetachedSpec {
    /// Program: a path, or a name looked up in PATH.
    pub program: PathBuf,
    /// Arguments after the program's name.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: ChildEnv,
    /// Where both outputs go.
    pub log: File,
    /// Working directory.
    pub cwd: PathBuf,
}

/// A background process. Dropping this leaves it running.
#[derive(Debug)]
pub struct DetachedChild {
    child: std::process::Child,
    identity: ProcessIdentity,
}

/// Starts a process in a session of its own: no terminal, empty stdin, both outputs in the log.
///
/// # Errors
/// [`SpawnError`] when it never ran.
pub fn spawn_detached(spec: DetachedSpec) -> Result<DetachedChild, SpawnError> {
    let DetachedSpec {
        program,
        args,
        env,
        log,
        cwd,
    } = spec;
    let mut about = Spec::new(program, env).args(args);
    about.cwd = cwd;
    failure::check(&about)?;
    let mut command = command(&about.program, &about.args, &about.env, &about.cwd);
    sys::session::lead_session(&mut command);
    let started = log.try_clone().and_then(|twin| {
        command.stdin(Stdio::null()).stdout(log).stderr(twin);
        without_inheritance(|| command.spawn())
    });
    let (pid, child) = started
        .and_then(|child| pid_of(Some(child.id())).map(|pid| (pid, child)))
        .map_err(|error| failure::explain(&about, error))?;
    Ok(DetachedChild {
        child,
        identity: ProcessIdentity::of_leader(pid),
    })
}

impl DetachedChild {
    /// Which process it is.
    #[must_use]
    pub const fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// What the system said about a process it does not know.
    pub fn try_wait(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Asks it to end, unless it has ended.
    ///
    /// # Errors
    /// What the system said.
    pub fn terminate(&mut self) -> std::io::Result<()> {
        if self.try_wait()?.is_none() {
            // Not reaped yet, so the number is still its own.
            kill(pid_of(Some(self.identity.pid))?, Signal::SIGTERM)?;
        }
        Ok(())
    }
}
