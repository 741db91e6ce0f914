//! Our own background processes: they outlive the command that started them.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

use crate::process::env::ChildEnv;
use crate::process::failure::{self, SpawnError};
use crate::process::identity::ProcessIdentity;
use crate::process::image::{self, Stdio};
use crate::process::owned::OwnedProcess;
use crate::process::pipes::nothing;
use crate::process::spec::Spec;

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
    child: OwnedProcess,
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
    let started = log.try_clone().and_then(|twin| {
        let stdio = Stdio {
            ends: [nothing()?, log.into(), twin.into()],
            terminal: false,
        };
        OwnedProcess::launch(&image::of(&about, stdio, None)?)
    });
    let child = started.map_err(|error| failure::explain(&about, error))?;
    Ok(DetachedChild {
        identity: ProcessIdentity::of_leader(child.pid()),
        child,
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
        self.child.signal(Signal::SIGTERM)
    }
}
